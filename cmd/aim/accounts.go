package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"aim/internal/account"
	"aim/internal/config"
	"aim/internal/edge"
	"aim/internal/ledger"
	"aim/internal/limit"
	"aim/server"
)

// accounts are a server's keys, limits and usage.
type accounts struct {
	ledger *ledger.Ledger
	limits limit.Limiter
	redis  *limit.Redis // nil without
	// require is a word of accounts.require_keys.
	require string
}

// openAccounts opens the database, and the limits that replicas share.
func openAccounts(ctx context.Context, c *config.Config, log *slog.Logger) (*accounts, error) {
	dir, err := stateFolder(c.StateDir)
	if err != nil {
		return nil, err
	}
	dsn, err := c.Accounts.DatabaseDSN()
	if err != nil {
		return nil, err
	}
	a := &accounts{require: c.Accounts.RequireKeys}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	where := databaseAt(dsn.Reveal(), dir)
	if a.ledger, err = ledger.Open(ctx, where, ledger.Options{Spool: dir, Log: log}); err != nil {
		return nil, fmt.Errorf("accounts.database: %w", err)
	}
	redis, err := c.Accounts.RedisDSN()
	if err == nil && redis != "" {
		a.redis, err = limit.NewRedis(redis.Reveal(), limit.Options{Spent: a.ledger.Spent, Log: log})
		a.limits = a.redis
	} else if err == nil {
		a.limits = limit.NewLocal(limit.Options{Spent: a.ledger.Spent, Log: log})
	}
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// Find implements [server.Keys].
func (a *accounts) Find(ctx context.Context, secret string) (account.Key, error) {
	return a.ledger.Find(ctx, secret)
}

// HasKeys implements [server.Keys].
func (a *accounts) HasKeys(ctx context.Context) (bool, error) {
	switch a.require {
	case "always":
		return true, nil
	case "never":
		return false, nil
	}
	return a.ledger.HasKeys(ctx)
}

var _ server.Keys = (*accounts)(nil)

// shared says whether limits are shared between replicas.
func (a *accounts) shared() bool { return a.redis != nil && a.redis.Shared() }

func (a *accounts) close() {
	if a.redis != nil {
		_ = a.redis.Close() // it only counts
	}
	if err := a.ledger.Close(); err != nil {
		slog.Error("the accounts were not closed well", "error", err)
	}
}

// listen listens on the configured address. Where no key is needed it is one that only this machine reaches, unless the owner wants everybody to.
func listen(ctx context.Context, c *config.Config, a *accounts, log *slog.Logger) (net.Listener, error) {
	address := c.Server.Address
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	needed, err := a.HasKeys(ctx)
	if err == nil && (needed || a.require == "never" || edge.Loopback(listener.Addr())) {
		return listener, nil
	}
	_ = listener.Close() // another one takes its place
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	local := net.JoinHostPort("127.0.0.1", port)
	log.Warn("there is no API key, so the server listens on loopback only; make one with `aim keys create` and start it again, or set accounts.require_keys to never",
		"asked", address, "address", local)
	return new(net.ListenConfig).Listen(ctx, "tcp", local)
}

// edgeSettings are what the network may do. A server without keys is guarded where it listens on loopback: what else is open is meant to be.
func edgeSettings(ctx context.Context, c *config.Config, a *accounts, at net.Addr) (edge.Settings, error) {
	needed, err := a.HasKeys(ctx)
	return edge.Settings{
		Origins: c.Server.CORS.Origins, Hosts: c.Server.Hosts, Proxies: c.Server.Proxies(), Guarded: !needed && edge.Loopback(at),
	}, err
}

// unguarding ends the guard of a server without keys once there is one, before a request meets it.
func (a *accounts) unguarding(e *edge.Edge, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.Guarded() {
			if needed, err := a.HasKeys(r.Context()); err == nil && needed {
				e.Unguard()
			}
		}
		next.ServeHTTP(w, r)
	})
}
