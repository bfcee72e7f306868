package account

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// MaxPatterns bounds how many models, and how many networks, a grant names.
const MaxPatterns = 1000

// GrantError says which field of a grant has a value that it cannot have. Field is its name in JSON.
type GrantError struct {
	Field string
	Value any
	Want  string
}

func (e *GrantError) Error() string { return fmt.Sprintf("%s: %v: want %s", e.Field, e.Value, e.Want) }

// Validate returns a *GrantError for the first field that is out of its domain.
func (g *Grant) Validate() error {
	for _, n := range []struct {
		field string
		value int64
	}{
		{"requests_per_minute", int64(g.RequestsPerMinute)},
		{"tokens_per_minute", int64(g.TokensPerMinute)},
		{"concurrency", int64(g.Concurrency)},
		{"tokens_per_day", g.TokensPerDay},
		{"tokens_per_month", g.TokensPerMonth},
	} {
		if n.value < 0 {
			return &GrantError{n.field, n.value, "0, for no limit, or more"}
		}
	}
	if g.Priority < 0 || g.Priority > 100 {
		return &GrantError{"priority", g.Priority, "a whole number from 1 to 100, or 0 for 1"}
	}
	if f := g.MaxFocus; f != nil && !(*f >= 0 && *f <= 1) {
		return &GrantError{"max_focus", *f, "a number from 0 to 1"}
	}
	if n := max(len(g.Models), len(g.Networks)); n > MaxPatterns {
		return &GrantError{"models and networks", n, fmt.Sprintf("at most %d of each", MaxPatterns)}
	}
	for i, m := range g.Models {
		if err := CheckPattern(m); err != nil {
			return &GrantError{fmt.Sprintf("models[%d]", i), fmt.Sprintf("%q", m), err.Error()}
		}
	}
	for i, n := range g.Networks {
		if err := checkNetwork(n); err != nil {
			return &GrantError{fmt.Sprintf("networks[%d]", i), n, err.Error()}
		}
	}
	return nil
}

// CheckPattern says what a pattern for names of models must be where it is none.
func CheckPattern(pattern string) error {
	if pattern == "" || len(pattern) > 256 || strings.TrimSpace(pattern) != pattern {
		return errors.New("1 to 256 bytes without space around them")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return errors.New("a name, or a pattern of *, ? and closed [classes]")
	}
	return nil
}

// ParseNetwork reads an address, or a network such as 10.0.0.0/8. An address inside a network stands for its network only where its other
// bits are zero: 10.1.2.3/8 is refused, because it may be a slip.
func ParseNetwork(text string) (netip.Prefix, error) {
	n, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, errors.New("want an address or a network such as 10.0.0.0/8 or 2001:db8::/32")
		}
		addr = addr.Unmap()
		n = netip.PrefixFrom(addr, addr.BitLen())
	}
	if err := checkNetwork(n); err != nil {
		return netip.Prefix{}, fmt.Errorf("want %w", err)
	}
	return n, nil
}

func checkNetwork(n netip.Prefix) error {
	switch {
	case !n.IsValid():
		return errors.New("a network such as 10.0.0.0/8")
	case n.Addr().Is4In6():
		return errors.New("an IPv4 network as such: 10.0.0.0/8, not ::ffff:10.0.0.0/104")
	case n.Masked() != n:
		return fmt.Errorf("%v, whose bits behind the length are zero", n.Masked())
	}
	return nil
}
