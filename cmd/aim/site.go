package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"aim/internal/config"
	"aim/internal/edge"
	"aim/internal/metrics"
	"aim/internal/state"
	"aim/internal/tracing"
	"aim/server"
	"aim/web"
)

// site is a server that runs: what stands between the network and the models, and the models.
type site struct {
	options  serveOptions
	stderr   io.Writer
	log      *slog.Logger
	level    *slog.LevelVar
	accounts *accounts
	door     *frontDoor
	edge     *edge.Edge
	tls      *edge.Certificate // nil without
	failed   chan error
	metrics  *metrics.Metrics
	tracer   *tracing.Tracer
	ends     []func()

	// mu is held while what is served changes.
	mu      sync.Mutex
	setting *setting
	house   *house
	api     *server.Server
	// first is the name that the greeting tells, and talks says that it has a chat template.
	first string
	talks bool
}

// open begins to answer, first that the models are loading.
func (s *site) open(c *config.Config, listener net.Listener) (*http.Server, error) {
	var inside http.Handler = s.door
	if c.Server.Playground {
		inside = web.Over(s.door) // the page is there while the model loads, and says so
	}
	front := edge.NewServer(s.edge.Handler(inside), edge.Limits{MaxHeader: int(c.Server.MaxHeader)}, s.log)
	capped := edge.Cap(listener, edge.Caps{
		Total: c.Server.MaxConnections, PerAddress: c.Server.MaxConnectionsPerAddress, Exempt: s.edge.Proxy,
	}, s.log)
	s.failed = make(chan error, 2) // a send for each server, so that the goroutines end though nobody may listen any more
	if c.Server.TLS.Certificate == "" {
		go func() { s.failed <- front.Serve(capped) }()
		return front, nil
	}
	certificate, err := edge.LoadCertificate(c.Server.TLS.Certificate, c.Server.TLS.Key, s.log)
	if err != nil {
		return nil, fmt.Errorf("server.tls: %w", err)
	}
	s.tls, front.TLSConfig = certificate, certificate.Config()
	go func() { s.failed <- front.ServeTLS(capped, "", "") }()
	return front, nil
}

// load loads what is loaded at the start, and serves it.
func (s *site) load(ctx context.Context, set *setting) (err error) {
	s.setting = set
	if s.house, err = newHouse(ctx, set, s.log, s.stderr); err != nil {
		return err
	}
	serving, err := s.serving(ctx)
	if err != nil {
		return err
	}
	if s.tracer, err = tracing.Setup(ctx, version(), s.log); err != nil {
		return err
	}
	s.metrics = metrics.New(metrics.Options{Version: version(), Engines: s.house.engines, Tiers: s.tiers, Shared: s.accounts.shared})
	cfg := server.Config{
		Serving: serving, Build: "aim " + version(), Log: s.log, MaxBody: int64(set.Server.MaxBody), KeepAlive: set.Server.KeepAlive,
		Keys: s.accounts, Limits: s.accounts.limits, Ledger: s.accounts.ledger, Admin: s.accounts.ledger,
		Stuck: set.Server.StuckTimeout, SharePrefixes: set.Accounts.SharePrefixes, ClientAddr: edge.ClientAddr, Observers: []server.Observer{s.metrics},
	}
	cfg.Calibrator = &calibrations{ctx: s.house.ctx, house: s.house, log: s.log, refresh: func() error { return s.refresh(ctx) }}
	if s.tracer != nil {
		cfg.Observers = append(cfg.Observers, s.tracer)
	}
	if set.Server.MetricsAddress == "" {
		cfg.Metrics = s.metrics.Handler()
	} else if err := s.serveMetrics(ctx, set.Server.MetricsAddress); err != nil {
		return err
	}
	if s.api, err = server.New(cfg); err != nil {
		return err
	}
	s.watch()
	s.door.open(s.api.Handler())
	return nil
}

// refresh serves what the setting says anew.
func (s *site) refresh(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	serving, err := s.serving(ctx)
	if err != nil {
		return err
	}
	return s.api.Serve(serving)
}

// serving is what the setting says, with what is loaded at the start.
func (s *site) serving(ctx context.Context) (v server.Serving, err error) {
	if v.Models, err = s.house.models(ctx); err != nil {
		return v, err
	}
	if v.Secret, err = s.secret(); err != nil {
		return v, err
	}
	c := s.setting.Server
	v.QueuePatience, v.Longest, v.LogText = c.QueueTimeout, c.RequestTimeout, c.Log.Prompts
	if len(v.Models) > 0 {
		s.first, s.talks = v.Models[0].ID, v.Models[0].Template != nil || v.Models[0].Load != nil
	}
	return v, nil
}

