package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aim/internal/account"
	"aim/llama"
	"aim/llama/llamatest"
)

// curved is a dial that is measured.
type curved struct{}

func (curved) Sigma(_ context.Context, level float64) (float64, error) { return 10 * (1 - level), nil }
func (curved) Level(sigma float64) (float64, bool)                     { return 1 - sigma/10, true }
func (curved) Curve() []CurvePoint                                     { return []CurvePoint{{1, 0.9}, {5, 0.5}} }

// TestDescribe: a model is described as the asker may use it, and what is imposed is told to its owner alone.
func TestDescribe(t *testing.T) {
	ring := &keyring{}
	ring.set("user", account.Grant{Models: []string{"m"}, MaxFocus: ptr(0.25)})
	ring.set("lower", account.Grant{LowerUtility: true})
	ring.set("admin", account.Grant{Admin: true, LowerUtility: true})
	s := start(t, options{server: Config{Keys: ring}, dial: curved{}})
	m := s.api.table.Load().entries[0].Model
	m.ID, m.Base, m.Sigma, m.Level = "m", "base", 5, 0.5
	m.Policy = Policy{
		Context: 100, MaxTokens: 9, Bounds: map[string]Bound{"temperature": {Max: ptr(1)}, "seed": {Never: true}},
		Defaults: map[string]json.RawMessage{"temperature": json.RawMessage("0.5")}, MaxFocus: ptr(0.5), NoSpans: true,
	}
	plain := s.api.table.Load().entries[0].Model
	if err := s.api.Serve(Serving{Models: []Model{m, plain}, Secret: []byte("of the tests")}); err != nil {
		t.Fatal(err)
	}
	of := func(key, id string) (d description) {
		t.Helper()
		return decode[description](t, s.as(t, key, "GET", "/v1/aim/models/"+id, "").ok(t).body)
	}
	for key, want := range map[string]struct {
		focus   float64
		allowed bool
		sigma   bool
		curve   int
	}{"user": {0.25, false, false, 0}, "lower": {0.5, true, false, 2}, "admin": {0.5, true, true, 2}} {
		d := of(key, "m")
		if d.Policy.MaxFocus != want.focus || d.Policy.Context != 100 || *d.Policy.MaxTokens != 9 || *d.Policy.Bounds["temperature"].Max != 1 ||
			d.Policy.Bounds["seed"].Allowed || d.Policy.Spans || d.Policy.Previews || d.Policy.Defaults["temperature"] != 0.5 {
			t.Errorf("%s: %+v", key, d.Policy)
		}
		if u := d.Utility; !u.Imposed || u.Allowed != want.allowed || (u.Sigma != nil) != want.sigma || (u.Level != nil) != want.sigma || len(d.Curve) != want.curve {
			t.Errorf("%s: %+v, %v", key, u, d.Curve)
		}
	}
	if d := of("lower", "fake"); d.Utility.Imposed || d.Utility.Level == nil || *d.Utility.Level != 1 || !d.Policy.Previews || d.Policy.MaxTokens != nil {
		t.Errorf("unmodulated: %+v", d)
	}
	s.as(t, "user", "GET", "/v1/aim/models/fake", "").is(t, "another's", 404, "model", "model_not_found")
}

// TestLive: what the engine does, and how long answers took, for administrators.
func TestLive(t *testing.T) {
	slow := func([]llama.Row) error { time.Sleep(time.Millisecond); return nil } // so that tokens come one by one
	s := start(t, options{decoder: llamatest.Options{Before: slow}})
	if v := decode[live](t, s.do(t, "GET", "/admin/live", "").ok(t).body); len(v.Engines) != 1 || v.Latency.First50 != nil || v.RequestsPerMinute != 0 {
		t.Errorf("at rest: %+v", v)
	}
	for range 3 {
		s.ask(t, "hello", `"stream": true`).ok(t)
	}
	eventually(t, "told", func() bool {
		v := decode[live](t, s.do(t, "GET", "/admin/live", "").ok(t).body)
		return v.RequestsPerMinute == 3 && v.Latency.First50 != nil && *v.Latency.First95 >= *v.Latency.First50 && v.Latency.Inter50 != nil &&
			v.Engines[0].Slots == 4 && v.Engines[0].Cells == 4*512 && v.Uptime > 0
	})
	ring := &keyring{}
	ring.set("user", account.Grant{})
	kept := start(t, options{server: Config{Keys: ring, Metrics: http.NotFoundHandler()}})
	for _, path := range []string{"/admin/live", "/admin/models", "/metrics"} {
		kept.as(t, "user", "GET", path, "").is(t, path, 403, "", "admin_required")
		kept.do(t, "GET", path, "").is(t, path, 401, "", "invalid_api_key")
	}
}

