package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Side is a server to compare: how it is called and started.
type Side struct {
	Name string
	// Aim says that it knows what only Aim does.
	Aim bool
	// Peer says that it is one of the servers that Aim is compared with.
	Peer bool
	// Version is what it says of itself.
	Version string
	Binary  string
	// Args are its arguments for a shape and a port of 127.0.0.1.
	Args func(s Shape, port int) []string
}

// AimSide is `aim serve` with a state folder of its own; more are further flags, which win.
func AimSide(name, binary, model, state string, threads int, more []string) Side {
	return Side{Name: name, Aim: true, Binary: binary, Args: func(s Shape, port int) []string {
		return append([]string{
			"serve", "--model", model, "--addr", "127.0.0.1:" + strconv.Itoa(port), "--threads", strconv.Itoa(threads),
			"--slots", strconv.Itoa(s.Slots), "--ctx", strconv.Itoa(s.Context), "--queue", strconv.Itoa(MaxClients),
			"--state-dir", state, "--drain-timeout", "0s", "--log-level", "warn",
		}, more...)
	}}
}

// LlamaServerSide is llama-server with one of its two kinds of KV cache: unified, which all slots share, or split.
func LlamaServerSide(binary, model string, threads int, unified bool) Side {
	name, kv := "llama-server, split KV", "--no-kv-unified"
	if unified {
		name, kv = "llama-server, unified KV", "--kv-unified"
	}
	return Side{Name: name, Peer: true, Binary: binary, Args: func(s Shape, port int) []string {
		n := strconv.Itoa(threads)
		return []string{
			"--model", model, "--host", "127.0.0.1", "--port", strconv.Itoa(port), "--threads", n, "--threads-batch", n,
			// Its context is that of all slots together.
			"--parallel", strconv.Itoa(s.Slots), "--ctx-size", strconv.Itoa(s.Slots * s.Context), kv,
		}
	}}
}

// Process is a running server.
type Process struct {
	// Started is when it was started, URL the base of its API.
	Started time.Time
	URL     string
	cmd     *exec.Cmd
	log     string
	ended   chan struct{}
	err     error // once ended is closed
}

// Start starts a server on a free port of 127.0.0.1; it is not ready yet, see [Client.Probe]. Its output goes to a file in dir.
// When ctx ends, so does the server.
func (s *Side) Start(ctx context.Context, shape Shape, dir string) (*Process, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	out, err := os.CreateTemp(dir, "server-*.log")
	if err != nil {
		return nil, err
	}
	defer out.Close() // the server has its own descriptor
	cmd := exec.CommandContext(ctx, s.Binary, s.Args(shape, port)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	p := &Process{Started: time.Now(), URL: fmt.Sprintf("http://127.0.0.1:%d/v1", port), cmd: cmd, log: out.Name(), ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// patience is how long a server may take to end before it is killed.
const patience = 10 * time.Second

// Stop ends the server and waits until it has ended.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // where that fails, it has ended
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill() // likewise
		<-p.ended
	}
	_ = os.Remove(p.log) // a file too many in a folder that goes away
}

// errEnded says that a server ended by itself.
var errEnded = errors.New("the server ended")

// While is a context that ends with ctx, or when the server does.
func (p *Process) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.ended:
			cancel(fmt.Errorf("%w: %v", errEnded, p.err)) //nolint:errorlint // what it ended with is told, not handled
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// explain adds the end of the server's output to an error.
func (p *Process) explain(err error) error {
	const most = 2000
	text, readErr := os.ReadFile(p.log)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	return fmt.Errorf("%w; the last of the output of %s:\n%s", err, filepath.Base(p.cmd.Path), text[max(0, len(text)-most):])
}

// PeakMemory is the most memory that the process has held at once, in bytes: VmHWM of /proc, which only Linux has.
func (p *Process) PeakMemory() (float64, error) {
	return peakMemory(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
}

func peakMemory(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("peak memory: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		value, found := strings.CutPrefix(lines.Text(), "VmHWM:")
		if !found {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 64)
		if err != nil {
			return 0, fmt.Errorf("%s: VmHWM: %w", path, err)
		}
		return kib * 1024, nil
	}
	return 0, fmt.Errorf("%s has no VmHWM", path)
}

// freePort is a port that nobody listens on.
func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
