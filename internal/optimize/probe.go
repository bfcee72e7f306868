package optimize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"aim/models"
	"aim/sampler"
)

// Lab writes and opens models.
type Lab interface {
	// Quantize writes a format of the original to path, in place of what is there.
	Quantize(ctx context.Context, f Format, path string) error
	// Open loads a file, with [Streams] sequences of [Window] tokens, until it is closed.
	Open(path string) (s *Subject, closed func(), err error)
}

// Folder is the name of the folder beside a model that holds what was made of it.
const Folder = "optimized"

// Probe is a search for a model's format.
type Probe struct {
	Lab Lab
	// Original is the path of the model's file.
	Original string
	Key      Key
	// Formats are the candidates.
	Formats []Format
	// Text is what qualities are measured on, TextID identifies it, and SpeedText is a text of at least 240 tokens to measure speed with.
	Text, SpeedText []sampler.Token
	TextID          string
	// MaxLoss is the most that perplexity may rise, as a share.
	MaxLoss float64
	// Rounds is how often a candidate and the original take turns.
	Rounds  int
	Threads int
	// Contenders compares only formats that are faster than those found good before.
	Contenders bool
	// Report, when set, hears what is being done, and each result.
	Report func(doing string, r *Result)
}

// RecordPath is where the record of a model's file is.
func RecordPath(original string) string {
	return filepath.Join(filepath.Dir(original), Folder, models.Name(original)+".json")
}

// path is that of a format's file.
func (p *Probe) path(format string) string {
	return filepath.Join(filepath.Dir(p.Original), Folder, models.Name(p.Original)+"."+strings.ReplaceAll(format, ",", "+")+".gguf")
}

// Run measures the formats that the record has not, keeps the file of the best within MaxLoss, and stores the record after each. Where
// ctx ends before the last format, what was measured by then decides, and the error is ctx's; the record says so.
func (p *Probe) Run(ctx context.Context) (*Record, error) {
	info, err := os.Stat(p.Original)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(RecordPath(p.Original)), 0o755); err != nil {
		return nil, err
	}
	r, err := Load(RecordPath(p.Original), p.Key)
	if err != nil || r.Text != p.TextID {
		r = &Record{Name: models.Name(p.Original), Key: p.Key, Text: p.TextID}
	}
	r.Bytes, r.MaxLoss, r.Threads, r.Stopped, r.Interrupted = info.Size(), p.MaxLoss, p.Threads, "", false
	original, closed, err := p.Lab.Open(p.Original)
	if err != nil {
		return nil, err
	}
	defer closed()
	for _, f := range p.Formats {
		if known := r.Result(f.String()); known != nil && known.Failed == "" && (known.Quality != nil || p.Contenders) {
			continue
		}
		result := p.measure(ctx, original, f, r)
		if ctx.Err() != nil {
			r.Stopped, r.Interrupted = context.Cause(ctx).Error(), errors.Is(ctx.Err(), context.Canceled)
			break
		}
		r.set(result)
		p.report("", r.Result(f.String()))
		if err := r.Save(RecordPath(p.Original)); err != nil {
			return nil, err
		}
	}
	if err := p.keep(context.WithoutCancel(ctx), r); err != nil {
		return nil, err
	}
	return r, errors.Join(r.Save(RecordPath(p.Original)), ctx.Err())
}

// set puts a result in its place.
func (r *Record) set(result Result) {
	if known := r.Result(result.Format); known != nil {
		*known = result
		return
	}
	r.Results = append(r.Results, result)
}

func (p *Probe) report(doing string, r *Result) {
	if p.Report != nil {
		p.Report(doing, r)
	}
}

// measure writes a format, races it and compares it. Its file stays where it may be the one to keep.
func (p *Probe) measure(ctx context.Context, original *Subject, f Format, record *Record) (r Result) {
	r.Format = f.String()
	path := p.path(r.Format)
	defer func() {
		if !r.fits(p.MaxLoss) {
			_ = os.Remove(path) // or it was never there
		}
	}()
	if err := p.figures(ctx, original, f, path, record, &r); err != nil {
		r.Failed = err.Error()
	}
	return r
}

func (p *Probe) figures(ctx context.Context, original *Subject, f Format, path string, record *Record, r *Result) error {
	p.report("writing "+r.Format, nil)
	start := time.Now()
	if err := p.Lab.Quantize(ctx, f, path); err != nil {
		return err
	}
	r.Seconds = time.Since(start).Seconds()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	r.Bytes = info.Size()
	candidate, closed, err := p.Lab.Open(path)
	if err != nil {
		return err
	}
	defer closed()
	p.report("timing "+r.Format, nil)
	if r.Original, r.Speed, err = Race(ctx, original, candidate, p.SpeedText, p.Rounds); err != nil {
		return err
	}
	r.Speedup = Speedup(r.Original, r.Speed)
	if best := Choose(record.Results, p.MaxLoss); p.Contenders && (r.Speedup < worthwhile || best != nil && r.Speedup < best.Speedup) {
		return nil
	}
	p.report("comparing "+r.Format, nil)
	r.Quality, err = Compare(ctx, original, candidate, p.Text, func(done float64) {
		p.report(fmt.Sprintf("comparing %s %3.0f %%", r.Format, 100*done), nil)
	})
	return err
}

// keep makes the file of the best format the only one.
func (p *Probe) keep(ctx context.Context, r *Record) error {
	best := Choose(r.Results, p.MaxLoss)
	for i := range r.Results {
		if f := r.Results[i].Format; best == nil || f != best.Format {
			if err := os.Remove(p.path(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	r.Kept = nil
	if best == nil {
		return nil
	}
	path := p.path(best.Format)
	if _, err := os.Stat(path); err != nil {
		f, err := ParseFormat(best.Format)
		if err != nil {
			return err
		}
		p.report("writing "+best.Format, nil)
		if err := p.Lab.Quantize(ctx, f, path); err != nil {
			return err
		}
	}
	id, err := models.Identity(path)
	if err != nil {
		return err
	}
	r.Kept = &Kept{Format: best.Format, File: filepath.Base(path), Identity: id}
	return nil
}

// ErrChanged says that the kept file is gone, or is not the one that was measured.
var ErrChanged = errors.New("the optimized file is gone or was changed")

// Use is the path of the file to load in place of the original: that which the record keeps, or the original itself where nothing is
// better. It fails with [ErrNone], [ErrStale] or [ErrChanged] where that is not known.
func Use(original string, key Key) (path string, r *Record, err error) {
	if r, err = Load(RecordPath(original), key); err != nil {
		return "", nil, err
	}
	if r.Interrupted {
		return "", r, ErrNone
	}
	best := Choose(r.Results, r.MaxLoss)
	if best == nil {
		return original, r, nil
	}
	if r.Kept == nil || r.Kept.Format != best.Format {
		return "", r, ErrChanged
	}
	path = filepath.Join(filepath.Dir(RecordPath(original)), r.Kept.File)
	if id, err := models.Identity(path); err != nil || id != r.Kept.Identity {
		return "", r, ErrChanged
	}
	return path, r, nil
}
