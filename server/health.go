package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"aim/llama"
)

// health is the answer of /health and what is below it.
type health struct {
	Status string `json:"status"`
}

// health answers without asking an engine, which may be at work on a long prompt.
func (s *Server) health(c *gin.Context) {
	if s.draining.Load() {
		writeJSON(c, http.StatusServiceUnavailable, health{"draining"})
		return
	}
	writeJSON(c, http.StatusOK, health{"ok"})
}

// live serves GET /health/live. Who cannot answer it should be started anew.
func (s *Server) live(c *gin.Context) { writeJSON(c, http.StatusOK, health{"ok"}) }

// ready serves GET /health/ready. Who does not answer it well should get no requests for now.
func (s *Server) ready(c *gin.Context) {
	status := "ok"
	if s.draining.Load() {
		status = "draining"
	}
	for range s.stalled(time.Now()) {
		status = "stuck"
	}
	if status != "ok" {
		writeJSON(c, http.StatusServiceUnavailable, health{status})
		return
	}
	writeJSON(c, http.StatusOK, health{status})
}

// stalled are the engines whose decode has taken longer than it may, with the first model of each.
func (s *Server) stalled(now time.Time) map[*llama.Engine]string {
	var list map[*llama.Engine]string // nothing, as a rule
	for _, m := range s.table.Load().loaded() {
		if m.Engine.Stalled(now) <= s.stuck || list[m.Engine] != "" {
			continue
		}
		if list == nil {
			list = map[*llama.Engine]string{}
		}
		list[m.Engine] = m.ID
	}
	return list
}

// Watch logs when a decode takes longer than [Config.Stuck], and when it ended after all, until ctx is done. Each time that one does, stuck is
// called with a model of its engine, once; nil is none. A decode cannot be stopped from outside: what helps is to end the process.
func (s *Server) Watch(ctx context.Context, stuck func(model string, took time.Duration)) {
	tick := time.NewTicker(max(s.stuck/10, time.Millisecond))
	defer tick.Stop()
	known := map[*llama.Engine]string{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		list := s.stalled(now)
		for e, model := range list {
			if known[e] != "" {
				continue
			}
			known[e] = model
			took := e.Stalled(now)
			s.log.Error("a decode does not end", slog.String("model", model), slog.Duration("for", took))
			if stuck != nil {
				stuck(model, took)
			}
		}
		for e, model := range known {
			if list[e] == "" {
				delete(known, e)
				s.log.Warn("the decode has ended after all", slog.String("model", model))
			}
		}
	}
}
