package config

import "strings"

// Where a setting came from.
const (
	FromDefault     = "default"
	FromFile        = "file"
	FromEnvironment = "environment"
	FromFlag        = "flag"
)

// Origin says where a setting came from.
type Origin struct {
	// From is one of the words above.
	From string
	// Name is the file, the variable or the flag.
	Name string
	// Line and Column are those in the file, from 1.
	Line, Column int
}

// trail remembers where settings came from, by their paths.
type trail struct {
	origins map[string]Origin
	// source is the file, "" for none.
	source string
	// Warnings are what the file's reader should know, though it is no mistake.
	Warnings []string
}

// Origin says where the setting of a path such as models.smollm2.cache.ram came from.
func (c *Config) Origin(path string) Origin {
	if o, ok := c.origins[path]; ok {
		return o
	}
	return Origin{From: FromDefault}
}

// Source is the file that was read, "" for none.
func (c *Config) Source() string { return c.source }

// fault is a mistake in a setting, at the place where it came from; for one that came from nowhere, at what it is a part of.
func (c *Config) fault(path, problem, fix string) *Error {
	e := &Error{Source: c.source, Path: path, Problem: problem, Fix: fix}
	if e.Source == "" {
		e.Source = "configuration"
	}
	for at := path; at != ""; at = at[:max(0, strings.LastIndexByte(at, '.'))] {
		o, ok := c.origins[at]
		if !ok {
			continue
		}
		if o.From != FromFile && at != path {
			continue
		}
		e.Source, e.Line, e.Column = o.Name, o.Line, o.Column
		break
	}
	return e
}
