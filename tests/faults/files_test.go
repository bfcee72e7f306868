package faults

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"aim/internal/testmodel"
)

// several is a configuration of a model that is there, one that is loaded when it is asked for, and one that is to be loaded at the start; places are for
// the folder and the three files.
const several = `version: 1
server:
  address: 127.0.0.1:0
  %%s
  log: {level: warn, format: json}
accounts: {require_keys: never}
state_dir: %q
models:
  good: {file: %q, slots: 4, context: 128}
  lazy: {file: %q, slots: 2, context: 128, load: lazy, keep_alive: 1s}
  eager: {file: %q, slots: 2, context: 128}
`

// TestDamagedModelFiles: a model whose file is cut off, or replaced by garbage, says so to those who ask for it, while another one serves; once the file
// is good it serves, too.
func TestDamagedModelFiles(t *testing.T) {
	dir := t.TempDir()
	binary(t)
	whole, err := os.ReadFile(testmodel.TinyLlama(2).Write(t))
	if err != nil {
		t.Fatal(err)
	}
	lazy, eager := filepath.Join(dir, "lazy.gguf"), filepath.Join(dir, "eager.gguf")
	put := func(path string, data []byte) { // as a whole, as `aim pull` does
		t.Helper()
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	garbage := append([]byte("GGUF\x03\x00\x00\x00"), []byte(strings.Repeat("\xff\x00garbage", 500))...)
	damaged := map[string][]byte{
		"cut off in the weights": whole[:len(whole)*2/3], "cut off in the head": whole[:200], "empty": nil, "garbage with a GGUF's first bytes": garbage,
		"no GGUF": []byte(strings.Repeat("hello ", 1000)),
	}
	put(lazy, whole[:len(whole)/2])
	put(eager, whole[:len(whole)/2])
	p := start(t, dir, fmt.Sprintf(several, dir, testmodel.TinyLlama(1).Write(t), lazy, eager))

	var over atomic.Bool
	good := make(chan int, 1) // so that the goroutine ends without a reader
	go func() {
		n := 0
		for ; !over.Load(); n++ {
			if status, text, err := ask(p.url, "", textPath, `{"model": "good", "prompt": "x", "max_tokens": 4}`); err != nil || status != http.StatusOK {
				t.Errorf("the good model: status %d, %v: %s", status, err, text)
				break
			}
		}
		good <- n
	}()
	for what, data := range damaged {
		put(lazy, data)
		put(eager, data)
		for _, model := range []string{"lazy", "eager"} {
			refused(t, p, what, model)
		}
	}
	put(lazy, whole)
	put(eager, whole)
	for _, model := range []string{"lazy", "eager"} {
		eventually(t, model+" serves once its file is good", func() bool {
			status, _ := p.text(t, model)
			return status == http.StatusOK
		})
	}
	over.Store(true)
	const section = "Damaged model files"
	figure(section, "kinds of damage, each of a lazy model and of one that should be loaded at the start", "%d: 503 model_not_loaded with Retry-After", len(damaged))
	figure(section, "answers of a good model meanwhile", "%d", <-good)
	figure(section, "once the file is good", "both serve without a restart")

	alone := launch(t, t.TempDir(), fmt.Sprintf(tiny, filepath.Join(dir, "other.db"), dir, eager+".gone"))
	if err := alone.ends(); err == nil {
		t.Error("the program ends well although there is no model")
	}
	put(eager, whole[:len(whole)/2])
	alone = launch(t, t.TempDir(), fmt.Sprintf(tiny, filepath.Join(dir, "other.db"), dir, eager))
	if err := alone.ends(); err == nil || strings.Contains(alone.logged(), "panic") {
		t.Errorf("a damaged model alone: it ends with %v\n%s", err, alone.logged())
	}
	figure(section, "a damaged model alone", "the program says so and ends with status 1")
}

// text asks a model to continue a text.
func (p *program) text(t *testing.T, model string) (status int, retry string) {
	t.Helper()
	res, err := calm.Post(p.url+textPath, "application/json", strings.NewReader(fmt.Sprintf(`{"model": %q, "prompt": "x", "max_tokens": 2}`, model))) //nolint:noctx // the client has a time limit
	if err != nil {
		t.Fatalf("%v\n%s", err, p.logged())
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK && !strings.Contains(string(text), `"model_not_loaded"`) {
		t.Errorf("%s: status %d: %s", model, res.StatusCode, text)
	}
	return res.StatusCode, res.Header.Get("Retry-After")
}

// refused makes sure that a damaged model is.
func refused(t *testing.T, p *program, what, model string) {
	t.Helper()
	if status, retry := p.text(t, model); status != http.StatusServiceUnavailable || retry == "" {
		t.Errorf("%s, %s: status %d, Retry-After %q", what, model, status, retry)
	}
}
