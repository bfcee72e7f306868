package account

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

const (
	// MaxPriority is the largest Grant.Priority.
	MaxPriority = 100
	// MaxPatterns bounds how many models, and how many networks, a grant names.
	MaxPatterns = 1000
)

// Check fails where a grant has a value that cannot be; the error begins with the field's name in JSON.
func (g *Grant) Check() error {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"requests_per_minute", int64(g.RequestsPerMinute)},
		{"tokens_per_minute", int64(g.TokensPerMinute)},
		{"concurrency", int64(g.Concurrency)},
		{"tokens_per_day", g.TokensPerDay},
		{"tokens_per_month", g.TokensPerMonth},
	} {
		if n.value < 0 {
			return fmt.Errorf("%s is %d, must be at least 0, where 0 is no limit", n.name, n.value)
		}
	}
	if g.Priority < 0 || g.Priority > MaxPriority {
		return fmt.Errorf("priority is %d, must be in [1, %d], or 0 for 1", g.Priority, MaxPriority)
	}
	if f := g.MaxFocus; f != nil && !(*f >= 0 && *f <= 1) {
		return fmt.Errorf("max_focus is %v, must be in [0, 1]", *f)
	}
	if n := len(g.Models); n > MaxPatterns {
		return fmt.Errorf("models are %d, must be at most %d", n, MaxPatterns)
	}
	for _, m := range g.Models {
		if err := CheckPattern(m); err != nil {
			return fmt.Errorf("models has %q, must have %w", m, err)
		}
	}
	if n := len(g.Networks); n > MaxPatterns {
		return fmt.Errorf("networks are %d, must be at most %d", n, MaxPatterns)
	}
	for _, n := range g.Networks {
		if err := checkNetwork(n); err != nil {
			return fmt.Errorf("networks has %v, must have %w", n, err)
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
