package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/jsonschema/v6"
)

var update = flag.Bool("update", false, "write docs/aim.schema.json and the table of docs/configuration.md anew")

// parameters are some that requests have.
type parameters struct{}

func (p parameters) Names() []string { return append(p.Bounds(), "ignore_eos", "logit_bias") }

func (parameters) Bounds() []string {
	return []string{"temperature", "top_p", "n", "top_logprobs", "seed", "max_tokens"}
}

func (parameters) Check(name string, v any) error {
	x, number := Value{v}.Number()
	if name == "temperature" && (!number || x < 0 || x > 2) {
		return fmt.Errorf("want a number from 0 to 2, not %v", v)
	}
	return nil
}

var all = Options{Parameters: parameters{}}

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("aim.yaml", []byte(text), all)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestExample holds the example to the types: all settings are in it, and its comments tell the defaults.
func TestExample(t *testing.T) {
	c, err := Parse("aim.example.yaml", Example, all)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(Example), "\n")
	defaults := map[string]value{}
	d := Single("smollm2", "")
	d.Models["smollm2"].AdapterSets = map[string]*Adapters{"poet": {LoRA: []AdapterFile{{Scale: 1}}}}
	d.VirtualModels = map[string]*VirtualModel{"smollm2-standard": NewVirtualModel(""), "smollm2-lite": NewVirtualModel("")}
	for _, x := range d.values() {
		defaults[x.path] = x
	}
	for _, x := range c.values() {
		o := c.Origin(x.path)
		if o.From != FromFile {
			continue
		}
		line := lines[o.Line-1]
		def, ok := defaults[x.path]
		switch _, told, marked := strings.Cut(line, "default"); {
		case strings.Contains(x.path, ".bounds.") && x.field.Name != "Allowed": // none
		case !ok && !strings.Contains(x.path, ".bounds."):
			t.Errorf("line %d: %s has no default to compare with", o.Line, x.path)
		case !ok: // Bound.Allowed
			if !strings.Contains(told, "true") {
				t.Errorf("line %d: does not say that the default of %s is true", o.Line, x.path)
			}
		case x.v.Kind() == reflect.Map, equal(x.v, def.v) && !marked:
		case equal(x.v, def.v):
			t.Errorf("line %d: %s is its default, %q, and says otherwise", o.Line, x.path, text(def.v))
		case !marked:
			t.Errorf("line %d: %s is %q where the default is %q, and does not say so", o.Line, x.path, text(x.v), text(def.v))
		case strings.HasPrefix(line[strings.Index(line, "#"):], "# no default"), strings.Contains(line, "no default"), strings.Contains(told, "none"), strings.Contains(told, "empty"):
		case !strings.Contains(told, text(def.v)):
			t.Errorf("line %d: the default of %s is %q, the comment says%s", o.Line, x.path, text(def.v), told)
		}
	}
	// Some types stand in several places: one of them is enough.
	seen := map[string]bool{}
	for _, s := range settings() {
		for path := range c.origins {
			seen[s.in.Name()+"."+s.key] = seen[s.in.Name()+"."+s.key] || generic(path) == s.path
		}
	}
	for _, s := range settings() {
		if s.leaf() && s.field.Type.Kind() != reflect.Map && !seen[s.in.Name()+"."+s.key] && s.in.Name()+"."+s.key != "Utility.sigma" { // not beside level
			t.Errorf("%s is not in the example", s.path)
		}
	}
}

var (
	modelNames = regexp.MustCompile(`^(models|virtual_models)\.[^.]+`)
	innerNames = regexp.MustCompile(`\.(adapter_sets|bounds)\.[^.]+`)
	indices    = regexp.MustCompile(`\[\d+\]`)
)

// generic is a path as the types have it.
func generic(path string) string {
	path = modelNames.ReplaceAllString(path, "$1.NAME")
	return indices.ReplaceAllString(innerNames.ReplaceAllString(path, ".$1.NAME"), "[]")
}

// TestSettings holds the types to themselves: each setting has a description, and a default within its domain.
func TestSettings(t *testing.T) {
	for _, s := range settings() {
		if s.doc() == "" {
			t.Errorf("%s has no description", s.path)
		}
		v := reflect.New(s.field.Type).Elem()
		if s.leaf() && s.def() != "" {
			if problem := setText(v, s.def()); problem != "" {
				t.Errorf("%s: its default: %s", s.path, problem)
			}
		}
		if s.leaf() && s.field.Tag.Get("check") != "required" && v.Kind() != reflect.Map {
			if problem := outside(s.field, v); problem != "" {
				t.Errorf("%s: its default: %s", s.path, problem)
			}
		}
	}
}

