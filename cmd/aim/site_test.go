package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"aim/internal/account"
	"aim/internal/testmodel"
	"aim/models"
)

// three tiers of one base model. Their σ is given, so that nothing is measured.
const threeTiers = `models:
  smol: {file: MODEL, slots: 4, context: 512}
virtual_models:
  smol-standard:
    base: smol
    description: as it is
  smol-lite:
    base: smol
    utility: {sigma: 2}
    context: 256
    max_tokens: 12
    defaults: {temperature: 0}
    bounds:
      n: {max: 1}
      temperature: {max: 0.5}
      seed: {allowed: false}
    show: {logprobs: off}
  smol-words:
    base: smol
    utility: {sigma: 1}
    focus: {max_strength: 0.5, spans: false, sigma: false}
`

func TestTiers(t *testing.T) {
	o := offering(t, threeTiers+"accounts: {require_keys: always}\n")
	o.refused("no key", o.chat("smol-lite", "", ""), http.StatusUnauthorized, "invalid_api_key")
	lite := o.aim("keys", "create", "--name", "Ada", "--models", "smol-l*")
	slow := o.aim("keys", "create", "--name", "Bob", "--rpm", "1", "--lower-utility")
	spent := o.aim("keys", "create", "--name", "Eve", "--tokens-per-day", "1")
	owner := o.aim("keys", "create", "--name", "owner", "--admin")

	if got := o.models(lite); got != "smol-lite" {
		t.Errorf("models of one grant: %s", got)
	}
	if got := o.models(owner); got != "smol-lite smol-standard smol-words" {
		t.Errorf("models: %s", got)
	}
	for _, name := range []string{"smol-standard", "smol", "gpt-4"} { // one of others, the base, and none
		o.refused(name, o.chat(name, lite, ""), http.StatusNotFound, "model_not_found")
	}
	if r := o.get("/v1/models/smol-standard", owner); !strings.Contains(r.body, `"description":"as it is"`) {
		t.Errorf("description: %s", r.body)
	}
	if r := o.get("/v1/models/smol-lite", lite); !strings.Contains(r.body, `"max_model_len":256`) || strings.Contains(r.body, "sigma") {
		t.Errorf("a ceiling, and nothing of what is imposed: %s", r.body)
	}
	o.refused("a key that is none", o.chat("smol-lite", "aim-nothing", ""), http.StatusUnauthorized, "invalid_api_key")
	o.refused("admin", o.get("/admin/keys", lite), http.StatusForbidden, "admin_required")
	o.refused("metrics", o.get("/metrics", lite), http.StatusForbidden, "admin_required")

	// The default of the tier is temperature 0, and no name in the request is the first model that the key may use.
	answer := o.chat("smol-lite", lite, "")
	if again := o.ask(http.MethodPost, "/v1/chat/completions", lite, strings.Replace(conversation("x", ""), `"model": "x", `, "", 1)); answer.text() == "" ||
		again.text() != answer.text() {
		t.Errorf("%q, without a name %q", answer.text(), again.text())
	}
	if other := o.chat("smol-standard", owner, `, "temperature": 0`); other.text() == answer.text() {
		t.Errorf("the tier changes nothing: %q", other.text())
	}
	for more, want := range map[string]struct {
		status int
		code   string
	}{
		`, "temperature": 0.9`:               {http.StatusBadRequest, "invalid_value"},
		`, "n": 2`:                           {http.StatusBadRequest, "invalid_value"},
		`, "max_completion_tokens": 13`:      {http.StatusBadRequest, "invalid_value"},
		`, "seed": 1`:                        {http.StatusForbidden, "parameter_not_allowed"},
		`, "logprobs": true`:                 {http.StatusForbidden, "logprobs_not_allowed"},
		`, "aim": {"utility": {"sigma": 4}}`: {http.StatusForbidden, "utility_not_allowed"},
	} {
		if strings.Contains(more, "max_completion_tokens") {
			o.refused(more, o.ask(http.MethodPost, "/v1/chat/completions", lite, strings.Replace(conversation("smol-lite", more), `, "max_tokens": 8`, "", 1)), want.status, want.code)
			continue
		}
		o.refused(more, o.chat("smol-lite", lite, more), want.status, want.code)
	}
	o.refused("too much focus", o.chat("smol-words", owner, `, "aim": {"focus": [{"text": "water", "strength": 0.9}]}`), http.StatusForbidden, "focus_not_allowed")
	o.refused("more quality", o.chat("smol-words", slow, `, "aim": {"utility": {"sigma": 0.5}}`), http.StatusForbidden, "utility_imposed")

	r := o.chat("smol-lite", slow, "")
	o.refused("beyond the rate", r, http.StatusTooManyRequests, "rate_limit_exceeded")
	if r.header.Get("Retry-After") == "" || r.header.Get("X-Ratelimit-Limit-Requests") != "1" || r.header.Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("headers %v", r.header)
	}
	o.chat("smol-lite", spent, "")
	r = o.chat("smol-lite", spent, "")
	o.refused("beyond the budget", r, http.StatusTooManyRequests, "insufficient_quota")
	if r.header.Get("X-Should-Retry") != "false" {
		t.Errorf("headers %v", r.header)
	}
	checkAccounts(o, lite, owner)
}

