package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// versionOf is the version of a document, or why there is none that is known here.
func versionOf(source string, root ast.Node) (int, *Error) {
	fault := func(n ast.Node, problem, fix string) (int, *Error) {
		line, column := 1, 1
		if n != nil {
			line, column = place(n)
		}
		return 0, &Error{Source: source, Line: line, Column: column, Path: "version", Problem: problem, Fix: fix}
	}
	n := member(root, "version")
	if n == nil {
		if root != nil && !isMapping(root) {
			return fault(root, "the file has no settings at its top", "begin with version: "+strconv.Itoa(Version))
		}
		return fault(nil, "is missing", fmt.Sprintf("add version: %d as the first line", Version))
	}
	i, ok := n.(*ast.IntegerNode)
	version := -1
	if ok {
		if v, err := strconv.Atoi(i.GetToken().Value); err == nil {
			version = v
		}
	}
	switch {
	case version < 0:
		return fault(n, "want a whole number", fmt.Sprintf("write version: %d", Version))
	case version > Version:
		return fault(n, fmt.Sprintf("%d is newer than %d, which this program reads", version, Version), "take a newer aim")
	}
	return version, nil
}

func isMapping(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// pairs are the entries of a mapping, none for another node.
func pairs(n ast.Node) []*ast.MappingValueNode {
	switch x := n.(type) {
	case *ast.MappingNode:
		return x.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{x}
	case *ast.AnchorNode:
		return pairs(x.Value)
	}
	return nil
}

// member is the value of a key, nil where there is none.
func member(n ast.Node, name string) ast.Node {
	for _, p := range pairs(n) {
		if keyName(p.Key) == name {
			return p.Value
		}
	}
	return nil
}

// edit replaces columns from to to, counted from 0 in bytes, of a line, counted from 0.
type edit struct {
	line, from, to int
	text           string
}

// upgrades lead from each version to the next. They change the text, so that comments and order stay.
var upgrades = [Version]struct {
	note  string
	edits func(root ast.Node, lines []string) ([]edit, *Error)
}{
	0: {"level, sigma, noise_window and noise_end of virtual models stand under utility now", underUtility},
}

// Upgrade rewrites a file to the form that this program reads, and says what it changed. A file that has it already comes back as it is.
// Its error is [Errors].
func Upgrade(source string, data []byte) (out []byte, notes []string, err error) {
	for {
		root, err := parse(source, data)
		if err != nil {
			return nil, nil, err
		}
		version, fault := versionOf(source, root)
		if fault != nil {
			return nil, nil, Errors{fault}
		}
		if version == Version {
			return data, notes, nil
		}
		lines := strings.SplitAfter(string(data), "\n")
		edits, fault := upgrades[version].edits(root, lines)
		if fault != nil {
			fault.Source = source
			return nil, nil, Errors{fault}
		}
		n := member(root, "version")
		edits = append(edits, replace(n, strconv.Itoa(version+1)))
		if data, err = apply(lines, edits); err != nil {
			return nil, nil, Errors{{Source: source, Line: 1, Column: 1, Problem: err.Error(), Fix: "rewrite it by hand; aim config example shows the form"}}
		}
		notes = append(notes, upgrades[version].note)
	}
}

// replace puts text in the place of a scalar.
func replace(n ast.Node, text string) edit {
	line, column := place(n)
	return edit{line - 1, column - 1, column - 1 + len(strings.TrimSpace(n.GetToken().Origin)), text}
}

// apply makes the edits, the last first. Columns count characters, and are bytes only where all before them are ASCII.
func apply(lines []string, edits []edit) ([]byte, error) {
	slices.SortFunc(edits, func(a, b edit) int {
		if a.line != b.line {
			return b.line - a.line
		}
		return b.from - a.from
	})
	for _, e := range edits {
		if e.line >= len(lines) || e.to > len(lines[e.line]) || e.from > e.to {
			return nil, fmt.Errorf("line %d cannot be upgraded", e.line+1)
		}
		for _, c := range []byte(lines[e.line][:e.to]) {
			if c >= 0x80 {
				return nil, fmt.Errorf("line %d cannot be upgraded: it has characters beyond ASCII before a setting that moves", e.line+1)
			}
		}
		lines[e.line] = lines[e.line][:e.from] + e.text + lines[e.line][e.to:]
	}
	return []byte(strings.Join(lines, "")), nil
}

// underUtility moves the settings of utility under a key of their own, as version 1 has them.
func underUtility(root ast.Node, lines []string) (edits []edit, fault *Error) {
	moved := []string{"level", "sigma", "noise_window", "noise_end"}
	for _, model := range pairs(member(root, "virtual_models")) {
		var found []*ast.MappingValueNode
		for _, p := range pairs(model.Value) {
			if slices.Contains(moved, keyName(p.Key)) {
				found = append(found, p)
			}
		}
		if len(found) == 0 {
			continue
		}
		flow := false
		if m, ok := model.Value.(*ast.MappingNode); ok {
			flow = m.IsFlowStyle
		}
		for _, p := range found {
			if _, _, scalar := scalarText(p.Value); !scalar {
				line, column := place(p)
				return nil, &Error{Line: line, Column: column, Path: "virtual_models." + keyName(model.Key) + "." + keyName(p.Key), Problem: "want a number or a word"}
			}
		}
		if flow {
			edits = append(edits, intoFlow(found, lines)...)
		} else {
			edits = append(edits, intoBlock(found, lines)...)
		}
	}
	return edits, nil
}

// intoBlock indents lines under a new one, which stands before the first; the comments at their ends go along. Lines that do not stand
// together each move to the first.
func intoBlock(found []*ast.MappingValueNode, lines []string) (edits []edit) {
	first, _ := place(found[0])
	var b strings.Builder
	for i, p := range found {
		n, column := place(p)
		indent := strings.Repeat(" ", column-1)
		if i == 0 {
			b.WriteString(indent + "utility:\n")
		}
		line := lines[n-1]
		b.WriteString(indent + "  " + strings.TrimSpace(line) + "\n")
		if n != first {
			edits = append(edits, edit{n - 1, 0, len(line), ""})
		}
	}
	text := b.String()
	if !strings.HasSuffix(lines[first-1], "\n") {
		text = strings.TrimSuffix(text, "\n")
	}
	return append(edits, edit{first - 1, 0, len(lines[first-1]), text})
}

// intoFlow does the same in {…}: the first becomes utility: {…} with all of them, and the others go.
func intoFlow(found []*ast.MappingValueNode, lines []string) (edits []edit) {
	var parts []string
	for _, p := range found {
		parts = append(parts, keyName(p.Key)+": "+strings.TrimSpace(p.Value.GetToken().Origin))
	}
	for i, p := range found {
		line, column := place(p)
		end := replace(p.Value, "")
		e := edit{line - 1, column - 1, end.to, ""}
		if end.line != e.line {
			e.to = -1 // refused by apply
		}
		if i == 0 {
			e.text = "utility: {" + strings.Join(parts, ", ") + "}"
		} else if e.from = strings.LastIndexByte(lines[e.line][:min(e.from, len(lines[e.line]))], ','); e.from < 0 {
			e.to = -2 // the same
		}
		edits = append(edits, e)
	}
	return edits
}
