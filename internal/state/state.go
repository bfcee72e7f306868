// Package state keeps what Aim must remember between runs on one machine: the owner's secret, and what was measured.
package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// SecretSize is the size of a secret that Aim makes, and the least it accepts, in bytes.
const SecretSize = 32

// handed is the mode of a secret that systemd (LoadCredential) or Kubernetes (a secret with fsGroup) hands to a program: the group is one
// that it was put into for that, or the bits are those of an access list.
const handed = 0o440

// maxSecretSize bounds what is read when the path leads to something else by mistake.
const maxSecretSize = 4096

// Dir is the folder for state: $XDG_STATE_HOME/aim, by default ~/.local/state/aim. It need not exist.
func Dir() (string, error) {
	if base := os.Getenv("XDG_STATE_HOME"); base != "" {
		return filepath.Join(base, "aim"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for state: %w; set XDG_STATE_HOME", err)
	}
	return filepath.Join(home, ".local", "state", "aim"), nil
}

// Secret returns the owner's secret, from which the noise of utility modulation is keyed. It is the content of the file
// that $AIM_SECRET_FILE names, else of the file "secret" in dir, which is made of random bytes where it does not exist.
// A file that $AIM_SECRET_FILE names must exist: replicas that shall agree would otherwise differ unnoticed.
func Secret(dir string) ([]byte, error) {
	if path := os.Getenv("AIM_SECRET_FILE"); path != "" {
		secret, err := SecretFile(path)
		if err != nil {
			return nil, fmt.Errorf("AIM_SECRET_FILE: %w", err)
		}
		return secret, nil
	}
	path := filepath.Join(dir, "secret")
	secret, err := read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := create(path); err != nil {
		return nil, fmt.Errorf("make the owner's secret: %w", err)
	}
	return read(path)
}

// SecretFile returns the owner's secret in a file that must exist.
func SecretFile(path string) ([]byte, error) { return read(path) }

// Rotate replaces the secret at path by a new one, and keeps the old one beside it, named .old. All noise is another from then on: whoever has asked before
// gets one more look at the same rows. Where there is no secret, it makes the first one.
func Rotate(path string) error {
	old, err := read(path)
	switch {
	case err == nil:
		if err := Write(path+".old", old); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	secret := make([]byte, SecretSize)
	_, _ = rand.Read(secret) // never fails
	return Write(path, secret)
}

// read reads a secret and refuses one that is no secret.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Windows has no such permissions.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && mode != handed && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("the secret %s is open to other users (mode %04o): run chmod 600 on it, "+
			"and delete it to get a new one if they may have read it", path, mode)
	}
	secret, err := io.ReadAll(io.LimitReader(f, maxSecretSize+1))
	if err != nil {
		return nil, err
	}
	if n := len(secret); n < SecretSize || n > maxSecretSize {
		return nil, fmt.Errorf("the secret %s has %s, want %d to %d", path, size(n), SecretSize, maxSecretSize)
	}
	return secret, nil
}

func size(n int) string {
	if n > maxSecretSize {
		return fmt.Sprintf("more than %d bytes", maxSecretSize)
	}
	return fmt.Sprintf("%d bytes", n)
}

// create makes a secret at path, unless another process is first. A hard link appears whole or not at all, and, unlike a
// rename, never replaces the secret of another process.
func create(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".secret-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // the worst is a leftover
	secret := make([]byte, SecretSize)
	_, _ = rand.Read(secret) // never fails
	_, err = f.Write(secret)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Write makes content the file at path, whose folder is made where it does not exist. Who reads meanwhile, or after a crash,
// finds the old file or the new one, whole.
func Write(path string, content []byte) error {
	return WriteFrom(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WriteFrom is Write for content that write makes. Where that fails, the old file stays.
func WriteFrom(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // after the rename there is none
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
