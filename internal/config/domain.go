package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// outside says why a value is not in the domain that its field's check tag states, "" where it is. Entries of lists are each looked at.
func outside(f reflect.StructField, v reflect.Value) (problem string) {
	check := f.Tag.Get("check")
	if check == "" {
		return ""
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			if problem := outsideOf(check, v.Index(i)); problem != "" {
				return problem
			}
		}
		return ""
	}
	return outsideOf(check, v)
}

func outsideOf(check string, v reflect.Value) string {
	got := text(v)
	lo, hi, ranged := strings.Cut(check, "..")
	switch {
	case strings.Contains(check, "|"):
		words := strings.Split(check, "|")
		for _, w := range words {
			if w == got {
				return ""
			}
		}
		problem := fmt.Sprintf("%q is none of %s", got, strings.Join(words, ", "))
		if n := nearest(got, words); n != "" {
			problem += fmt.Sprintf("; did you mean %s?", n)
		}
		return problem
	case ranged:
		return outOfRange(v, lo, hi)
	case v.Type() == durationType:
		return outsideDuration(check, time.Duration(v.Int()))
	case got == "": // unset
		if check == "required" {
			return "is missing"
		}
		return ""
	}
	return malformed(check, got)
}

// outOfRange compares a number with bounds.
func outOfRange(v reflect.Value, lo, hi string) string {
	var x, least, most float64
	bound := func(s string) float64 {
		if v.Type() == reflect.TypeFor[Size]() {
			var size Size
			_ = size.UnmarshalText([]byte(s)) // a tag of ours
			return float64(size)
		}
		f, _ := strconv.ParseFloat(s, 64) // a tag of ours
		return f
	}
	least, most = bound(lo), bound(hi)
	if v.Kind() == reflect.Float64 {
		x = v.Float()
	} else {
		x = float64(v.Int())
	}
	if x >= least && x <= most {
		return ""
	}
	return fmt.Sprintf("%s is out of range; want %s to %s", text(v), lo, hi)
}

func outsideDuration(check string, d time.Duration) string {
	if check == "at least 0" && d < 0 || check == "above 0" && d <= 0 || check == "not 0" && d == 0 {
		return fmt.Sprintf("%v is out of range; want a duration that is %s", d, check)
	}
	return ""
}

var layerRange = regexp.MustCompile(`^[1-9][0-9]{0,5}-[1-9][0-9]{0,5}$`)

// malformed says what is wrong with a text that must have a form.
func malformed(check, got string) string {
	var ok bool
	var want string
	switch check {
	case "address":
		_, port, err := net.SplitHostPort(got)
		n, numeric := strconv.Atoi(port)
		ok, want = err == nil && numeric == nil && n >= 0 && n <= 65535, "host:port, such as 127.0.0.1:8080 or :8080"
	case "network":
		_, err := network(got)
		ok, want = err == nil, "an address or a network, such as 10.0.0.1 or 10.0.0.0/8"
	case "origin":
		u, err := url.Parse(got)
		ok = got == "*" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.Scheme+"://"+u.Host == got
		want = `an origin without a path, such as https://chat.example.com, or "*"`
	case "redis":
		u, err := url.Parse(got)
		if ok, want = err == nil && (u.Scheme == "redis" || u.Scheme == "rediss" || u.Scheme == "unix"), "a URL such as redis://127.0.0.1:6379/0"; !ok {
			return "is not " + want // it may hold a password
		}
	case "layers":
		ok, want = layerRange.MatchString(got), "FIRST-LAST, such as 10-20"
	default:
		return ""
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%q is not %s", got, want)
}

// network reads an address or a network.
func network(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// Proxies are the networks of TrustedProxies.
func (s *Server) Proxies() (list []netip.Prefix) {
	for _, text := range s.TrustedProxies {
		if p, err := network(text); err == nil { // else it was refused
			list = append(list, p)
		}
	}
	return list
}

// text writes a value as files have it.
func text(v reflect.Value) string {
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return ""
	}
	switch x := v.Interface().(type) {
	case fmt.Stringer:
		return x.String()
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case Value:
		return fmt.Sprint(x.Any)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return text(v.Elem())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = text(v.Index(i))
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(v.Interface())
	}
}