// bench is a Calibrator.
type bench struct {
	mu   sync.Mutex
	list []Calibration
}

func (b *bench) Calibrate(model string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) > 0 {
		return ErrCalibrating
	}
	b.list = append(b.list, Calibration{Model: model, State: "running", Began: time.Now()})
	return nil
}

func (b *bench) Calibrations() []Calibration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

func TestCalibrations(t *testing.T) {
	s := start(t, options{server: Config{Calibrator: &bench{}}})
	s.do(t, "POST", "/admin/calibrations", `{"model": "nobody"}`).is(t, "unknown", 404, "model", "model_not_found")
	s.do(t, "POST", "/admin/calibrations", `[]`).is(t, "malformed", 400, "", "invalid_body")
	if r := s.do(t, "POST", "/admin/calibrations", `{"model": "fake"}`); r.status != http.StatusAccepted {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.do(t, "POST", "/admin/calibrations", `{"model": "fake"}`).is(t, "twice", 503, "", "calibrating")
	if list := decode[calibrationList](t, s.do(t, "GET", "/admin/calibrations", "").ok(t).body); len(list.Data) != 1 || list.Data[0].State != "running" {
		t.Errorf("%+v", list)
	}
}

// desk is an Admin over a keyring.
type desk struct{ *keyring }

func (d desk) CreateKey(_ context.Context, name string, expires time.Time, g account.Grant) (account.Key, string, error) {
	d.set(name, g)
	return account.Key{ID: "id-" + name, Name: name, Expires: expires, Grant: g}, name, nil
}

func (d desk) Keys(context.Context) (list []account.Key, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.keys {
		list = append(list, k)
	}
	return list, nil
}

func (d desk) Revoke(_ context.Context, id string) (account.Key, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for secret, k := range d.keys {
		if k.ID == id {
			k.Revoked = time.Now()
			d.keys[secret] = k
			return k, nil
		}
	}
	return account.Key{}, account.ErrNoKey
}

func (d desk) Totals(_ context.Context, q account.Query) ([]account.Total, error) {
	if q.Key == "broken" {
		return nil, errors.New("broken")
	}
	return []account.Total{{Key: q.Key, Period: strings.Join(q.By, "+"), Requests: q.From.Unix()}}, nil
}

// TestAdmin: keys are made, used, listed and revoked over the API, by administrators.
func TestAdmin(t *testing.T) {
	ring := &keyring{}
	ring.set("root", account.Grant{Admin: true})
	s := start(t, options{server: Config{Keys: ring, Admin: desk{ring}}})
	post := func(body string) response { return s.as(t, "root", "POST", "/admin/keys", body) }
	for body, param := range map[string]string{
		`{"name": ""}`: "name", `{"name": "x", "expires": "2001-01-01T00:00:00Z"}`: "expires", `{"name": "x", "grant": {"priority": 1000}}`: "grant",
		`{"name": "x", "grant": {"models": ["gone-*"]}}`: "grant.models", `{"name": "x", "grant": {"max_focus": 2}}`: "grant",
	} {
		post(body).is(t, body, 400, param, codeValue)
	}
	post(`{"name": "x", "nonsense": 1}`).is(t, "unknown", 400, "", "invalid_body")
	r := post(`{"name": "new", "grant": {"models": ["fake"]}}`)
	made := decode[keyMade](t, r.body)
	if r.status != http.StatusCreated || made.Secret != "new" || made.ID != "id-new" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %+v", r.status, r.header, made)
	}
	s.as(t, "new", "POST", chatPath, chatBody("hello", "")).ok(t)
	s.as(t, "new", "GET", "/admin/keys", "").is(t, "a user", 403, "", "admin_required")
	if list := decode[keyList](t, s.as(t, "root", "GET", "/admin/keys", "").ok(t).body); len(list.Data) != 2 {
		t.Errorf("%+v", list)
	}
	s.as(t, "root", "DELETE", "/admin/keys/id-new", "").ok(t)
	s.as(t, "new", "POST", chatPath, chatBody("hello", "")).is(t, "revoked", 401, "", "invalid_api_key")
	s.as(t, "root", "DELETE", "/admin/keys/nobody", "").is(t, "unknown", 404, "", "key_not_found")

	got := decode[totalList](t, s.as(t, "root", "GET", "/admin/usage?key=k&by=key,day&from=1970-01-02", "").ok(t).body)
	if len(got.Data) != 1 || got.Data[0].Key != "k" || got.Data[0].Period != "key+day" || got.Data[0].Requests != 86400 {
		t.Errorf("%+v", got)
	}
	s.as(t, "root", "GET", "/admin/usage?by=hour", "").is(t, "by", 400, "by", codeValue)
	s.as(t, "root", "GET", "/admin/usage?to=tomorrow", "").is(t, "to", 400, "to", codeValue)
}