// checkAccounts looks at usage and metrics, then revokes a key from another process.
func checkAccounts(o *offered, lite, owner string) {
	o.t.Helper()
	var byCommand, byAdmin []account.Total
	if err := json.Unmarshal([]byte(o.aim("usage", "--by", "key,model", "--json")), &byCommand); err != nil {
		o.t.Error(err)
	}
	var list struct{ Data []account.Total }
	if r := o.get("/admin/usage?by=key,model", owner); json.Unmarshal([]byte(r.body), &list) != nil || r.status != http.StatusOK {
		o.t.Errorf("usage: %s", r.body)
	}
	byAdmin = list.Data
	found := false
	for _, u := range byCommand {
		found = found || u.Model == "smol-lite" && u.Requests == 8 && u.Failed == 6 && u.CompletionTokens > 0 && u.PromptTokens > 0
	}
	if !found || len(byCommand) != len(byAdmin) {
		o.t.Errorf("usage %+v, by the API %+v", byCommand, byAdmin)
	}
	metrics := o.get("/metrics", owner)
	for _, want := range []string{`aim_model_sigma{base="smol",model="smol-lite"} 2`, `aim_requests_total{`, `aim_rate_limit_refusals_total`} {
		if !strings.Contains(metrics.body, want) {
			o.t.Errorf("no %s in the metrics:\n%s", want, metrics.body)
		}
	}
	self, err := os.Executable()
	if err != nil {
		o.t.Fatal(err)
	}
	revoke := exec.CommandContext(o.t.Context(), self, "keys", "revoke", lite[:12], "--config", o.file)
	revoke.Env = append(os.Environ(), asAim+"=1")
	if out, err := revoke.CombinedOutput(); err != nil {
		o.t.Fatalf("%v: %s", err, out)
	}
	o.refused("a revoked key", o.chat("smol-lite", lite, ""), http.StatusUnauthorized, "invalid_api_key")
	if said, _ := o.log.from(0); strings.Contains(said, "gravity") || strings.Contains(said, lite) || strings.Contains(said, "aim test") {
		o.t.Error("a prompt, a key or the secret is in the log")
	}
}

// reload sends SIGHUP and returns what is logged until the reload is over.
func (o *offered) reload() string {
	o.t.Helper()
	mark := o.log.mark()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		o.t.Fatal(err)
	}
	return o.log.wait(o.t, mark, "msg=reloaded", "is not used", "could not be put in force")
}

// stream begins a stream and returns once its first event is there. end reads it to its end.
func (o *offered) stream(model string) (end func() string) {
	o.t.Helper()
	response, err := o.send(http.MethodPost, "/v1/completions", "", `{"model": "`+model+`", "prompt": "Once", "max_tokens": 150, "stream": true, "ignore_eos": true, "temperature": 0}`) //nolint:bodyclose // end does
	if err != nil {
		o.t.Fatal(err)
	}
	lines := bufio.NewReader(response.Body)
	text, err := lines.ReadString('\n')
	if err != nil || response.StatusCode != http.StatusOK {
		o.t.Fatalf("status %d, %q, %v", response.StatusCode, text, err)
	}
	return func() string {
		defer response.Body.Close()
		var all bytes.Buffer
		if _, err := all.ReadFrom(lines); err != nil {
			o.t.Errorf("the stream ends with %v", err)
		}
		return all.String()
	}
}

