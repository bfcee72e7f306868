package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"aim/internal/testmodel"
)

// drained is a configuration of the real model with a limit on draining; places are for that, the folder and the model.
const drained = `version: 1
server:
  address: 127.0.0.1:0
  %%s
  drain_timeout: %s
  log: {level: info, format: json}
accounts: {require_keys: never}
state_dir: %q
models:
  smollm2: {file: %q, slots: 4, queue: 16, context: 2048}
`

// long asks for an answer of n tokens, by forbidding the tokens that end one.
func long(n int) string {
	return fmt.Sprintf(`{"prompt": "Once upon a time", "max_tokens": %d, "stream": true, "temperature": 0, "logit_bias": {"0": -100, "2": -100}}`, n)
}

// stream asks for a stream and returns all of it; begun is called when its first bytes are there.
func (p *program) stream(body string, begun func()) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+textPath, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(res.Body, first); err != nil {
		return "", err
	}
	begun()
	rest, err := io.ReadAll(res.Body)
	return string(first) + string(rest), err
}

// streams begins n streams, and returns what they end with once all have begun.
func (p *program) streams(n int, body string) (ends func() (whole, told, cut int)) {
	var begun, all sync.WaitGroup
	texts, errs := make([]string, n), make([]error, n)
	for i := range n {
		begun.Add(1)
		all.Go(func() {
			once := sync.OnceFunc(begun.Done)
			defer once()
			texts[i], errs[i] = p.stream(body, once)
		})
	}
	begun.Wait()
	return func() (whole, told, cut int) {
		all.Wait()
		for i := range n {
			switch {
			case errs[i] == nil && strings.HasSuffix(texts[i], "data: [DONE]\n\n"):
				whole++
			case errs[i] == nil && strings.Contains(texts[i], `"error"`):
				told++
			default:
				cut++
			}
		}
		return whole, told, cut
	}
}

const signalsSection = "Signals during load"

// TestTermination: SIGTERM lets running answers end, as long as the limit says; those beyond it are told, and a second signal ends all at once.
func TestTermination(t *testing.T) {
	binary(t)
	model := testmodel.Path(t)
	t.Run("drains", func(t *testing.T) {
		dir := t.TempDir()
		p := start(t, dir, fmt.Sprintf(drained, "60s", dir, model))
		ends := p.streams(8, long(48)) // as many run as wait
		p.signal(syscall.SIGTERM)
		refused := 0
		eventually(t, "new requests are refused", func() bool {
			status, _, err := ask(p.url, "", textPath, `{"prompt": "x", "max_tokens": 1}`)
			if err == nil && status == http.StatusServiceUnavailable {
				refused++
			}
			return refused > 0 || err != nil
		})
		whole, told, cut := ends()
		if err := p.ends(); err != nil || whole != 8 {
			t.Errorf("it ends with %v; %d streams are whole, %d told of the end, %d cut off\n%s", err, whole, told, cut, p.logged())
		}
		figure(signalsSection, "SIGTERM with time: streams, whole", "8, %d", whole)
	})
	t.Run("limit", func(t *testing.T) {
		dir := t.TempDir()
		p := start(t, dir, fmt.Sprintf(drained, "300ms", dir, model))
		ends := p.streams(4, long(1900))
		p.signal(syscall.SIGTERM)
		whole, told, cut := ends()
		if err := p.ends(); err != nil || told != 4 {
			t.Errorf("it ends with %v; %d streams are whole, %d told of the end, %d cut off\n%s", err, whole, told, cut, p.logged())
		}
		figure(signalsSection, "SIGTERM with a limit of 300 ms: streams of 1900 tokens, told of the end", "4, %d", told)
	})
	t.Run("twice", func(t *testing.T) {
		dir := t.TempDir()
		p := start(t, dir, fmt.Sprintf(drained, "10m", dir, model))
		ends := p.streams(4, long(1900))
		p.signal(syscall.SIGTERM)
		eventually(t, "it drains", func() bool { return strings.Contains(p.logged(), "shutting down") })
		p.signal(syscall.SIGTERM)
		err := p.ends()
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Errorf("it ends with %v", err)
		}
		if whole, _, _ := ends(); whole > 0 {
			t.Errorf("%d streams are whole", whole)
		}
		figure(signalsSection, "SIGTERM twice, with a limit of 10 minutes", "ended by the second")
	})
}

// TestReloads: reading the configuration again and again disturbs no answer.
func TestReloads(t *testing.T) {
	dir := t.TempDir()
	binary(t)
	key := createKey(t, dir, "all")
	p := start(t, dir, fmt.Sprintf(real, dir, testmodel.Path(t)))
	rounds := pick(3, 15)
	var whole, broken atomic.Int64
	var over atomic.Bool
	var all sync.WaitGroup
	for n := range 6 {
		all.Go(func() {
			c := newClient("c", p.addr, n, []keyed{key}, []string{"smollm2", "smollm2-standard", "smollm2-lite"})
			defer c.web.CloseIdleConnections()
			for !over.Load() {
				o := c.begin(chatPath)
				c.ask(o, talk(streamed)(c), 0)
				if o.complete && o.status == http.StatusOK {
					whole.Add(1)
				} else {
					broken.Add(1)
					t.Errorf("status %d, %v", o.status, o.err)
				}
			}
		})
	}
	for range rounds {
		before := whole.Load()
		p.signal(syscall.SIGHUP)
		time.Sleep(time.Second)
		eventually(t, "streams end", func() bool { return whole.Load() > before || t.Failed() })
	}
	over.Store(true)
	all.Wait()
	reloaded := strings.Count(p.logged(), `"msg":"reloaded"`)
	if reloaded != rounds {
		t.Errorf("it was reloaded %d times, want %d\n%s", reloaded, rounds, p.logged())
	}
	if _, total := records(t, filepath.Join(dir, "aim.db")); total != int(whole.Load()+broken.Load()) {
		t.Errorf("%d records for %d streams", total, whole.Load()+broken.Load())
	}
	figure(signalsSection, "SIGHUP each second: reloads, streams, broken ones", "%d, %d, %d", reloaded, whole.Load(), broken.Load())
}
