package config

import (
	"fmt"
	"slices"
	"strings"
)

// Error is a mistake in a configuration.
type Error struct {
	// Source is the file, the variable of the environment or the flag. Line and Column count from 1 and are 0 where it has none.
	Source       string
	Line, Column int
	// Path is the setting, such as server.address; "" for the whole.
	Path string
	// Problem says what is wrong, Fix what to do about it; Fix may be empty.
	Problem, Fix string
}

// Error writes file:line:column: setting: problem; fix.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Source)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Problem)
	if e.Fix != "" {
		b.WriteString("; " + e.Fix)
	}
	return b.String()
}

// Errors are all mistakes in a configuration, in the order of their places.
type Errors []*Error

// Error writes each on a line of its own.
func (list Errors) Error() string {
	lines := make([]string, len(list))
	for i, e := range list {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lists them for [errors.As].
func (list Errors) Unwrap() []error {
	errs := make([]error, len(list))
	for i, e := range list {
		errs[i] = e
	}
	return errs
}

// sorted puts mistakes in the order of their places.
func (list Errors) sorted() Errors {
	slices.SortStableFunc(list, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return list
}

// err is list, or nil for none.
func (list Errors) err() error {
	if len(list) == 0 {
		return nil
	}
	return list
}

// nearest is the name that is most like a wrong one, "" where none is much like it.
func nearest(wrong string, names []string) string {
	best, least := "", max(2, len(wrong)/3)+1
	for _, n := range names {
		if d := distance(strings.ToLower(wrong), strings.ToLower(n)); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is that of Levenshtein: how many bytes must be put in, taken out or changed.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 { // no name is
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// oneOf lists names in words.
func oneOf(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
