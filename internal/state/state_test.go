package state

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestSecretIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, err := Secret(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != SecretSize || bytes.Equal(first, make([]byte, SecretSize)) {
		t.Errorf("secret %x", first)
	}
	second, err := Secret(dir)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("second time %x, %v, want %x", second, err, first)
	}
	other, err := Secret(t.TempDir())
	if err != nil || bytes.Equal(first, other) {
		t.Errorf("another machine's secret %x, %v, is the same", other, err)
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "secret" {
		t.Errorf("the folder holds %q", got)
	}
	if mode := stat(t, filepath.Join(dir, "secret")).Mode().Perm(); mode != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode %04o, want 0600", mode)
	}
}

func TestSecretOfManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	secrets := make([][]byte, 32)
	var all sync.WaitGroup
	for i := range secrets {
		all.Go(func() {
			secret, err := Secret(dir)
			if err != nil {
				t.Error(err)
			}
			secrets[i] = secret
		})
	}
	all.Wait()
	for i, s := range secrets {
		if !bytes.Equal(s, secrets[0]) {
			t.Fatalf("secret %d is %x, secret 0 is %x", i, s, secrets[0])
		}
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the folder holds %q", got)
	}
}

func TestSecretRefusesWhatIsNone(t *testing.T) {
	for _, c := range []struct {
		name    string
		content int
		mode    fs.FileMode
		want    string
	}{
		{"empty", 0, 0o600, "0 bytes, want 32"},
		{"short", 31, 0o600, "31 bytes, want 32"},
		{"long", maxSecretSize + 1, 0o600, "more than 4096 bytes"},
		{"open to the group", 32, 0o640, "chmod 600"},
		{"open to all", 32, 0o604, "chmod 600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "secret")
			put(t, path, c.content, c.mode)
			_, err := Secret(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want an error with %q that names the file", err, c.want)
			}
		})
	}
}

func TestSecretFileOfTheEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine")
	t.Setenv("AIM_SECRET_FILE", path)
	dir := t.TempDir()
	if _, err := Secret(dir); err == nil || !strings.Contains(err.Error(), "AIM_SECRET_FILE") {
		t.Errorf("a missing file: %v", err)
	}
	put(t, path, 64, 0o400)
	secret, err := Secret(dir)
	if err != nil || len(secret) != 64 {
		t.Errorf("got %d bytes, %v", len(secret), err)
	}
	if err := os.Chmod(path, 0o440); err != nil { // as systemd and Kubernetes hand it over
		t.Fatal(err)
	}
	if _, err := Secret(dir); err != nil {
		t.Error(err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("the state folder holds %q", got)
	}
}

func TestDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	if dir, err := Dir(); dir != filepath.Join("/state", "aim") || err != nil {
		t.Errorf("got %q, %v", dir, err)
	}
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "/home/someone")
	if dir, err := Dir(); dir != "/home/someone/.local/state/aim" && runtime.GOOS != "windows" {
		t.Errorf("got %q, %v", dir, err)
	}
}

func put(t *testing.T, path string, size int, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestWrite: the new file takes the place of the old one, and nothing else is left.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	path := filepath.Join(dir, "file")
	for _, content := range []string{"first", "second, longer", ""} {
		if err := Write(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); string(got) != content || err != nil {
			t.Errorf("%q, %v, want %q", got, err, content)
		}
	}
	if files, err := os.ReadDir(dir); len(files) != 1 || err != nil {
		t.Errorf("files %v, %v", files, err)
	}
	if err := Write(filepath.Join(path, "below a file"), nil); err == nil {
		t.Error("written below a file")
	}
}

// TestWriteFromKeepsTheOld: content that cannot be made to its end replaces nothing.
func TestWriteFromKeepsTheOld(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := Write(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := WriteFrom(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "half of the n")
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("left are %v", left)
	}
}
