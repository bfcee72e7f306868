package optimize

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"aim/llama"
	"aim/models"
	"aim/sampler"
)

// bench is a Lab whose files hold nothing but the name of their format, and whose models are all the fake one.
type bench struct {
	original string
	written  []string
	fail     map[string]error
	// during is called when a format is being written.
	during func(format string)
}

func (b *bench) Quantize(ctx context.Context, f Format, path string) error {
	if b.during != nil {
		b.during(f.String())
	}
	if err := errors.Join(b.fail[f.String()], ctx.Err()); err != nil {
		return err
	}
	b.written = append(b.written, f.String())
	return os.WriteFile(path, gguf(f.String()), 0o600)
}

func (b *bench) Open(path string) (*Subject, func(), error) {
	if _, err := os.Stat(path); err != nil {
		return nil, nil, err
	}
	return fake(), func() {}, nil
}

// gguf is a GGUF file without tensors, of version 3 (ggml-org/ggml, docs/gguf.md), with a name.
func gguf(name string) []byte {
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("GGUF")
	put(uint32(3))
	put([]uint64{0, 1})
	for i, s := range []string{"general.name", name} {
		put(uint64(len(s)))
		b.WriteString(s)
		if i == 0 {
			put(uint32(8)) // a string follows
		}
	}
	b.Write(make([]byte, 64))
	return b.Bytes()
}

// setup is a probe of a model in a folder of its own; what is measured of the formats is set by judge instead.
func setup(t *testing.T, formats ...string) (*Probe, *bench) {
	t.Helper()
	original := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(original, gguf("original"), 0o600); err != nil {
		t.Fatal(err)
	}
	var tokens []sampler.Token
	for i := range 300 {
		tokens = append(tokens, sampler.Token('a'+i%26))
	}
	b := &bench{original: original, fail: map[string]error{}}
	p := &Probe{
		Lab: b, Original: original, Key: Key{"m", "p", "b"}, Text: tokens, SpeedText: tokens, TextID: "t", MaxLoss: 0.005, Rounds: 1,
	}
	for _, s := range formats {
		f, err := ParseFormat(s)
		if err != nil {
			t.Fatal(err)
		}
		p.Formats = append(p.Formats, f)
	}
	return p, b
}

