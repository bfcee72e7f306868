//go:build ignore

// Command vulndb lays out Go's vulnerability database as govulncheck reads it from a folder, from the files of the module golang.org/x/vulndb, so that
// an audit needs nothing but the module proxy.
//
//	go run scripts/vulndb.go FOLDER_OF_THE_MODULE OUT
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// osv is what the index needs of an entry.
type osv struct {
	ID        string     `json:"id"`
	Published time.Time  `json:"published"`
	Withdrawn *time.Time `json:"withdrawn"`
	Affected  []struct {
		Package struct{ Name string } `json:"package"`
		Ranges  []struct {
			Events []struct{ Fixed string } `json:"events"`
		} `json:"ranges"`
	} `json:"affected"`
}

// vuln and module are entries of index/modules.json.
type vuln struct {
	ID       string    `json:"id"`
	Modified time.Time `json:"modified"`
	Fixed    string    `json:"fixed,omitempty"`
}

type module struct {
	Path  string `json:"path"`
	Vulns []vuln `json:"vulns"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: vulndb MODULE OUT")
		os.Exit(2)
	}
	if err := run(filepath.Join(os.Args[1], "data", "osv"), os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "vulndb:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "GO-*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no entries in %s: %w", from, err)
	}
	modules := map[string][]vuln{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var v osv
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if v.Withdrawn != nil {
			continue
		}
		seen := map[string]bool{}
		for _, a := range v.Affected {
			if name := a.Package.Name; !seen[name] {
				seen[name] = true
				entry := vuln{ID: v.ID, Modified: v.Published}
				for _, r := range a.Ranges {
					for _, e := range r.Events {
						if e.Fixed != "" {
							entry.Fixed = e.Fixed
						}
					}
				}
				modules[name] = append(modules[name], entry)
			}
		}
		if err := write(filepath.Join(to, "ID", v.ID+".json"), json.RawMessage(data)); err != nil {
			return err
		}
	}
	list := make([]module, 0, len(modules))
	for path, vulns := range modules {
		list = append(list, module{path, vulns})
	}
	if err := write(filepath.Join(to, "index", "modules.json"), list); err != nil {
		return err
	}
	return write(filepath.Join(to, "index", "db.json"), map[string]time.Time{"modified": time.Now().UTC()})
}

func write(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
