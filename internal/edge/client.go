package edge

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

type clientKey struct{}

func withClient(r *http.Request, a netip.Addr) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), clientKey{}, a))
}

// ClientAddr is the address of a request's client: that of the connection, or what a trusted proxy says of it. It is the zero Addr where proxies
// contradict each other or do not say; no network contains that. Outside of [Edge.Handler] it is that of the connection.
func ClientAddr(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(clientKey{}).(netip.Addr); ok {
		return a
	}
	return peer(r.RemoteAddr)
}

// peer is the address of a connection's other end.
func peer(remote string) netip.Addr {
	p, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return plain(p.Addr())
}

// plain is a without its zone, and an IPv4 address where it is one in the clothes of IPv6.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// trusts says whether an address is a proxy's.
func (s *Settings) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.Proxies, func(n netip.Prefix) bool { return n.Contains(a) })
}

// client is the address of a request's client. Each proxy adds whom it heard from at the end of a header, so the last address that is no
// trusted proxy's is the client's; what stands before it is the client's own invention.
func (s *Settings) client(r *http.Request) netip.Addr {
	from := peer(r.RemoteAddr)
	if !s.trusts(from) {
		return from
	}
	usual, standard := r.Header.Values("X-Forwarded-For"), r.Header.Values("Forwarded")
	switch {
	case len(usual) == 0 && len(standard) == 0:
		return from // the proxy itself asks
	case len(standard) == 0:
		return s.last(from, split(usual))
	case len(usual) == 0:
		return s.last(from, forwarded(standard))
	}
	// A proxy sets one of them and lets the other through, which then is the client's invention. We cannot know which.
	if a, b := s.last(from, split(usual)), s.last(from, forwarded(standard)); a == b {
		return a
	}
	return netip.Addr{}
}

// last is the last of the hops that is no trusted proxy's, the first hop where all are, and the zero Addr where it cannot be read.
func (s *Settings) last(from netip.Addr, hops []string) netip.Addr {
	for _, hop := range slices.Backward(hops) {
		from = hopAddr(hop)
		if !s.trusts(from) {
			return from
		}
	}
	return from
}

// split lists what stands between commas.
func split(values []string) (list []string) {
	for _, v := range values {
		list = append(list, strings.Split(v, ",")...)
	}
	return list
}

// forwarded lists the for= of Forwarded (RFC 7239), "" for a hop without one.
func forwarded(values []string) (list []string) {
	for _, hop := range split(values) {
		node := ""
		for pair := range strings.SplitSeq(hop, ";") {
			if name, value, ok := strings.Cut(pair, "="); ok && strings.EqualFold(strings.TrimSpace(name), "for") {
				node = strings.Trim(strings.TrimSpace(value), `"`)
			}
		}
		list = append(list, node)
	}
	return list
}

// hopAddr reads an address, which may have a port and brackets; the zero Addr stands for what is none, such as unknown.
func hopAddr(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if p, err := netip.ParseAddrPort(text); err == nil {
		return plain(p.Addr())
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return plain(a)
}