// TestErrors has one file with everything wrong, and wants all of it told, each in its place.
func TestErrors(t *testing.T) {
	file := `version: 1
server:
  addrss: 127.0.0.1:80
  keep_alive: 15
  max_body: lots
  log: {level: infos, prompts: "no"}
  tls: {certificate: a.pem}
  cors: {origins: [chat.example.com]}
  trusted_proxies: [10.0.0.0/40]
  level: debug
accounts:
  database: aim.db
  database_file: dsn
models:
  smollm2:
    file: a.gguf
    slots: 1000
    context: four
    context: 4096
    gpu: {layers: some}
    compute: {ubatch: 1024}
  bare:
  "two words": {file: b.gguf}
virtual_models:
  lite:
    base: smolm2
    utility: {level: 0.7, sigma: 1.2}
    level: 0.7
  other:
    base: lite
  smollm2:
    base: smollm2
    adapters: poet
    context: 8192
    description: 3
    defaults: {temperature: 3, temprature: 1}
    bounds: {n: {min: 3, max: 1}, top_p: [1], ignore_eos: {allowed: false}, temperature: {max: 3}}
`
	_, err := Parse("aim.yaml", []byte(file), all)
	var list Errors
	if !errors.As(err, &list) {
		t.Fatal(err)
	}
	want := []string{
		`aim.yaml:3:3: server.addrss: there is no such setting; did you mean address?`,
		`aim.yaml:4:15: server.keep_alive: want a duration such as 500ms, 30s or 10m, not "15"`,
		`aim.yaml:5:13: server.max_body: want a size such as 64KiB, 4MiB or 8GiB, not "lots"`,
		`aim.yaml:6:16: server.log.level: "infos" is none of debug, info, warn, error; did you mean info?`,
		`aim.yaml:6:32: server.log.prompts: want true or false, not the text "no"; leave the quotes out`,
		`aim.yaml:7:22: server.tls.certificate: there is no key beside it; give server.tls.key, or leave both out for HTTP`,
		`aim.yaml:8:20: server.cors.origins[0]: "chat.example.com" is not an origin without a path, such as https://chat.example.com, or "*"`,
		`aim.yaml:9:21: server.trusted_proxies[0]: "10.0.0.0/40" is not an address or a network, such as 10.0.0.1 or 10.0.0.0/8`,
		`aim.yaml:10:3: server.level: there is no such setting; it belongs to server.log.level or virtual_models.NAME.utility.level`,
		`aim.yaml:13:18: accounts.database_file: stands beside accounts.database; remove one of them`,
		`aim.yaml:17:12: models.smollm2.slots: 1000 is out of range; want 1 to 256`,
		`aim.yaml:18:14: models.smollm2.context: want a whole number, not "four"`,
		`aim.yaml:19:5: models.smollm2.context: stands in line 18 already; remove one of them`,
		`aim.yaml:20:19: models.smollm2.gpu.layers: want auto, all, or a whole number from 0 to 32767, not "some"`,
		`aim.yaml:21:23: models.smollm2.compute.ubatch: 1024 is more than batch: 512`,
		`aim.yaml:22:3: models.bare.file: is missing`,
		`aim.yaml:23:3: models.two words: the name "two words" has ' '; want letters, digits and -_.:@+/`,
		`aim.yaml:26:11: virtual_models.lite.base: there is no base model "smolm2"; did you mean smollm2?`,
		`aim.yaml:27:34: virtual_models.lite.utility.sigma: stands beside level, and both set the same; remove one of them`,
		`aim.yaml:28:5: virtual_models.lite.level: there is no such setting; it belongs to server.log.level or virtual_models.NAME.utility.level`,
		`aim.yaml:30:11: virtual_models.other.base: there is no base model "lite"; that is a virtual model; models has bare, smollm2`,
		`aim.yaml:33:15: virtual_models.smollm2.adapters: models.smollm2 has no set of adapters named "poet"; its adapter_sets are none`,
		`aim.yaml:35:18: virtual_models.smollm2.description: want text, and 3 is read as integer; write "3"`,
		`aim.yaml:36:29: virtual_models.smollm2.defaults.temperature: want a number from 0 to 2, not 3`,
		`aim.yaml:36:44: virtual_models.smollm2.defaults.temprature: requests have no sampling parameter of this name that can have a default; did you mean temperature?`,
		`aim.yaml:37:23: virtual_models.smollm2.bounds.n.min: 3 is above max: 1`,
		`aim.yaml:37:42: virtual_models.smollm2.bounds.top_p: want settings, as name: value, each on a line of its own`,
		`aim.yaml:37:47: virtual_models.smollm2.bounds.ignore_eos: requests have no sampling parameter of this name that can have bounds; there are temperature, top_p, n, top_logprobs, seed, max_tokens`,
		`aim.yaml:37:96: virtual_models.smollm2.bounds.temperature.max: want a number from 0 to 2, not 3`,
	}
	got := strings.Split(err.Error(), "\n")
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("more: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

// TestWhole has what is wrong with a file as a whole.
func TestWhole(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "aim.yaml:1:1: version: is missing; add version: 1 as the first line",
		"# nothing\n":                      "aim.yaml:1:1: version: is missing; add version: 1 as the first line",
		"server: {}":                       "aim.yaml:1:1: version: is missing; add version: 1 as the first line",
		"hello":                            "aim.yaml:1:1: version: the file has no settings at its top; begin with version: 1",
		"version: 2":                       "aim.yaml:1:10: version: 2 is newer than 1, which this program reads; take a newer aim",
		"version: one":                     "aim.yaml:1:10: version: want a whole number; write version: 1",
		"version: 1\n\ta: b":               "aim.yaml:2:1: a tab stands where spaces must; indent with spaces",
		"version: 1\n---\na: 1":            "aim.yaml:3:1: the file has a second document; remove the --- before it",
		"version: 1\nserver: [":            "aim.yaml:2:9: sequence end token ']' not found",
		"version: 1\nserver: *none":        "aim.yaml:2:9: server: there is no anchor &none",
		"version: 1\nserver: &a {log: *a}": "aim.yaml:2:1: server.log",
		"version: 1\nmemory: !!int 3":      "aim.yaml:2:9: memory: tags such as !!int are not read here; leave it out",
	} {
		_, err := Parse("aim.yaml", []byte(text), all)
		if err == nil || !strings.HasPrefix(err.Error(), want) && want != "aim.yaml:2:1: server.log" {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestBombs has files that stand for much more than they hold.
func TestBombs(t *testing.T) {
	bomb := "version: 1\nvirtual_models:\n  a: {base: b, defaults: {x: &l0 [1,1,1,1,1,1,1,1]}}\n"
	for i := 1; i < 12; i++ {
		refs := strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d,", i-1), 8), ",")
		bomb += fmt.Sprintf("  a%d: {base: b, defaults: {x: &l%d [%s]}}\n", i, i, refs)
	}
	for name, text := range map[string]string{
		"aliases":  bomb,
		"brackets": "version: 1\na: " + strings.Repeat("[", 10_000),
		"dashes":   "version: 1\n" + strings.Repeat("- ", 4_000),
		"large":    "version: 1\n" + strings.Repeat("#", maxFile),
		"lines":    "version: 1\n" + strings.Repeat("a: 1\n", 20_000),
	} {
		began := time.Now()
		if _, err := Parse("aim.yaml", []byte(text), Options{}); err == nil {
			t.Errorf("%s were read", name)
		} else if len(err.Error()) > 1<<16 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
		t.Logf("%s: %v", name, time.Since(began))
	}
}

// TestAnchors has settings that virtual models share.
func TestAnchors(t *testing.T) {
	c := parsed(t, `version: 1
models: {m: {file: m.gguf}}
virtual_models:
  a: &tier
    base: m
    utility: {level: 0.9}
    focus: &focus {max_strength: 0.5}
  b:
    <<: *tier
    utility: {sigma: 2}
  c: {base: m, focus: *focus}
`)
	if v := c.VirtualModels["b"]; v.Base != "m" || v.Utility.Sigma != 2 || v.Utility.Level != 0 || v.Focus.MaxStrength != 0.5 {
		t.Errorf("b is %+v", v)
	}
	if v := c.VirtualModels["c"]; v.Focus.MaxStrength != 0.5 || !v.Focus.Spans {
		t.Errorf("c is %+v", v)
	}
}

// TestValues has the values that settings take.
func TestValues(t *testing.T) {
	c := parsed(t, `version: 1
server: {address: ":0", keep_alive: -1s, max_body: 1.5MiB, cors: {origins: ["*"]}, trusted_proxies: [10.1.2.3/8, "::1"], hosts: }
memory: 2GiB
models:
  m: {file: m.gguf, listed: true, cache: {ram: 512MiB}, gpu: {layers: all, shares: [3, 1]}, compute: {numa: off, flash_attention: on}}
virtual_models:
  v:
    base: m
    show: {logprobs: off, reports: true}
    defaults: {temperature: 1, top_p: 0.5, logit_bias: {a: [1, x, null]}, max_tokens: 5}
    bounds: {temperature: {max: 1.5}}
`)
	s := c.Server
	if s.Address != ":0" || s.KeepAlive != -time.Second || s.MaxBody != 3<<19 || s.Playground != true || fmt.Sprint(s.Proxies()) != "[10.0.0.0/8 ::1/128]" {
		t.Errorf("the server is %+v", s)
	}
	m := c.Models["m"]
	if m.Slots != 4 || m.Cache.RAM != 512<<20 || m.GPU.Layers != LayersAll || !reflect.DeepEqual(m.GPU.Shares, []float64{3, 1}) || m.Compute.NUMA != "off" || m.Compute.FlashAttention != "on" {
		t.Errorf("the model is %+v", m)
	}
	v := c.VirtualModels["v"]
	if v.Show.Logprobs != Off || v.Show.Reports != On || v.Show.Previews != Auto || v.Defaults["temperature"].Any != int64(1) || v.Defaults["top_p"].Any != 0.5 ||
		!reflect.DeepEqual(v.Defaults["logit_bias"].Any, map[string]any{"a": []any{int64(1), "x", nil}}) {
		t.Errorf("the virtual model is %+v", v)
	}
	if b := v.Bounds["temperature"]; b.Min != nil || *b.Max != 1.5 || !b.Allowed {
		t.Errorf("the bound is %+v", b)
	}
}

// TestPrecedence has a flag over the environment over the file over the default.
func TestPrecedence(t *testing.T) {
	o := all
	o.Environ = []string{"AIM_SERVER_ADDRESS=:2", "AIM_SERVER_DRAIN_TIMEOUT=2s", "AIM_SERVER_CORS_ORIGINS=https://a.example, https://b.example", "AIM_SERVER_ADDRSS=:9", "AIM_MODELS=/m", "AIM_SERVER_MAX_BODY="}
	c, err := Parse("aim.yaml", []byte("version: 1\nserver: {address: \":1\", drain_timeout: 1s, max_body: 1MiB}\nmodels: {m: {file: m.gguf}}\nvirtual_models: {v: {base: m}}"), o)
	if err != nil {
		t.Fatal(err)
	}
	for flag, text := range map[string]string{"addr": ":3", "ctx": "100", "no-prefix-cache": "true", "cache-ram": "5", "allow-reports": "true", "level": "0.5", "embeddings": "off"} {
		if err := c.SetFlag(flag, text); err != nil {
			t.Error(err)
		}
	}
	for path, want := range map[string]string{
		"server.address": ":3 --addr", "server.drain_timeout": "2s AIM_SERVER_DRAIN_TIMEOUT", "server.max_body": "1MiB aim.yaml:2",
		"server.keep_alive": "15s default", "server.cors.origins": "https://a.example,https://b.example AIM_SERVER_CORS_ORIGINS",
		"models.m.context": "100 --ctx", "models.m.cache.prefixes": "false --no-prefix-cache", "models.m.cache.ram": "5MiB --cache-ram",
		"virtual_models.v.show.reports": "true --allow-reports", "virtual_models.v.show.previews": "true --allow-reports",
		"virtual_models.v.utility.level": "0.5 --level", "virtual_models.v.show.embeddings": "false --embeddings",
	} {
		for _, x := range c.values() {
			if got := text(x.v) + " " + c.Origin(path).String(); x.path == path && got != want {
				t.Errorf("%s is %s, want %s", path, got, want)
			}
		}
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "did you mean AIM_SERVER_ADDRESS?") {
		t.Errorf("warnings %q", c.Warnings)
	}
	for flag, want := range map[string]string{"slots": "want a whole number", "sigma": "out of range", "nope": "no setting", "lora": "cannot be given beside a file"} {
		if err := c.SetFlag(flag, map[string]string{"sigma": "-1"}[flag]); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--"+flag) {
			t.Errorf("--%s: %v", flag, err)
		}
	}
	c.Models["n"] = NewModel("n.gguf")
	if err := c.SetFlag("slots", "3"); err == nil || !strings.Contains(err.Error(), "models has m, n") {
		t.Error(err)
	}
	o.Environ = []string{"AIM_SERVER_ADDRESS=nowhere", "AIM_MEMORY=much"}
	if _, err := FromEnviron(o); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Error(err)
	}
}

// TestSingle has what aim serve makes of flags alone.
func TestSingle(t *testing.T) {
	c := Single("m", "m.gguf")
	for flag, text := range map[string]string{"sigma": "1.5", "slots": "2", "addr": "127.0.0.1:0"} {
		if err := c.SetFlag(flag, text); err != nil {
			t.Error(err)
		}
	}
	if err := c.Check(all); err != nil {
		t.Error(err)
	}
	if c.Listed("m") || c.VirtualModels["m"].Utility.Sigma != 1.5 || c.Models["m"].Slots != 2 {
		t.Errorf("%+v", c)
	}
	_ = c.SetFlag("batch", "1")
	if err := c.Check(all); err == nil || !strings.HasPrefix(err.Error(), "--batch: models.m.compute.batch: 1 is less than slots: 2") {
		t.Error(err)
	}
}

const dsn = "postgres://aim:hunter2@db/aim?sslmode=require&sslpassword=hunter2"

// TestSecrets holds that no way of printing shows a password.
func TestSecrets(t *testing.T) {
	c := parsed(t, "version: 1\naccounts: {database: '"+dsn+"', redis: 'redis://:hunter2@r/0'}")
	var printed strings.Builder
	if err := c.Print(&printed); err != nil {
		t.Fatal(err)
	}
	asJSON, _ := json.Marshal(c)
	_, bad := Parse("aim.yaml", []byte("version: 1\naccounts: {redis: 'http://:hunter2@r/0', require_keys: sometimes}"), all)
	_, env := FromEnviron(Options{Environ: []string{"AIM_ACCOUNTS_REDIS=http://:hunter2@r"}})
	other := Default()
	for _, text := range []string{
		printed.String(), string(asJSON), fmt.Sprintf("%v %+v %#v %s %q", c.Accounts, c.Accounts, c.Accounts, c.Accounts.Database, c.Accounts.Database), fmt.Sprint(bad), fmt.Sprint(env),
		fmt.Sprint(Diff(other, c)), DSN("host=db password = hunter2 user=aim").String(), DSN("host=db password='hunter2 x'").String(), DSN("http://a:hunter2@%zz").String(),
	} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("shows a password: %s", text)
		}
	}
	if c.Accounts.Database.Reveal() != dsn {
		t.Error("the database lost its password")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "dsn")
	c.Accounts = Accounts{DatabaseFile: file}
	if _, err := c.Accounts.DatabaseDSN(); err == nil {
		t.Error("read a file that is not there")
	}
	if err := os.WriteFile(file, []byte(dsn+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := c.Accounts.DatabaseDSN(); err != nil || d.Reveal() != dsn {
		t.Errorf("%v %v", d, err)
	}
}

// TestPrint holds that what is printed is read back as the same, with where it came from.
func TestPrint(t *testing.T) {
	c, err := Parse("aim.example.yaml", Example, all)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	again, err := Parse("printed.yaml", []byte(b.String()), all)
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if changes := Diff(c, again); len(changes) > 0 {
		t.Errorf("%+v", changes)
	}
	for _, line := range []string{"  address: \"127.0.0.1:8080\"", "# aim.example.yaml:11", "    smollm2-standard", "# default"} {
		if !strings.Contains(b.String(), strings.TrimSpace(line)) {
			t.Errorf("has no %q:\n%s", line, b.String())
		}
	}
}

// TestPaths holds that relative paths begin at the file.
func TestPaths(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "aim.yaml")
	text := "version: 1\naccounts: {database: a.db}\nserver: {tls: {certificate: c.pem, key: /etc/k.pem}}\nmodels: {m: {file: name}, n: {file: sub/n.gguf}, h: {file: 'hf:a/b/c.gguf'}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, all)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(c.Accounts.Database, c.Server.TLS, c.Models["m"].File, c.Models["n"].File, c.Models["h"].File, c.StateDir)
	if want := fmt.Sprint(dir+"/a.db", TLS{dir + "/c.pem", "/etc/k.pem"}, "name", dir+"/sub/n.gguf", "hf:a/b/c.gguf", ""); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestDiff tells what a reload can put in force.
func TestDiff(t *testing.T) {
	base := "version: 1\nmodels: {m: {file: m.gguf, slots: 2}}\nvirtual_models: {v: {base: m, defaults: {temperature: 1}}}\nserver: {address: ':1'}\n"
	next := "version: 1\nmodels: {m: {file: m.gguf, slots: 3}}\nvirtual_models: {w: {base: m}, v: {base: m, utility: {level: 0.5}, defaults: {temperature: 0.5}}}\nserver: {address: ':2', log: {level: debug}, tls: {certificate: c, key: k}}\n"
	restart := map[string]bool{}
	for _, c := range Diff(parsed(t, base), parsed(t, next)) {
		restart[c.Path+" "+c.Old+">"+c.New] = c.Restart
	}
	for path, want := range map[string]bool{
		"models.m.slots 2>3": true, "server.address :1>:2": true, "server.log.level info>debug": false, "virtual_models.v.utility.level 0>0.5": false,
		"virtual_models.v.defaults.temperature 1>0.5": false, "virtual_models.w.base >m": false, "server.tls.key >k": true,
	} {
		if got, ok := restart[path]; !ok || got != want {
			t.Errorf("%s: got %v %v, want %v of %v", path, got, ok, want, restart)
		}
	}
	if list := Diff(parsed(t, base), parsed(t, base)); len(list) > 0 {
		t.Errorf("the same differs: %v", list)
	}
}

// TestUpgrade brings an old file to the form of today, and keeps its comments.
func TestUpgrade(t *testing.T) {
	old := `# tiers
version: 0 # old
models: {m: {file: m.gguf}}
virtual_models:
  lite:
    # the cheap one
    base: m
    level: 0.7 # by its effect
    context: 100
    noise_end: kept
  plain: {base: m}
  flow: {base: m, sigma: 1.5, context: 200, noise_window: 3} # short
  last:
    base: m
    sigma: 2`
	want := `# tiers
version: 1 # old
models: {m: {file: m.gguf}}
virtual_models:
  lite:
    # the cheap one
    base: m
    utility:
      level: 0.7 # by its effect
      noise_end: kept
    context: 100
  plain: {base: m}
  flow: {base: m, utility: {sigma: 1.5, noise_window: 3}, context: 200} # short
  last:
    base: m
    utility:
      sigma: 2`
	got, notes, err := Upgrade("aim.yaml", []byte(old))
	if err != nil || string(got) != want || len(notes) != 1 {
		t.Fatalf("%v %v\n%s", err, notes, got)
	}
	c := parsed(t, old)
	if c.VirtualModels["lite"].Utility.Level != 0.7 || len(c.Warnings) != 2 {
		t.Errorf("%+v %q", c.VirtualModels["lite"], c.Warnings)
	}
	if again, notes, err := Upgrade("aim.yaml", got); err != nil || string(again) != want || len(notes) != 0 {
		t.Errorf("a second upgrade: %v %v", err, notes)
	}
	if _, _, err := Upgrade("aim.yaml", []byte("version: 9")); err == nil {
		t.Error("took a newer file")
	}
}

// TestSchema holds docs/aim.schema.json to the types, and the example to it.
func TestSchema(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "aim.schema.json")
	if *update {
		if err := os.WriteFile(path, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(path); err != nil || string(kept) != string(Schema()) {
		t.Errorf("%s is not of today (%v): run go test ./internal/config -run TestSchema -update", path, err)
	}
	compiler := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(Schema())))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiler.AddResource("aim.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("aim.json")
	if err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{
		string(Example): true, "version: 1": true, "version: 2": false, "server: {}": false, "version: 1\nserver: {addrss: a}": false, "version: 1\nmodels: {a: {slots: 2}}": false,
		"version: 1\nserver: {log: {level: loud}}": false, "version: 1\nmodels: {a: {file: b, slots: 999}}": false, "version: 1\nserver: {keep_alive: -1s, max_body: 3}": true,
		"version: 1\nserver: {keep_alive: soon}": false,
	} {
		if err := s.Validate(plain(t, text)); (err == nil) != ok {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}
