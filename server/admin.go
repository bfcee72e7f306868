package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"aim/internal/account"
)

// Admin administers keys and knows what they used. What it is asked is checked before.
type Admin interface {
	// CreateKey makes a key, which is shown once.
	CreateKey(ctx context.Context, name string, expires time.Time, g account.Grant) (k account.Key, secret string, err error)
	// Keys lists all keys, Revoke ends one, by its ID or how its secret begins. It fails with [account.ErrNoKey].
	Keys(ctx context.Context) ([]account.Key, error)
	Revoke(ctx context.Context, id string) (account.Key, error)
	// Totals sums up what was used.
	Totals(ctx context.Context, q account.Query) ([]account.Total, error)
}

// keyRequest is the body of POST /admin/keys.
type keyRequest struct {
	Name    string        `json:"name"`
	Expires time.Time     `json:"expires"`
	Grant   account.Grant `json:"grant"`
}

// keyMade is its answer.
type keyMade struct {
	account.Key
	// Secret is shown here and nowhere else.
	Secret string `json:"secret"`
}

// keyList is the answer of GET /admin/keys.
type keyList struct {
	Object string        `json:"object"`
	Data   []account.Key `json:"data"`
}

// totalList is the answer of GET /admin/usage.
type totalList struct {
	Object string          `json:"object"`
	Data   []account.Total `json:"data"`
}

// tierList is the answer of GET /admin/models.
type tierList struct {
	Object string `json:"object"`
	Data   []tier `json:"data"`
}

// tier is a served model as its owner sees it.
type tier struct {
	ID     string `json:"id"`
	Base   string `json:"base,omitempty"`
	Loaded bool   `json:"loaded"`
	// Sigma is what is imposed, Level what it means, null where that is not known.
	Sigma  float64      `json:"sigma"`
	Level  *float64     `json:"level"`
	Engine *engineStats `json:"engine"`
}

// engineStats is what a tier's engine does; tiers of one engine have the same.
type engineStats struct {
	Slots  int `json:"slots"`
	Busy   int `json:"busy"`
	Queued int `json:"queued"`
}

// adminRoutes are the endpoints of administrators, of which a server has those that it was given the means for.
func (s *Server) adminRoutes() []route {
	accounts := func() bool { return s.admin != nil }
	measures := func() bool { return s.calibrator != nil }
	return []route{
		{method: http.MethodGet, path: "/admin/keys", handle: s.listKeys, when: accounts, doc: "Lists the API keys, without their secrets.", answer: keyList{}},
		{method: http.MethodPost, path: "/admin/keys", handle: s.createKey, when: accounts, doc: "Makes an API key of a name, expires and a grant, and shows its secret once.", answer: keyMade{}},
		{method: http.MethodDelete, path: "/admin/keys/:id", handle: s.revokeKey, when: accounts, doc: "Revokes an API key at once.", answer: account.Key{}},
		{
			method: http.MethodGet, path: "/admin/usage", handle: s.showUsage, when: accounts,
			doc: "Sums up usage: ?key=, ?model=, ?from= and ?to= (RFC 3339 or a date) select, ?by=key,model,day tells apart.", answer: totalList{},
		},
		{method: http.MethodGet, path: "/admin/models", handle: s.showTiers, doc: "Lists the served models with what is imposed on them.", answer: tierList{}},
		{method: http.MethodGet, path: "/admin/live", handle: s.showLive, doc: "Says what the engines do, and how long the last answers took.", answer: live{}},
		{method: http.MethodPost, path: "/admin/calibrations", handle: s.calibrate, when: measures, doc: "Begins to measure anew what levels of utility mean for a model.", answer: calibrationList{}},
		{method: http.MethodGet, path: "/admin/calibrations", handle: s.showCalibrations, when: measures, doc: "Lists measurements since the start.", answer: calibrationList{}},
		{method: http.MethodGet, path: "/metrics", handle: s.showMetrics, when: func() bool { return s.metrics != nil }, doc: "Gives figures for Prometheus."},
	}
}

func (s *Server) showMetrics(c *gin.Context) { s.metrics.ServeHTTP(c.Writer, c.Request) }

func (s *Server) listKeys(c *gin.Context) {
	keys, err := s.admin.Keys(c.Request.Context())
	if err != nil {
		s.fail(c, err)
		return
	}
	writeJSON(c, http.StatusOK, keyList{"list", append([]account.Key{}, keys...)})
}