func TestReload(t *testing.T) {
	tiny := testmodel.TinyLlama(1).Write(t)
	with := strings.Replace(threeTiers, "virtual_models:\n", "  tiny: {file: "+tiny+", context: 512, slots: 2}\nvirtual_models:\n", 1)
	o := offering(t, with)
	if got := o.models(""); got != "tiny smol-lite smol-standard smol-words" {
		t.Errorf("models %s", got)
	}
	words := o.chat("smol-words", "", `, "temperature": 0`).text()

	// A mistake changes nothing.
	o.write(strings.Replace(with, "sigma: 2", "sigma: -2", 1))
	if said := o.reload(); !strings.Contains(said, "aim.yaml:13:") || !strings.Contains(said, "sigma") {
		t.Errorf("a mistake without its place: %s", said)
	}
	o.write(strings.Replace(with, "base: smol\n    utility: {sigma: 1}", "base: smol\n    adapters: gone\n    utility: {sigma: 1}", 1))
	if said := o.reload(); !strings.Contains(said, "gone") {
		t.Errorf("a set that is not there: %s", said)
	}
	if got := o.models(""); got != "tiny smol-lite smol-standard smol-words" {
		t.Errorf("models after mistakes %s", got)
	}

	// One tier changes, one goes, one comes, and so does a base model; what streams goes on, on a model that leaves, too.
	ends := []func() string{o.stream("smol-standard"), o.stream("tiny")}
	fresh := strings.Replace(threeTiers, "  smol-standard:", "  smol-plus:", 1)
	fresh = strings.Replace(fresh, "utility: {sigma: 1}", "utility: {sigma: 3}", 1)
	fresh = strings.Replace(fresh, "slots: 4", "slots: 5", 1)
	o.write(strings.Replace(fresh, "virtual_models:\n", "  other: {file: "+tiny+", context: 256}\nvirtual_models:\n", 1))
	said := o.reload()
	if !strings.Contains(said, `msg="this setting counts from the next start on" setting=models.smol.slots`) || strings.Contains(said, "start on\" setting=models.other") {
		t.Errorf("what takes a start: %s", said)
	}
	if got := o.models(""); got != "other smol-lite smol-plus smol-words" {
		t.Errorf("models %s", got)
	}
	o.refused("a model that has gone", o.chat("smol-standard", "", ""), http.StatusNotFound, "model_not_found")
	if now := o.chat("smol-words", "", `, "temperature": 0`).text(); now == "" || now == words {
		t.Errorf("the tier has not changed: %q, was %q", now, words)
	}
	if r := o.ask(http.MethodPost, "/v1/completions", "", `{"model": "other", "prompt": "a", "max_tokens": 2}`); r.status != http.StatusOK {
		t.Errorf("a model that was added: %+v", r)
	}
	for _, end := range ends {
		if text := end(); !strings.HasSuffix(text, "data: [DONE]\n\n") || !strings.Contains(text, `"finish_reason":"length"`) {
			t.Errorf("a stream was cut off by the reload: %s", text)
		}
	}
	o.log.wait(t, 0, `msg="unloading a model" model=tiny`)
}

