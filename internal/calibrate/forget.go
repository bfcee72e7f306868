package calibrate

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Forget deletes the calibrations of a model by its name, with all its templates and adapters, and returns how many there were.
func (s Store) Forget(model string) (int, error) {
	dir := filepath.Join(s.Dir, "calibrations")
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	n := 0
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxStored || filepath.Ext(path) != ".json" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return n, err
		}
		var r Record
		if json.Unmarshal(content, &r) != nil || r.Model != model {
			continue
		}
		if err := os.Remove(path); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
