package calibrate

import (
	"os"
	"path/filepath"
	"testing"
)

func TestForget(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if n, err := s.Forget("m"); n != 0 || err != nil {
		t.Errorf("without a folder: %d, %v", n, err)
	}
	dir := filepath.Join(s.Dir, "calibrations")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"m-1.json": `{"model":"m"}`, "m-2.json": `{"model":"m"}`, "m-3.json": `{"model":"m-3"}`, "m-4.json": `{`, "m-5.txt": `{"model":"m"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Forget("m"); n != 2 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if left, err := os.ReadDir(dir); len(left) != 3 || err != nil {
		t.Errorf("%v are left, %v", left, err)
	}
}
