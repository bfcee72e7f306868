package account

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestActive(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		key  Key
		want bool
	}{
		"plain":                      {Key{}, true},
		"expires later":              {Key{Expires: now.Add(1)}, true},
		"expires now":                {Key{Expires: now}, false},
		"revoked":                    {Key{Revoked: now.Add(-1)}, false},
		"revoked by a faster clock":  {Key{Revoked: now.Add(time.Hour)}, false},
		"revoked, and expires later": {Key{Revoked: now, Expires: now.Add(1)}, false},
	} {
		if got := c.key.Active(now); got != c.want {
			t.Errorf("%s: active %t, want %t", name, got, c.want)
		}
	}
}

func TestGrantCovers(t *testing.T) {
	g := Grant{
		Models:   []string{"smollm2*", "[a", "other"},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")},
	}
	for model, want := range map[string]bool{"smollm2": true, "smollm2-lite": true, "other": true, "others": false, "[a": true, "": false} {
		if got := g.Allows(model); got != want {
			t.Errorf("model %q: %t, want %t", model, got, want)
		}
	}
	for addr, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "11.0.0.1": false, "fe80::1%eth0": true, "2001:db8::1": false} {
		if got := g.From(netip.MustParseAddr(addr)); got != want {
			t.Errorf("address %s: %t, want %t", addr, got, want)
		}
	}
	if g.From(netip.Addr{}) || !(&Grant{}).From(netip.Addr{}) || !(&Grant{}).Allows("any") {
		t.Error("an unknown address is covered by a grant for all, and by no other")
	}
}

func TestCheck(t *testing.T) {
	number := func(f float64) *float64 { return &f }
	for want, g := range map[string]Grant{
		"":                        {Priority: 100, MaxFocus: number(1), Models: []string{"a*", "b"}},
		"requests_per_minute is ": {RequestsPerMinute: -1},
		"tokens_per_month is ":    {TokensPerMonth: -1},
		"priority is 101":         {Priority: 101},
		"max_focus is NaN":        {MaxFocus: number(math.NaN())},
		`models has "[a"`:         {Models: []string{"a", "[a"}},
		`models has " a"`:         {Models: []string{" a"}},
		`models has ""`:           {Models: []string{""}},
		"models are 1001":         {Models: make([]string, 1001)},
		"networks has 10.1.2.3/8": {Networks: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}},
		"networks has invalid":    {Networks: make([]netip.Prefix, 1)},
	} {
		if err := g.Check(); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "::ffff:10.1.2.3": "10.1.2.3/32", "2001:db8::/32": "2001:db8::/32", "::1": "::1/128",
		"10.1.2.3/8": "", "::ffff:10.0.0.0/104": "", "10.0.0.0/33": "", "fe80::1%eth0": "", "": "", "localhost": "",
	} {
		got, err := ParseNetwork(text)
		if (err == nil) != (want != "") || want != "" && got.String() != want {
			t.Errorf("%q is %v, %v, want %q", text, got, err, want)
		}
	}
}
