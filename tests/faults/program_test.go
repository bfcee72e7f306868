package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aim/internal/measure"
	"aim/internal/testmodel"
)

// binary is the program; the test is skipped without.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("AIM_FAULTS_BIN")
	if path == "" {
		t.Skip("AIM_FAULTS_BIN does not name the program: `make faults` runs this test")
	}
	return path
}

// program is an `aim serve` that runs.
type program struct {
	t         *testing.T
	cmd       *exec.Cmd
	url, addr string
	log       string // file
	profiles  string
	ended     chan struct{} // closed when err is there
	err       error
}

var greeting = regexp.MustCompile(`Aim serves (\S+) at (http://(\S+))/v1`)

// start starts the program with a configuration, to which address, profiles and log are added, and waits until it serves.
func start(t *testing.T, dir, config string) *program {
	t.Helper()
	p := launch(t, dir, config)
	eventually(t, "the program serves", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("it has ended: %v\n%s", p.err, p.logged())
		default:
		}
		return p.greeted()
	})
	return p
}

// launch starts the program and does not wait.
func launch(t *testing.T, dir, config string) *program {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, profiles: l.Addr().String(), ended: make(chan struct{})}
	_ = l.Close() // the port is what counts
	file := filepath.Join(dir, "aim.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(config, "profile_address: "+p.profiles)), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.CreateTemp(dir, "log-*")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.log = log.Name()
	p.cmd = exec.Command(binary(t), "serve", "--config", file) //nolint:noctx // kill ends it
	p.cmd.Env = append(os.Environ(), "AIM_STATE_DIR="+dir)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	return p
}

// greeted looks for the greeting.
func (p *program) greeted() bool {
	m := greeting.FindStringSubmatch(p.logged())
	if m == nil {
		return false
	}
	p.url, p.addr = m[2], m[3]
	return true
}

func (p *program) logged() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return string(text)
}

// kill ends it as kill -9 does.
func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("%v: %v", s, err)
	}
}

// ends waits for its end, and returns what it ended with; it fails the test after a minute.
func (p *program) ends() error {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.t.Fatalf("the program does not end\n%s", p.logged())
	}
	return p.err
}

// createKey makes a key as an owner does.
func createKey(t *testing.T, dir, name string, flags ...string) keyed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), append([]string{"keys", "create", "--state-dir", dir, "--name", name, "--json"}, flags...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("keys create: %v", err)
	}
	var made struct {
		Key    struct{ ID string }
		Secret string
	}
	if err := json.Unmarshal(out, &made); err != nil || made.Secret == "" {
		t.Fatalf("%v in %s", err, out)
	}
	return keyed{id: made.Key.ID, secret: made.Secret}
}

// holds is what the program holds: memory of its own, not of mapped files.
func (p *program) holds() holding {
	p.t.Helper()
	h := holding{files: openFiles(p.cmd.Process.Pid)}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skip("there is no /proc here")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			h.resident = uint64(n) << 10
		}
	}
	_, _ = fmt.Sscanf(p.profile("goroutine?debug=1"), "goroutine profile: total %d", &h.goroutines)
	_, after, _ := strings.Cut(p.profile("heap?gc=1&debug=1"), "# HeapAlloc = ")
	_, _ = fmt.Sscanf(after, "%d", &h.heap)
	return h
}

func (p *program) profile(what string) string {
	p.t.Helper()
	res, err := calm.Get("http://" + p.profiles + "/debug/pprof/" + what) //nolint:noctx // the client has a time limit
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// seen is what the program's log says of requests.
func (p *program) seen() *observer {
	o := &observer{list: map[string][]measure.Request{}}
	for lines := bufio.NewScanner(strings.NewReader(p.logged())); lines.Scan(); {
		var v struct {
			Msg, Method, Path, Key, Code, Request string
			Status                                int
			Prompt                                int `json:"prompt_tokens"`
			Completion                            int `json:"completion_tokens"`
		}
		if json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &v) == nil && v.Msg == "request" {
			o.list[v.Request] = append(o.list[v.Request], measure.Request{
				ID: v.Request, Method: v.Method, Endpoint: v.Path, Key: v.Key, Code: v.Code, Status: v.Status, PromptTokens: v.Prompt, CompletionTokens: v.Completion,
			})
		}
	}
	return o
}

