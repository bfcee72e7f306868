package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// domains refuses settings that are outside of their domains, wherever they came from.
func (c *Config) domains() (errs Errors) {
	for _, x := range c.values() {
		if problem := outside(x.field, x.v); problem != "" {
			errs = append(errs, c.fault(x.path, problem, ""))
		}
	}
	return errs
}

// judge collects contradictions.
type judge struct {
	c    *Config
	errs Errors
}

func (j *judge) fail(path, problem, fix string) {
	j.errs = append(j.errs, j.c.fault(path, problem, fix))
}

// contradictions refuses settings that are each in their domain, but not together.
func (c *Config) contradictions() Errors {
	j := &judge{c: c}
	j.server()
	j.both("accounts.database", "accounts.database_file", string(c.Accounts.Database), c.Accounts.DatabaseFile,
		func() { c.Accounts.Database = "" }, func() { c.Accounts.DatabaseFile = "" })
	j.both("accounts.redis", "accounts.redis_file", string(c.Accounts.Redis), c.Accounts.RedisFile,
		func() { c.Accounts.Redis = "" }, func() { c.Accounts.RedisFile = "" })
	for _, name := range names(c.Models) {
		j.model("models."+name, c.Models[name])
	}
	j.numa()
	for _, name := range names(c.VirtualModels) {
		j.virtual(name, c.VirtualModels[name])
	}
	return j.errs
}

func (j *judge) server() {
	s := &j.c.Server
	if (s.TLS.Certificate == "") != (s.TLS.Key == "") {
		given, missing := "certificate", "key"
		if s.TLS.Key != "" {
			given, missing = missing, given
		}
		j.fail("server.tls."+given, "there is no "+missing+" beside it", "give server.tls."+missing+", or leave both out for HTTP")
	}
	for _, other := range []struct{ path, address string }{
		{"server.metrics_address", s.MetricsAddress}, {"server.profile_address", s.ProfileAddress},
	} {
		if other.address != "" && other.address == s.Address && !strings.HasSuffix(s.Address, ":0") {
			j.fail(other.path, fmt.Sprintf("%s is the address of the API", other.address), "take another port, or leave it empty")
		}
	}
	if len(s.CORS.Origins) > 1 && slices.Contains(s.CORS.Origins, "*") {
		j.fail("server.cors.origins", `"*" allows all origins, and others stand beside it`, "keep one or the others")
	}
}

// both refuses two settings of which one makes the other void. Where one of them overrides, the other is dropped.
func (j *judge) both(a, b, x, y string, dropA, dropB func()) {
	if x == "" || y == "" {
		return
	}
	rank := func(path string) int {
		return slices.Index([]string{FromDefault, FromFile, FromEnvironment, FromFlag}, j.c.Origin(path).From)
	}
	switch {
	case rank(a) > rank(b):
		dropB()
	case rank(a) < rank(b):
		dropA()
	default:
		j.fail(b, "stands beside "+a, "remove one of them")
	}
}

func (j *judge) model(path string, m *Model) {
	p := &m.Compute
	switch {
	case p.Batch < m.Slots:
		j.fail(path+".compute.batch", fmt.Sprintf("%d is less than slots: %d", p.Batch, m.Slots), "every conversation needs a place in a decode")
	case p.Ubatch > p.Batch:
		j.fail(path+".compute.ubatch", fmt.Sprintf("%d is more than batch: %d", p.Ubatch, p.Batch), "")
	}
	if quantized := !slices.Contains([]string{"f16", "f32", "bf16"}, m.Cache.TypeV); quantized && p.FlashAttention == "off" {
		j.fail(path+".cache.type_v", m.Cache.TypeV+" needs flash attention", "set compute.flash_attention to auto or on")
	}
	if m.Cache.File != "" && (!m.Cache.Prefixes || m.Cache.RAM == 0) {
		j.fail(path+".cache.file", "there are no prefixes to keep with prefixes: false or ram: 0", "remove one of them")
	}
	if m.Context > 0 && m.ContextShift.Keep > m.Context/2 {
		j.fail(path+".context_shift.keep", fmt.Sprintf("%d is more than %d, half of the context", m.ContextShift.Keep, m.Context/2), "")
	}
	if n := len(m.GPU.Shares); n > 0 && slices.Max(m.GPU.Shares) == 0 {
		j.fail(path+".gpu.shares", "one share at least must be above 0", "")
	}
	j.layers(path+".adapters", &m.Adapters)
	for _, name := range names(m.AdapterSets) {
		j.layers(path+".adapter_sets."+name, m.AdapterSets[name])
	}
}

func (j *judge) layers(path string, a *Adapters) {
	first, last, ok := strings.Cut(a.Layers, "-")
	if !ok {
		return
	}
	from, _ := strconv.Atoi(first) // both were looked at
	to, _ := strconv.Atoi(last)
	switch {
	case from > to:
		j.fail(path+".layers", fmt.Sprintf("%d comes after %d", from, to), "")
	case len(a.ControlVectors) == 0:
		j.fail(path+".layers", "there are no control vectors for it", "")
	}
}

// numa refuses two choices, since ggml takes one in a process.
func (j *judge) numa() {
	first := ""
	for _, name := range names(j.c.Models) {
		choice := j.c.Models[name].Compute.NUMA
		if first == "" {
			first = name
		}
		if other := j.c.Models[first].Compute.NUMA; other != choice {
			j.fail("models."+name+".compute.numa", fmt.Sprintf("%s differs from the %s of models.%s", choice, other, first), "one choice holds for all models")
		}
	}
}

