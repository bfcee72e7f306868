package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Bounds of a file. The parser takes time by the square of some of them.
const (
	maxFile    = 256 << 10
	maxLines   = 8192
	maxLine    = 8192
	maxBracket = 64
)

// Options say what else is looked at beside the file. The zero value looks at nothing else.
type Options struct {
	// Environ is the environment as [os.Environ] has it.
	Environ []string
	// Parameters knows the sampling parameters of requests; nil takes any.
	Parameters Parameters
}

// Parameters knows the sampling parameters of requests.
type Parameters interface {
	// Names lists those that may have defaults, and Bounds those that may have bounds.
	Names() []string
	Bounds() []string
	// Check says what is wrong with a value, nil for nothing. The value is one of those that [Value] lists.
	Check(name string, value any) error
}

// Load reads a file. Its error is [Errors] where the file can be read at all. Paths in the file that are relative begin at its folder.
func Load(path string, o Options) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	c, err := Parse(path, data, o)
	if err != nil {
		return nil, err
	}
	c.rebase(filepath.Dir(path))
	return c, nil
}

// Parse reads the text of a file, which is named source in errors. Its error is [Errors]. Relative paths stay as they are.
func Parse(source string, data []byte, o Options) (*Config, error) {
	root, err := parse(source, data)
	if err != nil {
		return nil, err
	}
	var warnings []string
	version, fault := versionOf(source, root)
	if fault != nil {
		return nil, Errors{fault}
	}
	if version < Version {
		upgraded, notes, err := Upgrade(source, data)
		if err != nil {
			return nil, err
		}
		for _, n := range notes {
			warnings = append(warnings, fmt.Sprintf("%s: %s", source, n))
		}
		warnings = append(warnings, fmt.Sprintf("%s is of version %d; aim config upgrade %s rewrites it", source, version, source))
		source += " (as aim config upgrade writes it)"
		if root, err = parse(source, upgraded); err != nil {
			return nil, err
		}
	}
	c := Default()
	c.source, c.Warnings = source, warnings
	r := &reader{c: c, source: source, anchors: findAnchors(root)}
	r.object(r.resolve(root, ""), reflect.ValueOf(c).Elem(), "")
	errs := append(r.errs, c.environ(o.Environ)...)
	errs = append(errs, c.contradictions()...)
	errs = append(errs, c.parameters(o.Parameters)...)
	if err := errs.sorted().err(); err != nil {
		return nil, err
	}
	return c, nil
}

// FromEnviron is the configuration where there is no file.
func FromEnviron(o Options) (*Config, error) {
	c := Default()
	return c, c.environ(o.Environ).err()
}

// Check looks again at a configuration that was changed, such as by flags. Its error is [Errors].
func (c *Config) Check(o Options) error {
	errs := c.domains()
	errs = append(errs, c.contradictions()...)
	return append(errs, c.parameters(o.Parameters)...).err()
}

// parse makes a document of a text.
func parse(source string, data []byte) (root ast.Node, err error) {
	if fault := tooMuch(source, data); fault != nil {
		return nil, Errors{fault}
	}
	defer func() {
		if recover() != nil { // a mistake of the parser
			root, err = nil, Errors{{Source: source, Line: 1, Column: 1, Problem: "this YAML cannot be parsed"}}
		}
	}()
	file, err := parser.ParseBytes(data, parser.ParseComments, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, Errors{syntaxError(source, err)}
	}
	for _, d := range file.Docs {
		switch {
		case d.Body == nil:
		case d.Body.Type() == ast.CommentType:
		case root == nil:
			root = d.Body
		default:
			line, column := place(d.Body)
			return nil, Errors{{Source: source, Line: line, Column: column, Problem: "the file has a second document", Fix: "remove the --- before it"}}
		}
	}
	return root, nil
}

// tooMuch refuses what would take the parser long, or deep.
func tooMuch(source string, data []byte) *Error {
	fault := func(line int, problem string, a ...any) *Error {
		return &Error{Source: source, Line: line, Column: 1, Problem: fmt.Sprintf(problem, a...)}
	}
	if len(data) > maxFile {
		return fault(1, "the file is larger than %v", Size(maxFile))
	}
	line, depth := 0, 0
	for text := range strings.Lines(string(data)) {
		if line++; line > maxLines {
			return fault(line, "the file has more than %d lines", maxLines)
		}
		if len(text) > maxLine {
			return fault(line, "the line is longer than %d bytes", maxLine)
		}
		if n := strings.Count(text, "- "); n > maxBracket && strings.Trim(text[:2*maxBracket], "- ") == "" {
			return fault(line, "lists are nested more than %d deep", maxBracket)
		}
		if strings.HasPrefix(strings.TrimSpace(text), "#") {
			continue
		}
		depth = max(0, depth+strings.Count(text, "[")+strings.Count(text, "{")-strings.Count(text, "]")-strings.Count(text, "}"))
		if depth > maxBracket || strings.Count(text, "[")+strings.Count(text, "{") > 16*maxBracket {
			return fault(line, "more than %d brackets are open", maxBracket)
		}
	}
	return nil
}

// syntaxError is an error of the parser in our form.
func syntaxError(source string, err error) *Error {
	e := &Error{Source: source, Line: 1, Column: 1, Problem: err.Error()}
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		e.Problem = syntax.GetMessage()
		if t := syntax.GetToken(); t != nil && t.Position != nil {
			e.Line, e.Column = t.Position.Line, t.Position.Column
		}
	}
	if strings.Contains(e.Problem, `'	'`) {
		e.Problem, e.Fix = "a tab stands where spaces must", "indent with spaces"
	}
	return e
}

// rebase makes the relative paths of the file start at its folder.
func (c *Config) rebase(dir string) {
	for _, x := range c.values() {
		if x.v.Kind() != reflect.String || c.Origin(x.path).From != FromFile {
			continue
		}
		text := x.v.String()
		switch x.field.Tag.Get("path") {
		case "dsn":
			if strings.Contains(text, "://") || strings.Contains(text, "=") || text == ":memory:" {
				continue
			}
		case "model": // a name without a folder is one in the models folder
			if !isPath(text) {
				continue
			}
		case "file", "new":
		default:
			continue
		}
		if text != "" && !filepath.IsAbs(text) {
			x.v.SetString(filepath.Join(dir, text))
		}
	}
}

// Missing refuses what names a file that is not there, or cannot be read. Names of models are not looked up.
func (c *Config) Missing() error {
	var errs Errors
	for _, x := range c.values() {
		kind, text := x.field.Tag.Get("path"), text(x.v)
		if text == "" || kind != "file" && (kind != "model" || !isPath(text)) {
			continue
		}
		f, err := os.Open(text)
		if err != nil {
			errs = append(errs, c.fault(x.path, err.Error(), ""))
			continue
		}
		if info, err := f.Stat(); err == nil && info.IsDir() {
			errs = append(errs, c.fault(x.path, text+" is a folder", "name a file in it"))
		}
		_ = f.Close()
	}
	return errs.sorted().err()
}

// isPath says that what names a model is a path, and not a name in the models folder nor in a repository.
func isPath(text string) bool {
	return strings.ContainsRune(text, filepath.Separator) && !strings.Contains(text, ":")
}
