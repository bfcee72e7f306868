package server

import (
	"context"
	"fmt"
	"sync"

	"aim/internal/account"
	"aim/llama"
)

// table is what is served at a time. A request keeps the one that it met, so that a reload disturbs nobody.
type table struct {
	// mu guards entry.now of models that come and go.
	mu      sync.Mutex
	entries []*entry
	Serving
}

// entry is a model of the table.
type entry struct {
	Model
	*compiled
	now *served // as it was loaded last, nil where it is not
}

// Serve replaces what is served. Requests that run go on with what they met. It fails where a model's policy cannot be, and then changes nothing.
func (s *Server) Serve(what Serving) error {
	t := &table{Serving: what}
	used := map[*llama.Engine]bool{}
	for _, m := range what.Models {
		c, err := m.Policy.compile()
		if err != nil {
			return fmt.Errorf("%s: %w", m.ID, err)
		}
		e := &entry{Model: m, compiled: c}
		if m.Engine != nil {
			used[m.Engine] = true
			e.now = s.derive(m, c, what.Secret)
		}
		t.entries = append(t.entries, e)
	}
	if old := s.table.Swap(t); old != nil {
		s.engines.keep(used)
	}
	return nil
}

// First is the name of the model that requests get which name none, and says whether it talks, so far as that is known.
func (s *Server) First() (name string, talks bool) {
	t := s.table.Load()
	if len(t.entries) == 0 {
		return "", false
	}
	e := t.entries[0]
	return e.ID, e.Template != nil || e.Engine == nil
}

// find finds a model that a request may use, by its name. Whether there is none, or it is not the asker's to use, is the same to those who ask.
func (r *record) find(id string) (*entry, error) {
	for _, e := range r.table.entries {
		if e.ID == id && r.grant.Allows(id) {
			return e, nil
		}
	}
	return nil, notFound("model", "model_not_found", "the model %q does not exist, or the API key may not use it", clip(id))
}

// acquire finds the model that a request names, or the first one that it may use, and loads it where needed. It is kept until the request is over.
func (s *Server) acquire(r *record, id string) (*served, error) {
	if id == "" {
		for _, e := range r.table.entries {
			if r.grant.Allows(e.ID) {
				id = e.ID
				break
			}
		}
	}
	e, err := r.find(id)
	if err != nil {
		return nil, err
	}
	r.model = e.ID
	return s.load(r.ctx, e, r)
}

func (s *Server) load(ctx context.Context, e *entry, r *record) (*served, error) {
	if e.Load == nil {
		return e.now, nil
	}
	m, release, err := e.Load(ctx)
	if err != nil {
		return nil, err
	}
	r.releases = append(r.releases, release)
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	if e.now == nil || e.now.Engine != m.Engine {
		e.now = s.derive(m, e.compiled, r.table.Secret)
		if r.table == s.table.Load() { // what an older one knows is not all
			s.engines.keep(r.table.engines())
		}
	}
	return e.now, nil
}

// Unloaded says that an engine is there no more: models on it count as not loaded, and what was kept for it is let go.
func (s *Server) Unloaded(e *llama.Engine) {
	t := s.table.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.entries {
		if one.Load != nil && one.now != nil && one.now.Engine == e {
			one.now = nil
		}
	}
	s.engines.keep(t.engines())
}

// loaded are the models as they were loaded last.
func (t *table) loaded() (list []*served) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		if e.now != nil {
			list = append(list, e.now)
		}
	}
	return list
}

// engines are those that something was last served on. Its caller holds mu.
func (t *table) engines() map[*llama.Engine]bool {
	used := map[*llama.Engine]bool{}
	for _, e := range t.entries {
		if e.now != nil {
			used[e.now.Engine] = true
		}
	}
	return used
}

// owner is what those may do who are the server's owner: where there are no keys, all who can reach it.
var owner = account.Grant{Admin: true, LowerUtility: true}
