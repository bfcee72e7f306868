package edge

import (
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// exposed are the headers that pages of other origins may read.
const exposed = "X-Request-Id, Request-Id, Retry-After, X-RateLimit-Limit-Requests, X-RateLimit-Limit-Tokens, X-RateLimit-Remaining-Requests, " +
	"X-RateLimit-Remaining-Tokens, X-RateLimit-Reset-Requests, X-RateLimit-Reset-Tokens"

// headerList is what a preflight may ask to send, in at most maxHeaders bytes.
var headerList = regexp.MustCompile(`^[A-Za-z0-9_, -]+$`)

const maxHeaders = 1024

// allows says whether pages of an origin may call the API.
func (s *Settings) allows(origin string) bool {
	return origin != "" && (slices.Contains(s.Origins, origin) || slices.Contains(s.Origins, "*"))
}

// cors sets the headers of cross-origin requests, and answers preflights, which it says.
func (s *Settings) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	h, origin := w.Header(), r.Header.Get("Origin")
	everybody := slices.Contains(s.Origins, "*")
	if len(s.Origins) > 0 && !everybody {
		h.Add("Vary", "Origin") // also without one, so that no cache gives a page what was meant for another
	}
	preflight := r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != ""
	if s.allows(origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		if everybody {
			h.Set("Access-Control-Allow-Origin", "*")
		}
		h.Set("Access-Control-Expose-Headers", exposed)
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	}
	if !preflight {
		return false
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if !s.allows(origin) {
		refuse(w, "origin_not_allowed", "pages of this origin may not call the API; add it to server.cors.origins")
		return true
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	// "*" would not stand for Authorization, so what is asked for is allowed by name.
	if asked := strings.Join(r.Header.Values("Access-Control-Request-Headers"), ", "); len(asked) <= maxHeaders && headerList.MatchString(asked) {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// named says whether a guarded server is reached by a name that is its own. An address cannot be the name of a foreign page; a name can be,
// once its owner lets it point to this machine.
func (s *Settings) named(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return slices.ContainsFunc(s.Hosts, func(h string) bool { return h == "*" || strings.EqualFold(h, name) })
}
