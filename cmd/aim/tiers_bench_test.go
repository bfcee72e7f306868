package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"aim/internal/testmodel"
)

// tierServer is `aim serve` as a process of its own.
type tierServer struct {
	url string
	cmd *exec.Cmd
}

// startTiers starts a server that offers one model as tiers of these σ. It guesses nothing ahead: how often that helps depends on the texts, which
// differ between tiers.
func startTiers(b *testing.B, sigmas ...float64) *tierServer {
	b.Helper()
	dir := b.TempDir()
	text := fmt.Sprintf("version: 1\nstate_dir: %s\nserver: {address: '127.0.0.1:0', log: {level: warn}}\nmodels:\n  m: {file: %s, slots: 8, context: 512, speculate: {mode: 'off'}}\nvirtual_models:\n",
		dir, testmodel.Path(b))
	for i, sigma := range sigmas {
		text += fmt.Sprintf("  t%d: {base: m, utility: {sigma: %g}}\n", i, sigma)
	}
	file := filepath.Join(dir, "aim.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, "serve", "--config", file)
	cmd.Env = append(os.Environ(), asAim+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // where that fails, it has ended
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	m := servesAt.FindStringSubmatch(line)
	if m == nil {
		b.Fatalf("greeting %q, %v", line, err)
	}
	return &tierServer{m[2], cmd}
}

// fact is a number in a file of the process in /proc, by its name or its place in a line.
func (p *tierServer) fact(b *testing.B, file string, find func(text string) string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		b.Skip("needs /proc: ", err)
	}
	v, err := strconv.ParseFloat(find(string(text)), 64)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// ticks are the ticks of processor time that it took, and resident the KiB that it holds.
func (p *tierServer) ticks(b *testing.B) float64 {
	at := func(n int) float64 {
		return p.fact(b, "stat", func(text string) string { return strings.Fields(text[strings.LastIndex(text, ")"):])[n] })
	}
	return at(12) + at(13) // utime and stime, counted from the end of the name
}

func (p *tierServer) resident(b *testing.B) float64 {
	return p.fact(b, "status", func(text string) string {
		_, rest, _ := strings.Cut(text, "VmRSS:")
		return strings.Fields(rest)[0]
	})
}

// lap has eight clients ask at once, each its own tier of so many, and returns the time and the ticks of the processor that it took.
func (p *tierServer) lap(b *testing.B, tiers, answer int) (took time.Duration, ticks float64) {
	before := p.ticks(b)
	took, _ = streamAll(b, 8, func(i int) timing {
		body := fmt.Sprintf(`{"model": "t%d", "messages": [{"role": "user", "content": %q}], "max_tokens": %d, "ignore_eos": true, "temperature": 0.8}`,
			i%tiers, question(i), answer)
		response, err := http.Post(p.url+"/v1/chat/completions", "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			return timing{err: err}
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d: %s", response.StatusCode, text)
		}
		return timing{tokens: answer, err: err}
	})
	return took, p.ticks(b) - before
}

// BenchmarkTiers compares eight virtual models of one base, mixed in each batch, with one alone: two servers, asked by turns there and back. "tokens/s-ratio"
// and "cpu-ratio" are medians over the laps of eight tiers to one, and "resident-ratio" is that of what both processes hold at the end.
func BenchmarkTiers(b *testing.B) {
	const answer = 128
	one, eight := startTiers(b, 1.175), startTiers(b, 1, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35) // the same on average, since more noise costs more
	one.lap(b, 1, 8)                                                                            // prompts
	eight.lap(b, 8, 8)
	var speed, cpu []float64
	for b.Loop() {
		a, aTicks := one.lap(b, 1, answer)
		c, cTicks := eight.lap(b, 8, answer)
		d, dTicks := eight.lap(b, 8, answer)
		e, eTicks := one.lap(b, 1, answer)
		speed = append(speed, (a+e).Seconds()/(c+d).Seconds())
		cpu = append(cpu, (cTicks+dTicks)/(aTicks+eTicks))
	}
	median := func(v []float64) float64 {
		slices.Sort(v)
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	b.ReportMetric(median(speed), "tokens/s-ratio")
	b.ReportMetric(median(cpu), "cpu-ratio")
	b.ReportMetric(one.resident(b)/1024, "MiB-one")
	b.ReportMetric(eight.resident(b)/1024, "MiB-eight")
	b.ReportMetric(eight.resident(b)/one.resident(b), "resident-ratio")
}
