package eval

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Settings are what a record depends on, beside the item. Two runs with equal settings share their records.
type Settings struct {
	// Task is the task's [Task.Hash].
	Task string `json:"task"`
	Kind Kind   `json:"kind"`
	// Model says which model answers: its name and, for a local one, its file's size.
	Model string `json:"model"`
	Bytes int64  `json:"bytes,omitempty"`
	// URL is the server asked, if any.
	URL string `json:"url,omitempty"`
	// Arms are the conditions, in order.
	Arms []Arm `json:"arms"`
	// Fields is the number of noise fields averaged over, Noise the fingerprint of their secret.
	Fields int    `json:"fields"`
	Noise  string `json:"noise,omitempty"`
	// MaxTokens and Shots are those of a generation.
	MaxTokens int `json:"max_tokens,omitempty"`
	Shots     int `json:"shots,omitempty"`
}

// Key identifies the settings in the names of files.
func (s *Settings) Key() string { return settingsKey(s) }

func settingsKey(settings any) string {
	text, err := json.Marshal(settings)
	if err != nil {
		panic(err) // numbers and strings only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// Record is what became known about an item: its values under neighbouring arms.
type Record struct {
	Item int `json:"item"`
	// Arm is the first arm; each metric has as many values as there are arms from there on.
	Arm    int    `json:"arm"`
	Values Values `json:"values"`
}

// log is an append-only file of JSON lines, the first of which holds the settings. A line that was only half written when
// the program ended is dropped.
type log struct {
	mu sync.Mutex
	f  *os.File
}

// openLog opens or makes the file of these settings and calls read for each line behind the first.
func openLog(path string, settings any, read func(line []byte) error) (*log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	header, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	if err := readLog(whole, header, read); err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	l := &log{f: f}
	err = f.Truncate(int64(len(whole)))
	if err == nil {
		_, err = f.Seek(0, io.SeekEnd)
	}
	if err == nil && len(whole) == 0 {
		err = l.append(header)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// readLog checks the first line and has the others read.
func readLog(data, header []byte, read func(line []byte) error) error {
	for i, line := range bytes.Split(data, []byte("\n")) {
		var err error
		switch {
		case len(line) == 0: // behind the last line end
		case i == 0:
			if !bytes.Equal(line, header) {
				err = errors.New("the settings are not those of this run")
			}
		default:
			err = read(line)
		}
		if err != nil {
			return fmt.Errorf("%d: %w", i+1, err)
		}
	}
	return nil
}

// append writes a line in one call.
func (l *log) append(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.f.Write(append(slices.Clip(line), '\n'))
	return err
}

// Store holds the records of one run, in memory and in a file that only grows.
type Store struct {
	// Path is the file's: results-KEY.jsonl.
	Path string

	log  *log
	arms int
	mu   sync.Mutex
	// values[item][metric][arm], NaN where unknown; have[item][arm].
	values map[int]Values
	have   map[int][]bool
}

// OpenStore opens the records of these settings in a folder, which is made where it does not exist.
func OpenStore(dir string, settings *Settings) (*Store, error) {
	s := &Store{
		Path: filepath.Join(dir, "results-"+settings.Key()+".jsonl"), arms: len(settings.Arms),
		values: map[int]Values{}, have: map[int][]bool{},
	}
	var err error
	s.log, err = openLog(s.Path, settings, func(line []byte) error {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		return s.keep(r)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// keep takes a record into memory.
func (s *Store) keep(r Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, values := s.have[r.Item], s.values[r.Item]
	if have == nil {
		have, values = make([]bool, s.arms), Values{}
		s.have[r.Item], s.values[r.Item] = have, values
	}
	for metric, list := range r.Values {
		if r.Arm < 0 || r.Arm+len(list) > s.arms {
			return fmt.Errorf("arms %d to %d of %d", r.Arm, r.Arm+len(list)-1, s.arms)
		}
		if values[metric] == nil {
			values[metric] = make([]float64, s.arms)
		}
		copy(values[metric][r.Arm:], list)
		for i := range list {
			have[r.Arm+i] = true
		}
	}
	return nil
}

// Add appends a record.
func (s *Store) Add(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := s.keep(r); err != nil {
		return err
	}
	return s.log.append(line)
}

// Has tells whether an item's value under an arm is known.
func (s *Store) Has(item, arm int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[item] != nil && s.have[item][arm]
}

// Complete are the values of those of the first n items that are known under all arms, by metric: values[metric][i][arm].
func (s *Store) Complete(n int) map[string][][]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][][]float64{}
	for item := range n {
		if s.have[item] == nil || slices.Contains(s.have[item], false) {
			continue
		}
		for metric, values := range s.values[item] {
			out[metric] = append(out[metric], values)
		}
	}
	return out
}

// Close closes the file.
func (s *Store) Close() error { return s.log.f.Close() }
