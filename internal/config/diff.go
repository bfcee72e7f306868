package config

import (
	"reflect"
	"slices"
	"strings"
)

// Change is a setting that differs between two configurations.
type Change struct {
	Path string
	// Old and New are its values in words, "" for none. Passwords are hidden.
	Old, New string
	// Restart says that it counts from the next start only; else a reload can put it in force.
	Restart bool
}

// Diff lists what differs, in the order of the paths.
func Diff(before, after *Config) (list []Change) {
	was, is := index(before), index(after)
	for path, x := range is {
		old, ok := was[path]
		switch {
		case !ok:
			list = append(list, Change{Path: path, New: text(x.v), Restart: !x.now})
		case !equal(old.v, x.v):
			list = append(list, Change{Path: path, Old: text(old.v), New: text(x.v), Restart: !x.now})
		}
	}
	for path, x := range was {
		if _, ok := is[path]; !ok {
			list = append(list, Change{Path: path, Old: text(x.v), Restart: !x.now})
		}
	}
	for i, c := range list {
		if strings.HasPrefix(c.Path, "server.tls.") && (c.Old == "" || c.New == "") {
			list[i].Restart = true // from HTTP to TLS or back
		}
	}
	slices.SortFunc(list, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// index has the settings by their paths, and those of maps one by one.
func index(c *Config) map[string]value {
	m := map[string]value{}
	for _, x := range c.values() {
		if x.v.Kind() != reflect.Map {
			m[x.path] = x
			continue
		}
		for _, k := range sortedKeys(x.v) {
			m[join(x.path, k)] = value{path: join(x.path, k), now: x.now, field: x.field, v: x.v.MapIndex(reflect.ValueOf(k))}
		}
	}
	return m
}