// files are the names in the folder of what was made.
func files(t *testing.T, p *Probe) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(RecordPath(p.Original)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func run(t *testing.T, p *Probe) *Record {
	t.Helper()
	r, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// judge gives the record on the disk made-up figures, as a measurement on a quiet machine would have had.
func judge(t *testing.T, p *Probe, results ...Result) {
	t.Helper()
	r, err := Load(RecordPath(p.Original), p.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range results {
		r.set(x)
	}
	if err := r.Save(RecordPath(p.Original)); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsMeasuredTwice(t *testing.T) {
	p, b := setup(t, "Q8_0", "Q4_0,output=F16")
	r := run(t, p)
	if len(r.Results) != 2 || r.Stopped != "" {
		t.Fatalf("measured %+v", r)
	}
	for _, x := range r.Results {
		if x.Failed != "" || !(x.Speed.Prefill > 0 && x.Speed.Decode1 > 0 && x.Speed.Decode8 > 0 && x.Speedup > 0) || x.Quality.KL != 0 || x.Bytes == 0 {
			t.Errorf("of %s: %+v", x.Format, x)
		}
	}
	judge(t, p, result("Q8_0", 100, 1.5, 0.002), result("Q4_0,output=F16", 50, 2, 0.1))

	// The figures decide anew, whatever was kept before; only what is not there is written.
	for _, c := range []struct {
		maxLoss float64
		kept    string
	}{{0.005, "Q8_0"}, {0.2, "Q4_0,output=F16"}, {0.001, ""}, {0.005, "Q8_0"}, {0.005, "Q8_0"}} {
		p.MaxLoss, b.written = c.maxLoss, nil
		r := run(t, p)
		want, kept := []string{"model.json"}, ""
		if c.kept != "" {
			want = []string{"model." + strings.ReplaceAll(c.kept, ",", "+") + ".gguf", "model.json"}
		}
		if r.Kept != nil {
			kept = r.Kept.Format
		}
		if got := files(t, p); !slices.Equal(got, want) || kept != c.kept || len(b.written) > 1 || slices.ContainsFunc(b.written, func(f string) bool { return f != c.kept }) {
			t.Errorf("with a loss of %v, %q is kept among %q, and %q was written", c.maxLoss, kept, got, b.written)
		}
		path, _, err := Use(p.Original, p.Key)
		if want := filepath.Join(filepath.Dir(RecordPath(p.Original)), want[0]); err != nil || path != want && c.kept != "" || path != p.Original && c.kept == "" {
			t.Errorf("with a loss of %v, %s is to be loaded, %v", c.maxLoss, path, err)
		}
	}
	b.written = nil
	p.Key.Processor = "another"
	if run(t, p); len(b.written) < 2 {
		t.Errorf("on another processor only %q was measured", b.written)
	}
	b.written, p.TextID = nil, "another"
	if run(t, p); len(b.written) < 2 {
		t.Errorf("on another text only %q was measured", b.written)
	}
}

func TestUseNoticesChanges(t *testing.T) {
	p, _ := setup(t, "Q8_0")
	if _, _, err := Use(p.Original, p.Key); !errors.Is(err, ErrNone) {
		t.Errorf("of a model that nobody measured: %v", err)
	}
	run(t, p)
	judge(t, p, result("Q8_0", 100, 1.5, 0.002))
	run(t, p)
	if _, _, err := Use(p.Original, Key{"m", "p", "another"}); !errors.Is(err, ErrStale) {
		t.Errorf("of another build: %v", err)
	}
	path, _, err := Use(p.Original, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, gguf("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Use(p.Original, p.Key); !errors.Is(err, ErrChanged) {
		t.Errorf("of a changed file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Use(p.Original, p.Key); !errors.Is(err, ErrChanged) {
		t.Errorf("of a file that is gone: %v", err)
	}
	run(t, p) // makes it again
	if again, _, err := Use(p.Original, p.Key); err != nil || again != path {
		t.Errorf("it was not made again: %s, %v", again, err)
	}
	id, err := models.Identity(path)
	if err != nil || id == "" {
		t.Error(err)
	}
}

func TestFailuresAreResults(t *testing.T) {
	p, b := setup(t, "Q4_K", "Q8_0")
	b.fail["Q4_K"] = errors.New("rows of 576")
	r := run(t, p)
	if got := r.Result("Q4_K"); got.Failed != "rows of 576" || r.Result("Q8_0").Failed != "" {
		t.Errorf("%+v", r.Results)
	}
	// What failed once may have failed for want of room.
	delete(b.fail, "Q4_K")
	if got := run(t, p).Result("Q4_K"); got.Failed != "" || got.Quality == nil {
		t.Errorf("tried again: %+v", got)
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	for _, c := range []struct {
		cause       error
		interrupted bool
		use         error
	}{{context.DeadlineExceeded, false, nil}, {nil, true, ErrNone}} {
		p, b := setup(t, "Q8_0", "BF16", "F16")
		run(t, &Probe{Lab: b, Original: p.Original, Key: p.Key, Formats: p.Formats[:1], Text: p.Text, SpeedText: p.SpeedText, TextID: "t", Rounds: 1})
		judge(t, p, result("Q8_0", 100, 1.5, 0.002))
		var ctx context.Context
		end := func() {}
		if c.interrupted {
			ctx, end = context.WithCancel(t.Context())
		} else {
			ctx = deadline{t.Context(), new(bool)}
			end = func() { *ctx.(deadline).over = true }
		}
		b.during = func(format string) {
			if format == "BF16" {
				end()
			}
		}
		r, err := p.Run(ctx)
		if err == nil || r == nil || r.Interrupted != c.interrupted || r.Stopped == "" || len(r.Results) != 1 || r.Kept == nil || r.Kept.Format != "Q8_0" {
			t.Errorf("after %v: %v, %+v", c.cause, err, r)
		}
		if _, _, err := Use(p.Original, p.Key); !errors.Is(err, c.use) {
			t.Errorf("after %v: %v, want %v", c.cause, err, c.use)
		}
		end()
	}
}

// deadline is a context whose time is over when that is said.
type deadline struct {
	context.Context
	over *bool
}

func (d deadline) Err() error {
	if *d.over {
		return context.DeadlineExceeded
	}
	return nil
}

func TestContendersAlone(t *testing.T) {
	p, _ := setup(t, "Q8_0", "BF16")
	p.Contenders = true
	// Nothing is twice as fast as itself, unless the machine stumbles, and then its quality is looked at.
	for _, x := range run(t, p).Results {
		if x.Speedup < worthwhile && x.Quality != nil {
			t.Errorf("%+v was compared although it is slow", x)
		}
	}
}

func TestLapNeedsNoSharing(t *testing.T) {
	s := fake()
	s.Decoder = loner{s.Decoder}
	tokens := make([]sampler.Token, 300)
	if speed, err := lap(t.Context(), s, tokens); err != nil || !(speed.Decode8 > 0) {
		t.Errorf("%+v, %v", speed, err)
	}
	if _, err := lap(t.Context(), s, tokens[:100]); err == nil {
		t.Error("100 tokens were enough")
	}
}

// loner is a cache that cannot copy sequences, as that of a recurrent model.
type loner struct{ llama.Decoder }

func (loner) Share(int, int, int) error { return llama.ErrUnsupported }
