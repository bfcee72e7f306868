package eval

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
)

// Save writes a summary to a folder as NAME.json, NAME.csv, NAME.svg and NAME.png and returns their paths.
func (s *Summary) Save(dir, name string) ([]string, error) {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	table, err := s.CSV()
	if err != nil {
		return nil, err
	}
	files := []struct {
		ext  string
		data []byte
	}{{".json", append(text, '\n')}, {".csv", table}}
	var paths []string
	for _, f := range files {
		path := filepath.Join(dir, name+f.ext)
		if err := os.WriteFile(path, f.data, 0o644); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	for _, ext := range []string{".svg", ".png"} {
		path := filepath.Join(dir, name+ext)
		if err := s.plot(path); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// CSV is a table of the points: metric, curve, sigma, level, temperature, value, low, high, items. The level is empty where none was asked for.
func (s *Summary) CSV() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{{"metric", "curve", "sigma", "level", "temperature", "value", "low", "high", "items"}}
	for _, p := range s.Points {
		level := ""
		if p.Level > 0 {
			level = decimal(p.Level)
		}
		rows = append(rows, []string{
			p.Metric, string(p.Curve), decimal(p.Sigma), level, decimal(p.Temperature),
			decimal(p.Value), decimal(p.Low), decimal(p.High), strconv.Itoa(s.Items),
		})
	}
	err := w.WriteAll(rows)
	return b.Bytes(), err
}

// decimal writes a number with as many digits as a figure of some thousand items can mean.
func decimal(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