func TestSecretIsRotated(t *testing.T) {
	o := offering(t, threeTiers)
	path, print := o.aim("secret", "path"), o.aim("secret", "fingerprint")
	before := o.chat("smol-lite", "", "")
	rotated := o.aim("secret", "rotate")
	if now := o.aim("secret", "fingerprint"); now == print || !strings.Contains(rotated, now) || strings.Contains(rotated, "aim test") {
		t.Errorf("rotate says %q; the fingerprint was %s, is %s", rotated, print, now)
	}
	if same := o.chat("smol-lite", "", ""); same.text() != before.text() {
		t.Errorf("the secret counts before SIGHUP: %q, %q", before.text(), same.text())
	}
	o.reload()
	after := o.chat("smol-lite", "", "")
	if after.text() == before.text() || fingerprintIn(after) == fingerprintIn(before) {
		t.Errorf("the noise is the same: %s, then %s", before.body, after.body)
	}
	old, err := os.ReadFile(path + ".old")
	info, err2 := os.Stat(path)
	if err != nil || err2 != nil || string(old) != strings.Repeat("aim test", 4) || info.Mode().Perm() != 0o600 {
		t.Errorf("old secret %q, %v, %v; mode %v", old, err, err2, info.Mode())
	}
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AIM_SECRET_FILE", path)
	if got := o.aim("secret", "fingerprint"); got != print {
		t.Errorf("fingerprint by AIM_SECRET_FILE %s, want %s", got, print)
	}
}

func fingerprintIn(r reply) string {
	var answer struct {
		Fingerprint string `json:"system_fingerprint"`
	}
	_ = json.Unmarshal([]byte(r.body), &answer) // "" where there is none
	return answer.Fingerprint
}

