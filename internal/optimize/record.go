package optimize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"aim/internal/state"
)

// version is that of records: of their form and of how their figures are measured.
const version = 1

// Key says what measurements hold for. Whatever of it changes makes them worthless.
type Key struct {
	// Model identifies the original file (models.Identity).
	Model string `json:"model_identity"`
	// Processor names the processor, with the features it has.
	Processor string `json:"processor"`
	// Build names the version of llama.cpp and the features it was compiled for.
	Build string `json:"build"`
}

// Result is what was measured of one format.
type Result struct {
	Format string `json:"format"`
	// Bytes is the size of its file, Seconds the time that writing it took.
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	// Original and Speed are from the same race, and Speedup what it came to; see [Speedup].
	Original Speed   `json:"original_speed"`
	Speed    Speed   `json:"speed"`
	Speedup  float64 `json:"speedup"`
	// Quality is nil where the format was too slow for its quality to matter.
	Quality *Quality `json:"quality,omitempty"`
	// Failed says why there are no figures.
	Failed string `json:"failed,omitempty"`
}

// Kept is the file in use in place of the original.
type Kept struct {
	Format string `json:"format"`
	// File is its name in the folder of the record, and Identity its own (models.Identity).
	File     string `json:"file"`
	Identity string `json:"identity"`
}

// Record is all that was measured of a model, as it is stored.
type Record struct {
	Version int    `json:"version"`
	Name    string `json:"model"`
	Key
	// Text identifies the text that qualities were measured on, Threads is how many computed.
	Text    string    `json:"text"`
	Threads int       `json:"threads"`
	Bytes   int64     `json:"bytes"`
	Updated time.Time `json:"updated"`
	Results []Result  `json:"results"`
	// MaxLoss is the most that the perplexity of what is kept may be above the original's, as a share.
	MaxLoss float64 `json:"max_loss"`
	// Kept is nil where nothing is better than the original.
	Kept *Kept `json:"kept,omitempty"`
	// Stopped says why not all formats were measured, where that is so; Interrupted that somebody ended it, so that it was no decision.
	Stopped     string `json:"stopped,omitempty"`
	Interrupted bool   `json:"interrupted,omitempty"`
}

// ErrStale says that a record is of another file, processor or build.
var ErrStale = errors.New("measured on another file, processor or build")

// ErrNone says that nothing was measured yet.
var ErrNone = errors.New("nothing was measured")

// Load reads the record at path. It fails with [ErrNone] where there is none, and with [ErrStale] where it does not hold for key.
func Load(path string, key Key) (*Record, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if r.Version != version || r.Key != key {
		return nil, ErrStale
	}
	return &r, nil
}

// Save writes the record to path.
func (r *Record) Save(path string) error {
	r.Version, r.Updated = version, time.Now().UTC().Truncate(time.Second)
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return state.Write(path, append(content, '\n'))
}

// Result is that of a format, nil where it was not measured.
func (r *Record) Result(format string) *Result {
	i := slices.IndexFunc(r.Results, func(x Result) bool { return x.Format == format })
	if i < 0 {
		return nil
	}
	return &r.Results[i]
}

// A format must be this much faster than the original to be worth its file; and of those that are about as fast as the fastest, the
// smallest is taken.
const (
	worthwhile = 1.05
	aboutEqual = 0.98
)

// fits says that a format may be taken: it was compared on enough text to tell such a loss from none, and its loss is within it.
func (r *Result) fits(maxLoss float64) bool {
	return r.Failed == "" && r.Speedup >= worthwhile && r.Quality != nil && r.Quality.StdErr <= maxLoss && r.Quality.Loss() <= maxLoss
}

// Choose is the format to use where perplexity may rise by the share maxLoss: the fastest of those that keep within it. A format does not
// count where the standard error of its loss is larger than maxLoss. It is nil where the original itself is the choice.
func Choose(results []Result, maxLoss float64) *Result {
	var best *Result
	for i := range results {
		if r := &results[i]; r.fits(maxLoss) && (best == nil || r.Speedup > best.Speedup) {
			best = r
		}
	}
	if best == nil {
		return nil
	}
	fastest := best.Speedup
	for i := range results {
		if r := &results[i]; r.fits(maxLoss) && r.Speedup >= aboutEqual*fastest && r.Bytes < best.Bytes {
			best = r
		}
	}
	return best
}
