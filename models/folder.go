// Package models is the catalogue of models on this machine: the folder they live in, their names, and what their files
// say of themselves.
package models

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Folder is where models are looked for: $AIM_MODELS, else $XDG_DATA_HOME/aim/models, by default
// ~/.local/share/aim/models. It need not exist. The script fetch-model follows the same rules.
func Folder() (string, error) {
	if dir := os.Getenv("AIM_MODELS"); dir != "" {
		return dir, nil
	}
	if base := os.Getenv("XDG_DATA_HOME"); base != "" {
		return filepath.Join(base, "aim", "models"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for models: %w; set AIM_MODELS", err)
	}
	return filepath.Join(home, ".local", "share", "aim", "models"), nil
}

const suffix = ".gguf"

// shard is the name of one file of several, and the part that its siblings share.
var shard = regexp.MustCompile(`^(.+)-(\d{5})-of-\d{5}$`)

// Name is the name of the model in a file: the file's name without .gguf, and without the number where the model is
// split over several files. It is also the model's id in the API.
func Name(path string) string {
	name := filepath.Base(path)
	if len(name) > len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix) {
		name = name[:len(name)-len(suffix)]
	}
	if m := shard.FindStringSubmatch(name); m != nil {
		name = m[1]
	}
	return name
}

// Files returns the paths of the models in a folder, sorted by name; of a model split over several files the first. A
// folder that does not exist has none.
func Files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("list the models: %w", err)
	}
	var paths []string
	seen := map[string]bool{}
	for _, e := range entries { // sorted, so that the first of several files comes first
		name := Name(e.Name())
		if name == e.Name() || strings.HasPrefix(name, ".") || seen[name] || e.IsDir() {
			continue
		}
		seen[name] = true
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths, nil
}

// NotFoundError says that there is no model of that name, and which there are.
type NotFoundError struct {
	// Name is what was asked for, empty where nothing was and the choice is not clear.
	Name, Dir string
	// Have are the names that exist in the folder.
	Have []string
}

func (e *NotFoundError) Error() string {
	have := "it has none yet"
	if len(e.Have) > 0 {
		have = "it has " + strings.Join(e.Have, ", ")
	}
	if e.Name == "" {
		return fmt.Sprintf("no model named, and not exactly one in %s: %s", e.Dir, have)
	}
	return fmt.Sprintf("no model %q, neither a file nor a name in %s: %s", e.Name, e.Dir, have)
}

// Find returns the file of a model: name is a path, or the name of a model in dir with or without .gguf, or empty for the
// only model there. It fails with [NotFoundError].
func Find(dir, name string) (string, error) {
	if name != "" {
		if info, err := os.Stat(name); err == nil && !info.IsDir() {
			return name, nil
		}
	}
	paths, err := Files(dir)
	if err != nil {
		return "", err
	}
	if name == "" && len(paths) == 1 {
		return paths[0], nil
	}
	have := make([]string, len(paths))
	for i, p := range paths {
		have[i] = Name(p)
	}
	if i := slices.Index(have, Name(name)); i >= 0 && filepath.Base(name) == name {
		return paths[i], nil
	}
	return "", &NotFoundError{Name: name, Dir: dir, Have: have}
}
