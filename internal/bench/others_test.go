package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
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

// TestOthers has a server that spins: it is one of us and no disturbance, until the meter looks at another process.
func TestOthers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	p, err := shell(spin).Start(t.Context(), Shape{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	ours, theirs := startMeter(p.cmd.Process.Pid), startMeter(os.Getpid())
	time.Sleep(time.Second)
	// Both saw the same machine, so whatever else runs, they differ by what the server used.
	if a, b := ours.others(), theirs.others(); a < 0 || b < a {
		t.Errorf("others took %.2f beside the server and %.2f without it; want more without", a, b)
	}
	if got := startMeter(1 << 30).others(); got != -1 {
		t.Errorf("beside no process: %g", got)
	}
}