func (s *Server) createKey(c *gin.Context) {
	var r keyRequest
	dec := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, 1<<16))
	dec.DisallowUnknownFields()
	err := dec.Decode(&r)
	if err != nil {
		err = invalid("", "invalid_body", "the body is no request for a key: %v", err)
	} else {
		err = r.check(recordOf(c).table)
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	key, secret, err := s.admin.CreateKey(c.Request.Context(), r.Name, r.Expires, r.Grant)
	if err != nil {
		s.fail(c, err)
		return
	}
	c.Header("Cache-Control", "no-store")
	writeJSON(c, http.StatusCreated, keyMade{key, secret})
}

// check refuses keys that cannot be meant.
func (r *keyRequest) check(t *table) error {
	if r.Name == "" || len(r.Name) > 200 {
		return invalid("name", codeValue, "name has %d bytes, must have 1 to 200", len(r.Name))
	}
	if !r.Expires.IsZero() && !r.Expires.After(time.Now()) {
		return invalid("expires", codeValue, "expires is %v, must be in the future", r.Expires.Format(time.RFC3339))
	}
	if err := r.Grant.Check(); err != nil {
		return invalid("grant", codeValue, "grant.%v", err)
	}
	for _, m := range r.Grant.Models {
		covers := func(e *entry) bool { ok, _ := path.Match(m, e.ID); return ok || m == e.ID }
		if !slices.ContainsFunc(t.entries, covers) {
			return invalid("grant.models", codeValue, "grant.models has %q, which is no served model and matches none", clip(m))
		}
	}
	return nil
}

func (s *Server) revokeKey(c *gin.Context) {
	key, err := s.admin.Revoke(c.Request.Context(), c.Param("id"))
	switch {
	case errors.Is(err, account.ErrAmbiguous):
		err = invalid("", "key_ambiguous", "%v", err)
	case errors.Is(err, account.ErrNoKey):
		err = notFound("", "key_not_found", "there is no API key %s", clip(c.Param("id")))
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	writeJSON(c, http.StatusOK, key)
}

func (s *Server) showUsage(c *gin.Context) {
	q, err := usageQuery(c)
	var totals []account.Total
	if err == nil {
		totals, err = s.admin.Totals(c.Request.Context(), q)
	}
	if err != nil {
		s.fail(c, err)
		return
	}
	writeJSON(c, http.StatusOK, totalList{"list", append([]account.Total{}, totals...)})
}

// usageQuery reads the parameters of GET /admin/usage.
func usageQuery(c *gin.Context) (q account.Query, err error) {
	q.Key, q.Model = c.Query("key"), c.Query("model")
	for name, at := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if *at, err = account.ParseTime(c.Query(name)); err != nil {
			return q, invalid(name, codeValue, "%s is %q, must be a date such as 2026-11-27 or a time as RFC 3339 has it", name, clip(c.Query(name)))
		}
	}
	if by := c.Query("by"); by != "" {
		q.By = strings.Split(by, ",")
	}
	for _, word := range q.By {
		if !slices.Contains(account.Groupings, word) {
			return q, invalid("by", codeValue, "by has %q, must be of %s", clip(word), join(account.Groupings))
		}
	}
	return q, nil
}

func (s *Server) showTiers(c *gin.Context) {
	list := tierList{"list", []tier{}}
	t := recordOf(c).table
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		one := tier{ID: e.ID, Base: e.Base, Sigma: e.Sigma}
		if e.now != nil {
			one.Loaded, one.Sigma, one.Level = true, e.now.Sigma, e.now.level(asked{}, e.now.Sigma)
			stats := e.now.Engine.Stats()
			one.Engine = &engineStats{stats.Slots, stats.Busy, stats.Queued}
		}
		list.Data = append(list.Data, one)
	}
	writeJSON(c, http.StatusOK, list)
}

// Tier is a served model with what is imposed on it, as far as it is loaded.
type Tier struct {
	Model, Base string
	// Sigma is in logits; Level in (0, 1] is what it means, 0 where that is not known.
	Sigma, Level float64
}

// Tiers lists the models that are loaded.
func (s *Server) Tiers() (list []Tier) {
	for _, m := range s.table.Load().loaded() {
		t := Tier{Model: m.ID, Base: m.base(), Sigma: m.Sigma}
		if level := m.level(asked{}, m.Sigma); level != nil {
			t.Level = *level
		}
		list = append(list, t)
	}
	return list
}
