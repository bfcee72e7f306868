package optimize

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// result is one with made-up figures; its perplexity is certain.
func result(format string, bytes int64, speedup, loss float64) Result {
	return Result{Format: format, Bytes: bytes, Speedup: speedup, Quality: &Quality{LogRatio: math.Log1p(loss)}}
}

func TestChoose(t *testing.T) {
	unsure := result("Q5_0", 60, 1.9, 0.002)
	unsure.Quality.StdErr = 0.006
	broken := result("F16", 200, 3, 0)
	broken.Failed = "no space"
	unknown := result("IQ4_NL", 50, 2, 0)
	unknown.Quality = nil
	all := []Result{
		result("BF16", 200, 1.52, 0.0001), result("Q8_0", 100, 1.5, 0.002), result("Q4_0", 50, 2.2, 0.19), unsure, broken, unknown,
		result("Q8_0,output=BF16", 120, 1.4, 0.001), result("Q6_K", 80, 0.9, 0),
	}
	for _, c := range []struct {
		why     string
		results []Result
		maxLoss float64
		want    string
	}{
		{"two are about as fast, and the smaller is taken", all, 0.005, "Q8_0"},
		{"less loss is allowed than the faster ones have", all, 0.0015, "BF16"},
		{"a text that is too short to tell is no ground for a choice", all, 0.0059, "Q8_0"},
		{"a longer one is", all, 0.0061, "Q5_0"},
		{"the fastest of all may lose this much", all, 0.2, "Q4_0"},
		{"no loss at all", all[1:], 0, ""},
		{"nothing was measured", nil, 1, ""},
		{"the only good one is hardly faster", []Result{result("Q8_0", 10, 1.04, 0)}, 1, ""},
		{"better perplexity is no loss", []Result{result("Q8_0", 10, 1.3, -0.01)}, 0, "Q8_0"},
		{"NaN is no speed", []Result{result("Q8_0", 10, math.NaN(), 0)}, 1, ""},
		{"NaN is no loss", []Result{result("Q8_0", 10, 2, math.NaN())}, 1, ""},
	} {
		got := ""
		if r := Choose(c.results, c.maxLoss); r != nil {
			got = r.Format
		}
		if got != c.want {
			t.Errorf("%s: with a loss of %v it is %q, want %q", c.why, c.maxLoss, got, c.want)
		}
	}
}

func TestSpeedup(t *testing.T) {
	a := Speed{Prefill: 208, Decode1: 128, Decode8: 256} // 2 s alone, 1.5 s in company
	near(t, "twice as fast", Speedup(a, Speed{416, 256, 512}), 2, 1e-12)
	near(t, "faster prompts alone", Speedup(a, Speed{416, 128, 256}), math.Sqrt(2/1.5*1.5/1.0), 1e-12)
}

func TestRecordHoldsForItsKeyOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "model.json")
	key := Key{Model: "m", Processor: "p", Build: "b"}
	if _, err := Load(path, key); !errors.Is(err, ErrNone) {
		t.Errorf("of no file: %v", err)
	}
	r := &Record{Key: key, Results: []Result{result("Q8_0", 1, 2, 0.1)}}
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, key)
	if err != nil || got.Result("Q8_0") == nil || *got.Result("Q8_0").Quality != *r.Results[0].Quality || got.Result("Q4_0") != nil {
		t.Errorf("it came back as %+v, %v", got, err)
	}
	for _, other := range []Key{{"x", "p", "b"}, {"m", "x", "b"}, {"m", "p", "x"}} {
		if _, err := Load(path, other); !errors.Is(err, ErrStale) {
			t.Errorf("for %+v: %v", other, err)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, key); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("of a damaged file: %v", err)
	}
}

func TestFormats(t *testing.T) {
	for _, text := range []string{"Q8_0", "Q8_0,ffn_down=BF16", "Q8_0,ffn_down=BF16,attn_q=Q4_0,output=F16", "Q8_0,output=F16"} {
		f, err := ParseFormat(text)
		if err != nil || f.String() != text {
			t.Errorf("%s came back as %s, %v", text, f, err)
		}
	}
	for _, text := range []string{"", ",", "a=b", "Q8_0,", "Q8_0,x", "Q8_0,=x", "Q8_0,x="} {
		if f, err := ParseFormat(text); err == nil {
			t.Errorf("%q is %+v", text, f)
		}
	}
	for _, f := range Candidates("Q4_0", "Q6_K") {
		if again, err := ParseFormat(f.String()); err != nil || again.String() != f.String() {
			t.Errorf("candidate %s: %v", f, err)
		}
		if f.Type == "Q4_0" {
			t.Error("the original itself is a candidate")
		}
	}
}

func TestProcessorHasAName(t *testing.T) {
	if p := Processor(); p == "" || p != Processor() {
		t.Errorf("the processor is %q", p)
	}
}
