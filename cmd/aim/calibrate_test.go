package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"aim/internal/calibrate"
	"aim/internal/testmodel"
)

// row finds a level with its σ and standard error in what calibrate prints.
var row = regexp.MustCompile(`(?m)^ +([\d.]+) +([\d.]+) +([\d.]+)`)

// TestCalibrate: a measurement is kept, found again, imposed by serve, and repaired where its file is damaged.
func TestCalibrate(t *testing.T) {
	dir := stateDir(t)
	calibrated := func(more ...string) string {
		t.Helper()
		args := append([]string{"calibrate", testmodel.Path(t), "--state-dir", dir}, more...)
		out, err := try(t, "", args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := calibrated("--steps", "64")
	sigmas := map[string]float64{}
	for _, m := range row.FindAllStringSubmatch(first, -1) {
		sigma, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		sigmas[m[1]] = sigma
	}
	// Of four answers nothing is known exactly; a thorough measurement says 0.38 and 1.7 (docs/dial.md).
	if s9, s5 := sigmas["0.90"], sigmas["0.50"]; !(s9 > 0.15 && s9 < 1) || !(s5 > 1 && s5 < 3) {
		t.Errorf("σ is %g at level 0.9 and %g at 0.5 in\n%s", s9, s5, first)
	}
	if again := calibrated(); again != first {
		t.Errorf("first\n%s\nthen\n%s", first, again)
	}

	_, url, stop := serving(t, "--state-dir", dir, "--level", "0.9")
	for utility, want := range map[string]int{
		`{"level": 0.95}`:                http.StatusForbidden,
		`{"sigma": 0.01}`:                http.StatusForbidden,
		`{"level": 0.9}`:                 http.StatusOK,
		`{"level": 0.5}`:                 http.StatusOK,
		`{"level": 0.5, "sigma": 3}`:     http.StatusBadRequest,
		`{"level": 0.000000000000001}`:   http.StatusBadRequest,
		`{"level": 0.5, "temperature":}`: http.StatusBadRequest,
	} {
		if status, body := post(t, url, `, "aim": {"utility": `+utility+`}`); status != want {
			t.Errorf("%s: status %d, want %d: %s", utility, status, want, body)
		}
	}
	imposed, same := ask(t, url, ""), ask(t, url, `, "aim": {"utility": {"level": 0.9}}`)
	if lower := ask(t, url, `, "aim": {"utility": {"level": 0.3}}`); imposed != same || lower == imposed {
		t.Errorf("imposed %q, the same level %q, a lower one %q", imposed, same, lower)
	}
	stop()

	files, err := filepath.Glob(filepath.Join(dir, "calibrations", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if repaired := calibrated("--steps", "64"); row.FindString(repaired) != row.FindString(first) {
		t.Errorf("first\n%s\nafter damage\n%s", first, repaired)
	}
}

// TestCalibrateWithoutAFolderToWrite: what cannot be stored is used all the same.
func TestCalibrateWithoutAFolderToWrite(t *testing.T) {
	dir := stateDir(t)
	if err := os.WriteFile(filepath.Join(dir, "calibrations"), nil, 0o600); err != nil { // no folder can be made there
		t.Fatal(err)
	}
	prompts := filepath.Join(dir, "prompts.txt")
	if err := os.WriteFile(prompts, []byte("What is rain?\nCount to ten.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := try(t, "", "calibrate", testmodel.Path(t), "--state-dir", dir, "--steps", "64", "--prompts", prompts)
	if err != nil || !strings.Contains(out, "prompts of your own: 2 prompts, 2 answers") || row.FindString(out) == "" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestLevelsHold verifies the quick calibration on prompts that it has not seen, and for the models that are there.
func TestLevelsHold(t *testing.T) {
	if os.Getenv("AIM_FULL") == "" {
		t.Skip("minutes of decoding: make verify runs it")
	}
	text, err := os.ReadFile("../../internal/calibrate/testdata/heldout.txt")
	if err != nil {
		t.Fatal(err)
	}
	prompts, err := calibrate.ParsePrompts(string(text))
	if err != nil {
		t.Fatal(err)
	}
	path := testmodel.Path(t)
	t.Run(filepath.Base(path), func(t *testing.T) { levelsHold(t, path, prompts, 0.02) })
	gemma := filepath.Join(filepath.Dir(path), testmodel.Gemma)
	if !fileExists(gemma) {
		t.Logf("without %s, which make model-gemma fetches", gemma)
		return
	}
	// It is a base model, and the quick calibration misses its levels by up to this much; see docs/dial.md.
	t.Run(testmodel.Gemma, func(t *testing.T) { levelsHold(t, gemma, prompts, 0.12) })
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// levelsHold wants the mean exact probability within tolerance of the level.
func levelsHold(t *testing.T, path string, prompts []string, tolerance float64) {
	o := engineOptions{model: path, stateDir: t.TempDir(), slots: 16, context: calibrationContext, batch: 512, threads: 2, gpuLayers: -1}
	e, err := openEngine(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	defer e.start()()
	g, err := newGauge(e, o, newLogger(t.Output(), new(slog.LevelVar), "warn", "text"), nil)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := g.obtain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []float64{0.95, 0.9, 0.8, 0.7, 0.5} {
		v, err := calibrate.Verify(t.Context(), g.subject(), curve, prompts, level, calibrate.AnswerLength, nil)
		if err != nil {
			t.Fatal(err)
		}
		told := fmt.Sprintf("level %g, σ = %.3f: mean exact probability %.4f, kept %.4f (%.4f to %.4f), difference %+.4f (%+.4f to %+.4f), %d steps",
			level, v.Sigma, v.Mean, v.Share, v.Low, v.High, v.Excess, v.ExcessLow, v.ExcessHigh, v.Steps)
		t.Log(told)
		if v.Steps < 5000 {
			t.Errorf("only %d steps", v.Steps)
		}
		if diff := v.Mean - level; !(diff >= -tolerance && diff <= tolerance) {
			t.Errorf("off by %+.4f: %s", diff, told)
		}
		if !(v.Low <= v.Mean && v.Mean <= v.High) {
			t.Errorf("outside the band of the share: %s", told)
		}
	}
}