// Listed says whether the base model of a name is offered itself.
func (c *Config) Listed(name string) bool {
	m, ok := c.Models[name]
	if !ok {
		return false
	}
	used := false
	for _, v := range c.VirtualModels {
		used = used || v.Base == name
	}
	return m.Listed.Or(!used)
}

func (j *judge) virtual(name string, v *VirtualModel) {
	path := "virtual_models." + name
	if c := j.c; c.Listed(name) {
		j.fail(path, "a base model is offered under this name", fmt.Sprintf("rename one of them, or set models.%s.listed to false", name))
	}
	if v.Utility.Level > 0 && v.Utility.Sigma > 0 {
		j.fail(path+".utility.sigma", "stands beside level, and both set the same", "remove one of them")
	}
	if v.Context > 0 && v.MaxTokens > v.Context {
		j.fail(path+".max_tokens", fmt.Sprintf("%d is more than context: %d", v.MaxTokens, v.Context), "")
	}
	j.bounds(path, v)
	base, ok := j.c.Models[v.Base]
	if !ok {
		if v.Base != "" { // else it was refused as missing
			j.noBase(path, v.Base)
		}
		return
	}
	if base.Context > 0 && v.Context > base.Context {
		j.fail(path+".context", fmt.Sprintf("%d is more than the %d of models.%s", v.Context, base.Context, v.Base), "")
	}
	if _, ok := base.AdapterSets[v.Adapters]; v.Adapters != "" && !ok {
		sets := names(base.AdapterSets)
		j.fail(path+".adapters", fmt.Sprintf("models.%s has no set of adapters named %q", v.Base, v.Adapters), guess(v.Adapters, sets, "its adapter_sets are "))
	}
}

func (j *judge) noBase(path, base string) {
	have := names(j.c.Models)
	fix := guess(base, have, "models has ")
	if _, virtual := j.c.VirtualModels[base]; virtual {
		fix = "that is a virtual model; models has " + oneOf(have)
	}
	j.fail(path+".base", fmt.Sprintf("there is no base model %q", base), fix)
}

// guess says which name was meant, or what there is.
func guess(wrong string, names []string, have string) string {
	if n := nearest(wrong, names); n != "" {
		return fmt.Sprintf("did you mean %s?", n)
	}
	return have + oneOf(names)
}

// bounds looks at the bounds of a virtual model, and at its defaults within them.
func (j *judge) bounds(path string, v *VirtualModel) {
	for _, name := range names(v.Bounds) {
		b, at := v.Bounds[name], path+".bounds."+name
		switch {
		case b == nil:
			continue
		case b.Min != nil && b.Max != nil && *b.Min > *b.Max:
			j.fail(at+".min", fmt.Sprintf("%g is above max: %g", *b.Min, *b.Max), "")
		case !b.Allowed && (b.Min != nil || b.Max != nil):
			j.fail(at+".allowed", "a parameter that may not be given has bounds", "remove one of them")
		}
		if d, ok := v.Defaults[name]; ok {
			if x, number := d.Number(); number && (b.Min != nil && x < *b.Min || b.Max != nil && x > *b.Max) {
				j.fail(path+".defaults."+name, fmt.Sprintf("%g is outside of bounds.%s", x, name), "")
			}
		}
	}
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		if x, ok := v.Defaults[name].Number(); ok && v.MaxTokens > 0 && x > float64(v.MaxTokens) {
			j.fail(path+".defaults."+name, fmt.Sprintf("%g is more than max_tokens: %d", x, v.MaxTokens), "")
		}
	}
}

// Number is v as a number, and whether it is one.
func (v Value) Number() (float64, bool) {
	switch x := v.Any.(type) {
	case int64:
		return float64(x), true
	case float64:
		return x, true
	}
	return 0, false
}

// parameters refuses defaults and bounds of sampling parameters that requests do not have, or not in that form.
func (c *Config) parameters(known Parameters) Errors {
	if known == nil {
		return nil
	}
	j, tunable, bounded := &judge{c: c}, known.Names(), known.Bounds()
	for _, name := range names(c.VirtualModels) {
		v, path := c.VirtualModels[name], "virtual_models."+name
		exists := func(path, parameter, what string, all []string) bool {
			if slices.Contains(all, parameter) {
				return true
			}
			j.fail(path, "requests have no sampling parameter of this name that can have "+what, guess(parameter, all, "there are "))
			return false
		}
		for _, p := range names(v.Defaults) {
			at := path + ".defaults." + p
			if !exists(at, p, "a default", tunable) {
				continue
			}
			if err := known.Check(p, v.Defaults[p].Any); err != nil {
				j.fail(at, err.Error(), "")
			}
		}
		for _, p := range names(v.Bounds) {
			at := path + ".bounds." + p
			if b := v.Bounds[p]; exists(at, p, "bounds", bounded) && b != nil {
				j.limit(at+".min", p, b.Min, known)
				j.limit(at+".max", p, b.Max, known)
			}
		}
	}
	return j.errs
}

// limit looks at a bound as if it were a parameter's value.
func (j *judge) limit(path, name string, x *float64, known Parameters) {
	if x == nil {
		return
	}
	var v any = *x
	if *x == math.Trunc(*x) && math.Abs(*x) < 1<<53 {
		v = int64(*x)
	}
	if err := known.Check(name, v); err != nil {
		j.fail(path, err.Error(), "")
	}
}

// equal compares two values. A list without entries is as good as none.
func equal(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 {
		return b.Len() == 0
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