// secret is the owner's.
func (s *site) secret() ([]byte, error) {
	if s.setting.SecretFile != "" {
		return state.SecretFile(s.setting.SecretFile)
	}
	dir := s.setting.StateDir
	for _, b := range s.setting.bases {
		dir = b.stateDir
	}
	o := engineOptions{stateDir: dir}
	return o.secret()
}

// tiers are what is imposed on what is loaded, for metrics.
func (s *site) tiers() (list []metrics.Tier) {
	for _, t := range s.api.Tiers() {
		list = append(list, metrics.Tier{Model: t.Model, Base: t.Base, Sigma: t.Sigma, Level: t.Level})
	}
	return list
}

// serveMetrics answers /metrics on an address of its own.
func (s *site) serveMetrics(ctx context.Context, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	front := edge.NewServer(mux, edge.Limits{}, s.log)
	go func() {
		if err := front.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	s.log.Info("metrics", "address", "http://"+listener.Addr().String()+"/metrics")
	s.ends = append(s.ends, func() { _ = front.Close() })
	return nil
}

// watch looks for decodes that do not end.
func (s *site) watch() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.api.Watch(ctx, func(model string, took time.Duration) {
			s.metrics.Stuck(s.baseOf(model))
			if s.setting.Server.WatchdogExit {
				s.log.Error("the process ends, because a decode does not", "model", model, "for", took)
				os.Exit(70) // nothing can be drained: the decode holds the engine
			}
		})
	}()
	s.ends = append(s.ends, func() {
		stop()
		<-ended
	})
}

// baseOf is the base model that an offer is made of, by whose name metrics tell engines.
func (s *site) baseOf(id string) string {
	for _, of := range s.setting.offers {
		if of.id == id {
			return of.base
		}
	}
	return id
}

// reload reads the configuration again. Where it is wrong, or cannot be put in force, what there is stays.
func (s *site) reload(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh, err := s.options.setting()
	if err != nil {
		s.log.Error("the configuration was read again and is not used", "error", err)
		return
	}
	for _, change := range config.Diff(s.setting.Config, fresh.Config) {
		if change.Restart {
			s.log.Warn("this setting counts from the next start on", "setting", change.Path, "now", change.Old, "then", change.New)
		} else {
			s.log.Info("a setting has changed", "setting", change.Path, "was", change.Old, "is", change.New)
		}
	}
	fresh.keep(s.setting)
	old := s.setting
	err = s.house.update(fresh)
	if err == nil {
		s.setting = fresh
		var serving server.Serving
		if serving, err = s.serving(ctx); err == nil {
			err = s.api.Serve(serving)
		}
	}
	if err != nil {
		s.setting = old
		s.log.Error("the configuration could not be put in force", "error", err)
		return
	}
	setLevel(s.level, fresh.Server.Log.Level)
	if s.tls != nil {
		if err := s.tls.Move(fresh.Server.TLS.Certificate, fresh.Server.TLS.Key); err != nil {
			s.log.Error("the certificate stays", "error", err)
		}
	}
	settings := edgeSettings(fresh.Config, s.accounts, &net.TCPAddr{})
	settings.Guarded = false // a server that is guarded has no keys; see listen
	if needed, err := s.accounts.HasKeys(ctx); err == nil {
		s.accounts.needed = needed
	}
	s.edge.Set(settings)
	s.log.Info("reloaded", "models", len(fresh.offers), "bases", len(fresh.bases))
}

// keep takes over base models that cannot be changed while they are loaded.
func (s *setting) keep(old *setting) {
	for name, b := range s.bases {
		if before := old.bases[name]; before != nil && !before.lazy && !b.lazy {
			alive := b.keepAlive
			*b = *before
			b.keepAlive = alive
		}
	}
	s.offers = slices.Clip(s.offers)
}

// free ends what load began, where shutdown was not reached.
func (s *site) free() {
	for _, end := range s.ends {
		end()
	}
	s.ends = nil
}

// url is where a client on this machine finds the server.
func (s *site) url(a net.Addr) string {
	url := baseURL(a)
	if s.tls != nil {
		return "https" + url[len("http"):]
	}
	return url
}

// shutdown ends a server in this order: stop admitting; drain up to a limit; end what is left, so that its clients hear of
// it; let the handlers finish; end the engines, and free them.
func (s *site) shutdown(limit time.Duration, front *http.Server) {
	s.log.Info("shutting down")
	s.api.Drain()
	s.house.close(limit, func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastWrites)
		defer cancel()
		if err := front.Shutdown(ctx); err != nil {
			s.log.Warn("clients do not read their answers", "error", err)
			_ = front.Close() // the reason is logged
		}
	})
	s.free()
	if s.tracer != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lastWrites)
		defer cancel()
		if err := s.tracer.Shutdown(ctx); err != nil {
			s.log.Warn("some traces were not sent", "error", err)
		}
	}
	s.log.Info("bye")
}
