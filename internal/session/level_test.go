package session

import (
	"errors"
	"strings"
	"testing"
)

// TestLevelDecidesOnUtility: σ comes from the calibration, once for each level, until σ itself is set.
func TestLevelDecidesOnUtility(t *testing.T) {
	s := begin(t, Settings{})
	if _, err := s.command("/set level 0.9"); err == nil || !strings.Contains(err.Error(), "no calibration") {
		t.Errorf("without a calibration: %v", err)
	}
	var asked []float64
	s.cfg.Sigma = func(level float64) (float64, error) {
		asked = append(asked, level)
		if level < 0.1 {
			return 0, errors.New("out of reach")
		}
		return 2 * (1 - level), nil
	}
	for _, c := range []struct {
		line, shown string
		sigma       float64
	}{
		{"/set level 0.75", "level 0.75 (σ = 0.5)", 0.5},
		{"/set temperature 0", "level 0.75 (σ = 0.5)", 0.5},
		{"/set level 0.75", "level 0.75 (σ = 0.5)", 0.5},
		{"/set utility 3", "σ = 3", 3},
		{"/set level 1", "level 1 (σ = 0)", 0},
	} {
		shown, err := s.command(c.line)
		if err != nil || !strings.Contains(shown, c.shown) || s.settings.Utility != c.sigma {
			t.Errorf("%s: %v, σ = %g, shown\n%s", c.line, err, s.settings.Utility, shown)
		}
	}
	if len(asked) != 2 {
		t.Errorf("the calibration was asked for %v", asked)
	}
	before := s.settings
	for _, line := range []string{"/set level 0.05", "/set level 0", "/set level 1.5", "/set level much", "/set level NaN"} {
		if _, err := s.command(line); err == nil {
			t.Errorf("%s: no error", line)
		}
		if s.settings.Level != before.Level || s.settings.Utility != before.Utility {
			t.Errorf("%s changed the settings to %v", line, s.settings)
		}
	}
}

func TestSessionBeginsAtALevel(t *testing.T) {
	cfg := begin(t, Settings{}).cfg
	cfg.Settings.Level = 0.5
	if _, err := New(cfg); err == nil {
		t.Error("without a calibration: no error")
	}
	cfg.Sigma = func(float64) (float64, error) { return 1.5, nil }
	s, err := New(cfg)
	if err != nil || s.settings.Utility != 1.5 {
		t.Errorf("%v, settings %v", err, s)
	}
}
