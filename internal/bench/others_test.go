package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestTicks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cpu  10 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4\n")
	if got, ok := systemTicks(path); !ok || got != (ticks{total: 531, busy: 81}) {
		t.Errorf("%+v, %v", got, ok)
	}
	write("12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 70 5 0 0\n")
	if got, ok := processTicks(path); !ok || got != 75 {
		t.Errorf("%g, %v, want 75", got, ok)
	}
	for _, text := range []string{"", "cpu 1 2\n", "cpu a b c d e f g h\n", "1 (a) S 1\n"} {
		write(text)
		if got, ok := systemTicks(path); ok {
			t.Errorf("%q: %+v", text, got)
		}
		if got, ok := processTicks(path); ok {
			t.Errorf("%q: %g", text, got)
		}
	}
}

func TestOthers(t *testing.T) {
	dir := t.TempDir()
	m := &meter{system: filepath.Join(dir, "stat"), self: filepath.Join(dir, "self"), server: filepath.Join(dir, "server")}
	set := func(busy, idle, ours, server int) {
		for path, text := range map[string]string{
			m.system: fmt.Sprintf("cpu %d 0 0 %d 0 0 0 0 0 0\n", busy, idle),
			m.self:   fmt.Sprintf("1 (bench) R 1 2 3 4 5 6 7 8 9 10 %d 1 0\n", ours),
			m.server: fmt.Sprintf("2 (aim) R 1 2 3 4 5 6 7 8 9 10 %d 0 0\n", server),
		} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(1000, 500, 10, 0)
	m.start()
	// Of 200 ticks 150 were busy: 100 in the server, 20 here, and so 30 elsewhere.
	set(1150, 550, 30, 100)
	if got := m.others(); !near(got, 0.15) {
		t.Errorf("others took %g, want 0.15", got)
	}
	set(1150, 550, 60, 100)
	if got := m.others(); got != 0 {
		t.Errorf("others took %g, want 0 where ticks do not add up", got)
	}
	if err := os.Remove(m.server); err != nil {
		t.Fatal(err)
	}
	if got := m.others(); got != -1 {
		t.Errorf("without a server others took %g, want -1", got)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if m := startMeter(os.Getpid()); !m.ok {
		t.Error("the files of this system cannot be read")
	}
}
