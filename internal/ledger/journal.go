package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"aim/internal/account"
)

// journal holds usage on disk while the database cannot: files of one record a line, in JSON, each appended to by one process that holds a lock on
// it. A file whose lock is free was left behind by a process that ended, and whoever gets the lock takes it over. A record may be in several
// files, and in the database, too: there it counts once.
type journal struct {
	dir, id string
	log     *slog.Logger

	mu     sync.Mutex
	file   *os.File // appended to; nil for none
	size   int64    // of whole, synced lines
	active spooled  // what file is
	sealed []spooled
}

// spooled is a file of the journal whose lock is held.
type spooled struct {
	path  string
	lock  *flock.Flock
	lines int
}

const journalSuffix = ".journal"

func newJournal(dir, id string, log *slog.Logger) *journal {
	return &journal{dir: dir, id: id, log: log}
}

func (j *journal) prefix() string { return "usage-" + j.id + "-" }

// append writes records to disk. On an error none of them counts as written, though some may be.
func (j *journal) append(usages []account.Usage) error {
	var text []byte
	for _, u := range usages {
		line, err := json.Marshal(u)
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		if err := j.create(); err != nil {
			return err
		}
	}
	if _, err := j.file.Write(text); err != nil {
		// What follows must not continue a torn line.
		if j.file.Truncate(j.size) != nil {
			j.seal()
		}
		return err
	}
	if err := j.file.Sync(); err != nil {
		j.seal() // which of its pages are on disk is not known any more
		return err
	}
	j.size += int64(len(text))
	j.active.lines += len(usages)
	return nil
}

// create makes the file to append to.
func (j *journal) create() error {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(j.dir, j.prefix()+random(12)+journalSuffix)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	lock, err := takeLock(path)
	if err == nil && lock == nil {
		err = fmt.Errorf("%s: another process took it over before it was used", path)
	}
	if err == nil {
		err = syncFolder(j.dir)
	}
	if err != nil {
		if lock != nil {
			err = errors.Join(err, lock.Close())
		}
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	j.file, j.size, j.active = f, 0, spooled{path: path, lock: lock}
	return nil
}

// takeLock locks a file. The lock is nil where another process has it, or had it and removed the file.
func takeLock(path string) (*flock.Flock, error) {
	lock := flock.New(path, flock.SetFlag(os.O_RDWR)) // the file must be there
	got, err := lock.TryLock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !got {
		return nil, errors.Join(err, lock.Close())
	}
	if _, err := os.Stat(path); err != nil {
		return nil, lock.Close() // names are random: this one is not used again
	}
	return lock, nil
}

// syncFolder makes sure that a new file's name outlives a loss of power.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}

// seal ends the file that is appended to. Its lock stays.
func (j *journal) seal() {
	if j.file == nil {
		return
	}
	j.file.Close()
	j.sealed = append(j.sealed, j.active)
	j.file, j.size, j.active = nil, 0, spooled{}
}

// count is how many records wait.
func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := j.active.lines
	for _, s := range j.sealed {
		n += s.lines
	}
	return n
}

// head returns the first records that wait, none where they cannot be read.
func (j *journal) head() (first []account.Usage) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range append(append([]spooled(nil), j.sealed...), j.active) {
		if s.lines == 0 {
			continue
		}
		stop := errors.New("enough")
		_, _ = readJournal(s.path, func(chunk []account.Usage) error { first = chunk; return stop })
		if len(first) > 0 {
			break
		}
	}
	return first
}

// drain hands all records that wait to insert, in chunks, and removes each file whose records it took.
func (j *journal) drain(insert func([]account.Usage) error) error {
	j.mu.Lock()
	j.seal()
	files := append([]spooled(nil), j.sealed...)
	j.mu.Unlock()
	for _, s := range files {
		var refused error
		torn, err := readJournal(s.path, func(chunk []account.Usage) error {
			refused = insert(chunk)
			return refused
		})
		if refused != nil {
			return refused
		}
		j.discard(s, torn, err)
	}
	return nil
}

// discard removes a file whose records are in the database. One that cannot be read as a whole is put aside for somebody to look at.
func (j *journal) discard(s spooled, damaged int, err error) {
	switch {
	case err != nil || damaged > 0:
		j.log.Error("a journal of usage is damaged and was put aside", "file", s.path+".damaged", "lines", damaged, "error", err)
		err = os.Rename(s.path, s.path+".damaged")
	default:
		err = os.Remove(s.path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.log.Warn("a journal of usage that is in the database cannot be removed", "file", s.path, "error", err)
	}
	_ = s.lock.Close() // the file is gone
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range j.sealed {
		if j.sealed[i].path == s.path {
			j.sealed = append(j.sealed[:i:i], j.sealed[i+1:]...)
			break
		}
	}
}

// readJournal hands the records of a file to each, in chunks, and stops at its first error. It counts the lines that are no records, but for the
// last one, which a process that was killed may have left torn: that record was never acknowledged.
func readJournal(path string, each func([]account.Usage) error) (damaged int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	var chunk []account.Usage
	for {
		line, err := r.ReadBytes('\n')
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return damaged, err
		}
		var u account.Usage
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &u) == nil && clean(&u) == nil:
			chunk = append(chunk, u)
		case !last:
			damaged++
		}
		if len(chunk) == batchSize || last && len(chunk) > 0 {
			if err := each(chunk); err != nil {
				return damaged, err
			}
			chunk = nil
		}
		if last {
			return damaged, nil
		}
	}
}

// adopt takes over the files that processes which ended left behind.
func (j *journal) adopt() error {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var failed error
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, j.prefix()) || !strings.HasSuffix(name, journalSuffix) {
			continue
		}
		path := filepath.Join(j.dir, entry.Name())
		lock, err := takeLock(path)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if lock == nil {
			continue
		}
		lines := 0
		_, err = readJournal(path, func(chunk []account.Usage) error { lines += len(chunk); return nil })
		failed = errors.Join(failed, err)
		j.sealed = append(j.sealed, spooled{path, lock, lines})
	}
	return failed
}

// close lets go of the files, and leaves those with records for the next process.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seal()
	var err error
	for _, s := range j.sealed {
		if s.lines == 0 {
			err = errors.Join(err, os.Remove(s.path))
		}
		err = errors.Join(err, s.lock.Close())
	}
	j.sealed = nil
	return err
}