func TestSeveralBaseModels(t *testing.T) {
	smol, err := models.Used(testmodel.Path(t), 2, 256)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	broken, tiny := filepath.Join(dir, "broken.gguf"), testmodel.TinyLlama(1).Write(t)
	if err := os.WriteFile(broken, []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := offering(t, strings.NewReplacer("TINY", tiny, "BROKEN", broken, "MEMORY", scaledBytes(smol.Total()+1000)).Replace(`memory: MEMORY
models:
  smol: {file: MODEL, slots: 2, context: 256, load: lazy}
  tiny: {file: TINY, slots: 2, context: 256, load: lazy, keep_alive: 300ms}
  broken: {file: BROKEN}
virtual_models:
  tiny-noisy: {base: tiny, utility: {sigma: 1}}
`))
	if got := o.models(""); got != "broken smol tiny-noisy" {
		t.Errorf("models %s", got)
	}
	loaded := func(name string) bool {
		var list struct {
			Data []struct {
				ID     string
				Loaded bool
			}
		}
		if r := o.get("/admin/models", ""); json.Unmarshal([]byte(r.body), &list) != nil {
			t.Errorf("models: %s", r.body)
		}
		for _, m := range list.Data {
			if m.ID == name {
				return m.Loaded
			}
		}
		return false
	}
	complete := func(model string) reply {
		return o.ask(http.MethodPost, "/v1/completions", "", `{"model": "`+model+`", "prompt": "a", "max_tokens": 2}`)
	}
	if loaded("smol") || loaded("tiny-noisy") {
		t.Error("a lazy model is loaded although nobody asked for it")
	}
	if r := o.get("/v1/models/smol", ""); !strings.Contains(r.body, `"max_model_len":256`) || !strings.Contains(r.body, `"n_params":134515008`) {
		t.Errorf("facts of a model that is not loaded: %s", r.body)
	}
	r := complete("broken")
	o.refused("a broken model", r, http.StatusServiceUnavailable, "model_not_loaded")
	if r.header.Get("Retry-After") == "" || strings.Contains(r.body, dir) {
		t.Errorf("it says %s, %v", r.body, r.header)
	}
	if r := complete("tiny-noisy"); r.status != http.StatusOK {
		t.Errorf("a lazy model: %s", r.body)
	}
	o.eventually("keep_alive does not end", func() bool { return !loaded("tiny-noisy") })
	if r := complete("tiny-noisy"); r.status != http.StatusOK {
		t.Errorf("a lazy model again: %s", r.body)
	}
	if r := o.chat("smol", "", ""); r.status != http.StatusOK || !loaded("smol") { // for which the tiny one must leave
		t.Errorf("the other model: %s", r.body)
	}
	o.eventually("both are loaded, which is more than the memory", func() bool { return !loaded("tiny-noisy") })
	mark := o.log.mark()
	if said := o.reload(); strings.Contains(said, "start on") || !loaded("smol") {
		t.Errorf("a reload of the same file unloads a model, or tells changes: %s", said)
	}
	if said, _ := o.log.from(mark); strings.Contains(said, "unloading") {
		t.Errorf("unloaded: %s", said)
	}
	if r := complete("tiny-noisy"); r.status != http.StatusOK || loaded("smol") {
		t.Errorf("the tiny model once more: %s", r.body)
	}
}

// scaledBytes is a number of bytes as a configuration has it.
func scaledBytes(n int64) string { return string(must(json.Marshal(n))) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestWithoutKeysItIsOnLoopback(t *testing.T) {
	tiny := testmodel.TinyLlama(1).Write(t)
	base := "models:\n  tiny: {file: " + tiny + "}\nserver: {address: '0.0.0.0:0'}\n"
	foreign := func(o *offered) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.url+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "api.example.com"
		response, err := o.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	t.Run("auto", func(t *testing.T) {
		o := offering(t, base)
		said := o.log.wait(t, 0, "keys=false")
		if !strings.Contains(said, "listens on loopback only") || !strings.Contains(said, "asked=0.0.0.0:0 address=127.0.0.1:") {
			t.Errorf("no warning: %s", said)
		}
		if got := foreign(o); got != http.StatusForbidden {
			t.Errorf("under a name that a stranger's page may have: status %d", got)
		}
		o.reload()
		if got := foreign(o); got != http.StatusForbidden {
			t.Errorf("the same after a reload: status %d", got)
		}
		key := o.aim("keys", "create", "--name", "first")
		if got := foreign(o); got != http.StatusUnauthorized {
			t.Errorf("the first key does not count at once: status %d", got)
		}
		if got := o.models(key); got != "tiny" {
			t.Errorf("with the key: %s", got)
		}
		o.stop()
		o.start()
		if said := o.log.wait(t, 0, "keys=true"); !strings.Contains(said, "address=[::]:") && !strings.Contains(said, "address=0.0.0.0:") {
			t.Errorf("with a key it does not listen where it was asked to: %s", said)
		}
	})
	t.Run("never", func(t *testing.T) {
		o := offering(t, base+"accounts: {require_keys: never}\n")
		o.aim("keys", "create", "--name", "unused")
		if got := foreign(o); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
	})
}

func TestTLSAndMetricsOfTheirOwn(t *testing.T) {
	tiny := testmodel.TinyLlama(1).Write(t)
	dir := t.TempDir()
	cert, key, pool := certificate(t, dir, "one")
	text := func(cert, key string) string {
		return "models:\n  tiny: {file: " + tiny + "}\nserver:\n  address: 127.0.0.1:0\n  metrics_address: 127.0.0.1:0\n  tls: {certificate: " + cert + ", key: " + key + "}\n"
	}
	o := &offered{t: t, dir: stateDir(t), log: &watchedLog{more: make(chan struct{})}}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	o.client = &http.Client{Transport: transport}
	o.file = filepath.Join(o.dir, "aim.yaml")
	o.write(text(cert, key))
	o.start()
	if got := o.models(""); got != "tiny" || !strings.HasPrefix(o.url, "https://") {
		t.Errorf("%s serves %s", o.url, got)
	}
	if out, err := try(t, "", "health", "--url", o.url); err != nil {
		t.Errorf("health: %v, %s", err, out)
	}
	o.refused("metrics of their own are not the API's", o.get("/metrics", ""), http.StatusNotFound, "not_found")
	said, _ := o.log.from(0)
	_, rest, _ := strings.Cut(said, "msg=metrics address=")
	at, _, _ := strings.Cut(rest, "\n")
	response, err := http.Get(at)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %v, %+v", err, response)
	}
	response.Body.Close()

	o.write(text(cert, filepath.Join(dir, "one.crt"))) // no key
	if said := o.reload(); !strings.Contains(said, "is not used") {
		t.Errorf("a broken certificate: %s", said)
	}
	cert2, key2, pool2 := certificate(t, dir, "two")
	o.write(text(cert2, key2))
	o.reload()
	transport.CloseIdleConnections()
	o.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool2}}}
	if got := o.models(""); got != "tiny" {
		t.Errorf("with the new certificate: %s", got)
	}
	mark := o.log.mark()
	o.write("models:\n  tiny: {file: " + tiny + "}\nserver: {address: '127.0.0.1:0', metrics_address: '127.0.0.1:0'}\n")
	o.reload()
	if said, _ := o.log.from(mark); !strings.Contains(said, "next start on\" setting=server.tls.certificate") || strings.Contains(said, "level=ERROR") {
		t.Errorf("TLS taken out: %s", said)
	}
	if got := o.models(""); got != "tiny" {
		t.Errorf("it is left on until the next start: %s", got)
	}
}

