package calibrate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"aim/internal/state"
)

// version is that of stored calibrations: both of their form and of how they are measured.
const version = 1

// maxStored bounds what is read when the path leads to something else by mistake.
const maxStored = 1 << 20

// Record is a stored calibration.
type Record struct {
	// Version is that of the form and the method; another one is stale.
	Version int `json:"version"`
	// Model is the name the model had, for people who read the file.
	Model string `json:"model"`
	// Key identifies model and template, PromptSet the prompts it was measured on.
	Key       string `json:"key"`
	PromptSet string `json:"prompt_set"`
	// Measured is when.
	Measured time.Time `json:"measured"`
	Curve
}

// Key identifies a model with a chat template, and with what tells its adapters from others: what is measured depends on all of it.
// The identity is models.Identity's.
func Key(identity, template string, adapters ...string) string {
	return digest(append([]string{identity, template}, adapters...)...)
}

// PromptSet identifies a list of prompts.
func PromptSet(prompts []string) string { return digest(prompts...) }

// digest is a hash of texts that no other list of texts has.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d:", len(t))
		_, _ = io.WriteString(h, t) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// ErrNone says that no calibration is stored for a model.
var ErrNone = errors.New("no calibration is stored")

// Store keeps calibrations in a folder, which need not exist yet.
type Store struct{ Dir string }

// path is the file of a model. Its name is for people, too; the key makes it the model's own.
func (s Store) path(model, key string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, model)
	if len(safe) > 80 {
		safe = safe[:80]
	}
	return filepath.Join(s.Dir, "calibrations", safe+"-"+key[:min(16, len(key))]+".json")
}

// Load reads the calibration of a model. Without a usable one the error is [ErrNone] where there is no file or it is of another
// version, and says what is wrong with the file otherwise.
func (s Store) Load(model, key string) (*Record, error) {
	path := s.path(model, key)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxStored))
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	switch {
	case r.Version != version:
		return nil, ErrNone
	case r.Key != key:
		return nil, fmt.Errorf("%s is of another model", path)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return &r, nil
}

// Save stores a calibration in place of the model's former one and returns the path. Version and Measured are filled in.
func (s Store) Save(r Record) (string, error) {
	if err := r.check(); err != nil {
		return "", fmt.Errorf("not a calibration: %w", err)
	}
	r.Version = version
	if r.Measured.IsZero() {
		r.Measured = time.Now().UTC().Truncate(time.Second)
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", err
	}
	path := s.path(r.Model, r.Key)
	return path, state.Write(path, append(content, '\n'))
}
