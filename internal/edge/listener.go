package edge

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Caps bound the connections of a listener at once; 0 is no bound.
type Caps struct {
	// Total bounds all of them.
	Total int
	// PerAddress bounds those from one address, in IPv6 from one network of 64 bits, which is what a household gets. Loopback and addresses that
	// Exempt says yes to, such as proxies, are not counted.
	PerAddress int
	Exempt     func(netip.Addr) bool
}

// Proxy says whether an address is a trusted proxy's.
func (e *Edge) Proxy(a netip.Addr) bool { return e.settings.Load().trusts(a) }

// Cap returns a listener that closes connections beyond the caps at once, so that those within are still served. It says so in the log, at most once
// a minute.
func Cap(l net.Listener, caps Caps, log *slog.Logger) net.Listener {
	if caps.Total == 0 && caps.PerAddress == 0 {
		return l
	}
	return &capped{Listener: l, caps: caps, log: log, from: map[netip.Addr]int{}}
}

// capped counts the connections of a listener.
type capped struct {
	net.Listener
	caps Caps
	log  *slog.Logger

	mu    sync.Mutex
	total int
	from  map[netip.Addr]int
	// told is when the log heard of refused connections last.
	told time.Time
}

// Accept implements [net.Listener].
func (l *capped) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key, counted := l.key(peer(c.RemoteAddr().String()))
		if l.enter(key, counted) {
			return &countedConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(key, counted) })}, nil
		}
		_ = c.Close() // refused, whatever that says
	}
}

// key is what connections are counted by, and whether they are.
func (l *capped) key(a netip.Addr) (key netip.Addr, counted bool) {
	if l.caps.PerAddress == 0 || !a.IsValid() || a.IsLoopback() || l.caps.Exempt != nil && l.caps.Exempt(a) {
		return a, false
	}
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr(), true
		}
	}
	return a, true
}

// enter counts a connection, or refuses it.
func (l *capped) enter(key netip.Addr, counted bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.caps.Total > 0 && l.total >= l.caps.Total || counted && l.from[key] >= l.caps.PerAddress {
		if now := time.Now(); now.Sub(l.told) > time.Minute {
			l.told = now
			l.log.Warn("connections are refused", "open", l.total, "address", key.String(), "of it", l.from[key])
		}
		return false
	}
	l.total++
	if counted {
		l.from[key]++
	}
	return true
}

func (l *capped) leave(key netip.Addr, counted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if !counted {
		return
	}
	if l.from[key]--; l.from[key] == 0 {
		delete(l.from, key)
	}
}

// countedConn is a connection that is counted until it is closed.
type countedConn struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn].
func (c *countedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Loopback says that only this machine reaches an address to listen on.
func Loopback(a net.Addr) bool { return peer(a.String()).IsLoopback() }