// realSlack is how much the program may hold more: what llama.cpp, SQLite and the memory allocators keep, and 16 MiB of the prefix cache.
const realSlack = 64 << 20

// real is a configuration of two tiers; two places are for the folder and the model.
const real = `version: 1
server:
  address: 127.0.0.1:0
  %%s
  max_body: 64KiB
  keep_alive: 200ms
  log: {level: info, format: json}
state_dir: %q
models:
  smollm2:
    file: %q
    listed: on
    context: 256
    slots: 4
    queue: 32
    cache: {ram: 16MiB}
virtual_models:
  smollm2-standard:
    base: smollm2
    utility: {sigma: 0.5}
  smollm2-lite:
    base: smollm2
    utility: {sigma: 2}
    max_tokens: 64
`

// TestProgramStorm: the same storm on the program and a real model.
func TestProgramStorm(t *testing.T) {
	dir := t.TempDir()
	binary(t)
	var keys []keyed
	for i := range 6 {
		keys = append(keys, createKey(t, dir, fmt.Sprint("free ", i)))
	}
	rated := createKey(t, dir, "rated", "--rpm", "30")
	rated.limited = true
	keys = append(keys, rated)
	p := start(t, dir, fmt.Sprintf(real, dir, testmodel.Path(t)))
	models := []string{"smollm2", "smollm2-standard", "smollm2-lite"}
	var kinds []kind
	for _, list := range [][]kind{good(), mistaken(), harmful()} {
		for _, k := range list {
			if !k.slow {
				kinds = append(kinds, k)
			}
		}
	}
	storm("w", p.addr, good(), keys[:6], models, 48, 8) // to warm up
	before := p.holds()
	began := time.Now()
	results := storm("c", p.addr, kinds, keys, models, 500, 20)
	took := time.Since(began)
	eventually(t, "all goroutines of requests have ended", func() bool { return p.holds().goroutines <= before.goroutines+moreGoroutines })
	judge(t, kinds, results)
	after := p.holds()
	if after.resident > before.resident+realSlack || after.heap > before.heap+moreHeap || after.files > before.files+moreFiles {
		t.Errorf("the program held %+v and holds %+v", before, after)
	}
	const section = "Storm on SmolLM2, by aim serve --config"
	compare(t, section, p.seen(), filepath.Join(dir, "aim.db"), results)
	report(section, kinds, results, 20, took)
	figure(section, "goroutines, open files before and after", "%d, %d and %d, %d", before.goroutines, before.files, after.goroutines, after.files)
	figure(section, "heap of Go before, after", "%.1f MB, %.1f MB (may be %d MB more)", float64(before.heap)/1e6, float64(after.heap)/1e6, moreHeap>>20)
	figure(section, "anonymous memory before, after", "%.0f MB, %.0f MB (may be %d MB more)", float64(before.resident)/1e6, float64(after.resident)/1e6, realSlack>>20)
	p.signal(syscall.SIGTERM)
	if err := p.ends(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// hammer asks again and again, each client with a key of its own and one request after the other, until done says so; heard is called after each answer. It
// returns how many answers each received in full, and how many requests were cut off.
func hammer(url string, keys []keyed, done func() bool, heard func()) (received, cut []int) {
	received, cut = make([]int, len(keys)), make([]int, len(keys))
	var all sync.WaitGroup
	for i, k := range keys {
		all.Go(func() {
			for n := 0; !done(); n++ {
				path, body := textPath, `{"prompt": "water", "max_tokens": 2}`
				if n%3 == 2 {
					path, body = "/tokenize", `{"content": "water"}`
				}
				status, _, err := ask(url, k.secret, path, body)
				if err != nil {
					if !errors.Is(err, syscall.ECONNREFUSED) {
						cut[i]++
					}
					return
				}
				if status != http.StatusOK {
					cut[i] = -1 << 20 // which no comparison passes
					return
				}
				received[i]++
				heard()
			}
		})
	}
	all.Wait()
	return received, cut
}