func TestTimesOfRequests(t *testing.T) {
	tiny := testmodel.TinyLlama(1).Write(t)
	text := "models:\n  smol: {file: MODEL, slots: 1, context: 2048}\n  tiny: {file: " + tiny + "}\nserver: {address: '127.0.0.1:0', queue_timeout: 1ms"
	o := offering(t, text+"}\n")
	end := o.stream("smol")
	r := o.chat("smol", "", "")
	o.refused("no slot in time", r, http.StatusServiceUnavailable, "queue_timeout")
	if !strings.HasSuffix(end(), "data: [DONE]\n\n") {
		t.Error("the one that has the slot is cut off")
	}
	if said, _ := o.log.from(0); strings.Contains(said, "gravity") {
		t.Error("a prompt is in the log")
	}
	o.write(strings.Replace(text, "1ms", "0s", 1) + ", request_timeout: 300ms, log: {prompts: true}}\n")
	o.reload()
	long := `{"model": "smol", "prompt": "Once", "max_tokens": 2000, "ignore_eos": true}`
	o.refused("an answer that takes too long", o.ask(http.MethodPost, "/v1/completions", "", long), http.StatusGatewayTimeout, "deadline_exceeded")
	mark := o.log.mark()
	o.chat("tiny", "", "") // it has no template
	o.ask(http.MethodPost, "/v1/completions", "", `{"model": "tiny", "prompt": "gravity", "max_tokens": 1}`)
	o.log.wait(t, mark, "gravity")
}

func TestHealthWhileLoading(t *testing.T) {
	var door frontDoor
	for path, want := range map[string]int{"/health/live": http.StatusOK, "/health/ready": http.StatusServiceUnavailable, "/v1/models": http.StatusServiceUnavailable} {
		if got := knock(&door, path); got != want {
			t.Errorf("%s while loading: status %d, want %d", path, got, want)
		}
	}
}

// TestTiersShareBatches: eight tiers are computed in as many decodes as one, on one engine.
func TestTiersShareBatches(t *testing.T) {
	text := "models:\n  smol: {file: MODEL, slots: 8, context: 256, speculate: {mode: off}}\nvirtual_models:\n"
	for i := range 8 {
		text += fmt.Sprintf("  t%d: {base: smol, utility: {sigma: %g}}\n", i, 1+float64(i)/20)
	}
	o := offering(t, text)
	const answer = 16
	ask := func(tiers int) (decodes int) {
		before := o.decodes()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				body := fmt.Sprintf(`{"model": "t%d", "prompt": "Number %d is", "max_tokens": %d, "ignore_eos": true, "temperature": 0}`, i%tiers, i, answer)
				if r := o.ask(http.MethodPost, "/v1/completions", "", body); r.status != http.StatusOK {
					t.Errorf("%s", r.body)
				}
			})
		}
		all.Wait()
		return o.decodes() - before
	}
	ask(1) // prompts
	one, eight := ask(1), ask(8)
	t.Logf("8 answers of %d tokens take %d decodes of one tier, and %d of eight", answer, one, eight)
	if eight < answer || eight > 3*answer { // one by one they would be eight times as many; not all come at once
		t.Errorf("%d decodes of eight tiers, %d of one", eight, one)
	}
}

// decodes are those of the engine that there is.
func (o *offered) decodes() int {
	o.t.Helper()
	var n int
	_, rest, ok := strings.Cut(o.get("/metrics", "").body, "\naim_engine_decodes_total{")
	_, rest, _ = strings.Cut(rest, "} ")
	if _, err := fmt.Sscan(rest, &n); err != nil || !ok {
		o.t.Fatalf("decodes: %v", err)
	}
	return n
}
