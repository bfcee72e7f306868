package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"aim/internal/config"
	"aim/internal/edge"
	"aim/internal/metrics"
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
	address  net.Addr
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
}

// open begins to answer, first that the models are loading.
func (s *site) open(ctx context.Context, c *config.Config, listener net.Listener) (*http.Server, error) {
	settings, err := edgeSettings(ctx, c, s.accounts, s.address)
	if err != nil {
		return nil, err
	}
	s.edge = edge.New(settings)
	var inside http.Handler = s.door
	if c.Server.Playground {
		inside = web.Over(s.door) // the page is there while the model loads, and says so
	}
	front := edge.NewServer(s.accounts.unguarding(s.edge, s.edge.Handler(inside)), edge.Limits{MaxHeader: int(c.Server.MaxHeader)}, s.log)
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
	s.ends = append(s.ends, func() { s.house.close(0, func() {}) }) // where shutdown has done so, nothing is left to do
	serving := server.Serving{}
	if serving.Models, err = s.house.models(ctx, set); err != nil {
		return err
	}
	if err = s.complete(set, &serving); err != nil {
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
	}
	if s.api, err = server.New(cfg); err != nil {
		return err
	}
	if set.Server.MetricsAddress != "" { // they ask the API, so it comes first
		if err := s.serveMetrics(ctx, set.Server.MetricsAddress); err != nil {
			return err
		}
	}
	s.house.listen(s.api.Unloaded)
	s.watch(set.Server.WatchdogExit)
	s.door.open(s.api.Handler())
	return nil
}

// complete adds to what is served what a setting says beside the models.
func (s *site) complete(set *setting, v *server.Serving) (err error) {
	owner := engineOptions{stateDir: set.StateDir, secretFile: set.SecretFile}
	if v.Secret, err = owner.secret(); err != nil {
		return err
	}
	c := set.Server
	v.QueuePatience, v.Longest, v.LogText = c.QueueTimeout, c.RequestTimeout, c.Log.Prompts
	return nil
}

// greet tells those who started the server that it is there.
func (s *site) greet(ctx context.Context, out io.Writer) {
	keys, err := s.accounts.HasKeys(ctx)
	if err != nil {
		s.log.Error("the accounts cannot be read", "error", err)
	}
	first, talks := s.api.First()
	greet(out, s.url(), first, talks, keys, s.setting.Server.Playground && web.Built())
	s.log.Info("serving", "models", len(s.setting.offers), "bases", len(s.setting.bases), "address", s.address.String(), "keys", keys)
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
func (s *site) watch(exit bool) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.api.Watch(ctx, func(model string, took time.Duration) {
			s.metrics.Stuck(s.baseOf(model))
			if exit {
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

// refresh serves what the setting says anew.
func (s *site) refresh(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(ctx, s.setting)
}

// replace serves what a setting says in place of what is served.
func (s *site) replace(ctx context.Context, set *setting) error {
	return s.house.replace(ctx, set, func(list []server.Model) error {
		serving := server.Serving{Models: list}
		if err := s.complete(set, &serving); err != nil {
			return err
		}
		return s.api.Serve(serving)
	})
}

// baseOf is the base model that an offer is made of, by whose name metrics tell engines.
func (s *site) baseOf(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	if err == nil {
		err = s.checkTLS(fresh.Server.TLS)
	}
	if err != nil {
		s.log.Error("the configuration was read again and is not used", "error", err)
		return
	}
	network, err := edgeSettings(ctx, fresh.Config, s.accounts, s.address)
	if err != nil {
		network.Guarded = s.edge.Guarded() // as far as is known
	}
	changes := config.Diff(s.setting.Config, fresh.Config)
	fresh.keep(s.setting, s.house.holds)
	held := slices.Collect(maps.Keys(fresh.bases))
	held = slices.DeleteFunc(held, func(name string) bool { return !s.house.holds(name) })
	if err := s.replace(ctx, fresh); err != nil {
		s.log.Error("the configuration could not be put in force, and the one that there was stays", "error", err)
		return
	}
	s.setting = fresh
	setLevel(s.level, fresh.Server.Log.Level)
	s.edge.Set(network)
	if s.tls != nil && fresh.Server.TLS.Certificate != "" {
		if err := s.tls.Move(fresh.Server.TLS.Certificate, fresh.Server.TLS.Key); err != nil {
			s.log.Error("the certificate stays", "error", err)
		}
	}
	for _, change := range changes {
		if change.Restart && waits(change.Path, held) {
			s.log.Warn("this setting counts from the next start on", "setting", change.Path, "now", change.Old, "then", change.New)
		} else {
			s.log.Info("a setting has changed", "setting", change.Path, "was", change.Old, "is", change.New)
		}
	}
	s.log.Info("reloaded", "models", len(fresh.offers), "bases", len(fresh.bases))
}

// waits says whether a setting that counts from a start on has to wait for it: those of base models that are not held are read with each load.
func waits(path string, held []string) bool {
	of := func(name string) bool {
		setting, ok := strings.CutPrefix(path, "models."+name+".")
		return ok && setting != "load"
	}
	return !strings.HasPrefix(path, "models.") || slices.ContainsFunc(held, of)
}

// checkTLS refuses a certificate that could not be used.
func (s *site) checkTLS(c config.TLS) error {
	if s.tls == nil || c.Certificate == "" {
		return nil
	}
	_, err := edge.LoadCertificate(c.Certificate, c.Key, s.log)
	return err
}

// keep takes over base models that cannot be changed, because they are held.
func (s *setting) keep(old *setting, holds func(name string) bool) {
	for name, b := range s.bases {
		if before := old.bases[name]; before != nil && holds(name) {
			b.engineOptions = before.engineOptions
		}
	}
}

// free ends what load began, where shutdown was not reached.
func (s *site) free() {
	for _, end := range s.ends {
		end()
	}
	s.ends = nil
}

// url is where a client on this machine finds the server.
func (s *site) url() string {
	url := baseURL(s.address)
	if s.tls != nil {
		return "https" + url[len("http"):]
	}
	return url
}

// shutdown ends a server in this order: stop admitting; drain up to a limit; end what is left, so that its clients hear of
// it; let the handlers finish; end the engines, and free them.
func (s *site) shutdown(front *http.Server) {
	s.log.Info("shutting down")
	s.api.Drain()
	s.house.close(s.setting.Server.DrainTimeout, func() {
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
