package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell is a side whose server is a shell script.
func shell(script string) *Side {
	return &Side{Binary: "sh", Args: func(Shape, int) []string { return []string{"-c", script} }}
}

func TestServersEnd(t *testing.T) {
	for name, end := range map[string]func(*Process, context.CancelFunc){
		"stopped":     func(p *Process, _ context.CancelFunc) { p.Stop() },
		"interrupted": func(_ *Process, interrupt context.CancelFunc) { interrupt() },
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		p, err := shell("exec sleep 600").Start(ctx, Shape{}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		end(p, interrupt)
		select {
		case <-p.ended:
		case <-time.After(patience):
			t.Errorf("%s: the server runs on", name)
		}
		if err := syscall.Kill(p.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s: its process is still there: %v", name, err)
		}
	}
}

func TestServersThatEndByThemselvesAreExplained(t *testing.T) {
	p, err := shell("echo no such model; exit 3").Start(t.Context(), Shape{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	ctx, end := p.While(t.Context())
	defer end()
	// Nobody ever listens on its port, so that only its end ends this.
	_, err = (&Client{URL: p.URL}).Probe(ctx, &Prompts{}, 1, time.Minute)
	if err = p.explain(err); !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "exit status 3") || !strings.HasSuffix(err.Error(), "no such model\n") {
		t.Errorf("got %v", err)
	}
}

func TestCommandLines(t *testing.T) {
	shape := Shape{Slots: 8, Context: 512}
	aim := AimSide("Aim", "aim", "m.gguf", "state", 2, []string{"--unified-kv"})
	want := "serve --model m.gguf --addr 127.0.0.1:99 --threads 2 --slots 8 --ctx 512 --queue 256 --state-dir state --drain-timeout 0s --log-level warn --unified-kv"
	if got := strings.Join(aim.Args(shape, 99), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for unified, kv := range map[bool]string{false: "--no-kv-unified", true: "--kv-unified"} {
		llama := LlamaServerSide("llama-server", "m.gguf", 2, unified)
		want := "--model m.gguf --host 127.0.0.1 --port 99 --threads 2 --threads-batch 2 --parallel 8 --ctx-size 4096 " + kv
		if got := strings.Join(llama.Args(shape, 99), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestPeakMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status")
	for text, want := range map[string]float64{"Name:\taim\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n": 123456 * 1024, "VmHWM:\tmuch\n": 0, "Name:\taim\n": 0} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := peakMemory(path); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %g, %v, want %g", text, got, err, want)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	if got, err := peakMemory("/proc/self/status"); err != nil || got < 1<<20 {
		t.Errorf("of this test: %g bytes, %v", got, err)
	}
}

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	cpuinfo, meminfo := filepath.Join(dir, "cpuinfo"), filepath.Join(dir, "meminfo")
	for path, text := range map[string]string{
		cpuinfo: "processor\t: 0\nmodel name\t: Some Processor @ 2 GHz\nflags\t\t: fpu avx2 avx512f fma amx_tile\n\nprocessor\t: 1\nmodel name\t: Another\n",
		meminfo: "MemTotal:       1048576 kB\nMemFree:  1 kB\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var m Machine
	m.read(cpuinfo, meminfo)
	if m.Processor != "Some Processor @ 2 GHz" || m.Memory != 1<<30 || !slices.Equal(m.Features, []string{"avx2", "fma", "avx512f", "amx_tile"}) {
		t.Errorf("%+v", m)
	}
	if m := ThisMachine(); m.Cores < 1 || m.System == "" {
		t.Errorf("this machine: %+v", m)
	}
}
