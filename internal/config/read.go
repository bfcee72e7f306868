package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// maxVisits bounds the nodes that are read of a file, where aliases count as what they stand for, and maxDepth how deep they go.
const (
	maxVisits = 100_000
	maxDepth  = 32
)

// reader puts a document into a configuration, and collects what is wrong with it.
type reader struct {
	c       *Config
	source  string
	errs    Errors
	anchors map[string]ast.Node
	visits  int
}

// fail notes a mistake at a node.
func (r *reader) fail(n ast.Node, path, problem, fix string) {
	line, column := place(n)
	r.errs = append(r.errs, &Error{Source: r.source, Line: line, Column: column, Path: path, Problem: problem, Fix: fix})
}

// place is where a node begins.
func place(n ast.Node) (line, column int) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return place(m.Values[0])
	}
	if v, ok := n.(*ast.MappingValueNode); ok { // its own token is the colon
		return place(v.Key)
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1, 1
	}
	p := n.GetToken().Position
	return p.Line, p.Column
}

// at notes where a setting came from.
func (r *reader) at(n ast.Node, path string) {
	line, column := place(n)
	r.c.origins[path] = Origin{From: FromFile, Name: r.source, Line: line, Column: column}
}

// resolve strips anchors, and follows aliases. It returns nil where that fails, which is noted.
func (r *reader) resolve(n ast.Node, path string) ast.Node {
	for range maxDepth {
		if r.visits++; r.visits > maxVisits {
			if r.visits == maxVisits+1 {
				r.fail(n, path, fmt.Sprintf("the file stands for more than %d values", maxVisits), "use fewer aliases")
			}
			return nil
		}
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
		case *ast.AliasNode:
			name := x.Value.String()
			target, ok := r.anchors[name]
			if !ok {
				r.fail(x, path, fmt.Sprintf("there is no anchor &%s", name), "")
				return nil
			}
			n = target
		case *ast.TagNode:
			r.fail(x, path, "tags such as "+x.GetToken().Value+" are not read here", "leave it out")
			return nil
		case nil:
			return nil
		default:
			return n
		}
	}
	r.fail(n, path, "an alias stands for itself", "")
	return nil
}

// entry is a key of a mapping with its value, which is nil where it has none.
type entry struct {
	name  string
	key   ast.Node
	value ast.Node
}

// entries lists a mapping's keys in their order. Those of its own come before those merged into it, which count where it has none of that name.
func (r *reader) entries(n ast.Node, path string, depth int) (list []entry, ok bool) {
	var own []*ast.MappingValueNode
	switch x := n.(type) {
	case *ast.MappingNode:
		own = x.Values
	case *ast.MappingValueNode:
		own = []*ast.MappingValueNode{x}
	case *ast.NullNode, nil:
		return nil, true
	default:
		r.fail(n, path, "want settings, as name: value, each on a line of its own", "")
		return nil, false
	}
	if depth > maxDepth {
		r.fail(n, path, fmt.Sprintf("is more than %d levels deep", maxDepth), "")
		return nil, false
	}
	seen := map[string]int{}
	var merged []entry
	for _, v := range own {
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			more, _ := r.entries(r.resolve(v.Value, path), path, depth+1)
			merged = append(merged, more...)
			continue
		}
		name := keyName(v.Key)
		if line, twice := seen[name]; twice {
			r.fail(v.Key, join(path, name), fmt.Sprintf("stands in line %d already", line), "remove one of them")
			continue
		}
		seen[name], _ = place(v.Key)
		list = append(list, entry{name, v.Key, v.Value})
	}
	for _, e := range merged {
		if _, own := seen[e.name]; !own {
			seen[e.name], _ = place(e.key)
			list = append(list, e)
		}
	}
	return list, true
}

// keyName is the text of a key.
func keyName(k ast.MapKeyNode) string {
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	return k.GetToken().Value
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// object reads a group of settings.
func (r *reader) object(n ast.Node, v reflect.Value, path string) {
	list, ok := r.entries(n, path, strings.Count(path, "."))
	if !ok {
		return
	}
	t := v.Type()
	given := map[string]bool{}
	for _, e := range list {
		f, ok := fieldOf(t, e.name)
		if !ok {
			r.unknown(e, t, path)
			continue
		}
		given[e.name] = true
		r.field(e, f, v.FieldByIndex(f.Index), join(path, e.name))
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("check") == "required" && !given[key(f)] {
			r.fail(n, join(path, key(f)), "is missing", "")
		}
	}
}

func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); key(f) == name && name != "" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// unknown refuses a key, and says which was meant as far as that can be guessed.
func (r *reader) unknown(e entry, t reflect.Type, path string) {
	var names, elsewhere []string
	for i := range t.NumField() {
		if k := key(t.Field(i)); k != "" {
			names = append(names, k)
		}
	}
	for _, s := range settings() {
		if s.key == e.name && s.leaf() {
			elsewhere = append(elsewhere, s.path)
		}
	}
	fix := "there are " + oneOf(names)
	switch n := nearest(e.name, names); {
	case n != "":
		fix = fmt.Sprintf("did you mean %s?", n)
	case len(elsewhere) > 0:
		fix = "it belongs to " + strings.Join(elsewhere, " or ")
	}
	r.fail(e.key, join(path, e.name), "there is no such setting", fix)
}

// field reads a setting.
func (r *reader) field(e entry, f reflect.StructField, v reflect.Value, path string) {
	n := r.resolve(e.value, path)
	if n == nil {
		return
	}
	if _, empty := n.(*ast.NullNode); empty && isLeaf(f.Type) {
		if f.Tag.Get("check") == "required" {
			r.fail(e.key, path, "is missing", "")
		}
		return // as if it were not there
	}
	switch {
	case isLeaf(f.Type) && f.Type.Kind() == reflect.Map:
		r.values(n, v, path)
	case isLeaf(f.Type) && f.Type.Kind() == reflect.Slice:
		r.list(n, f, v, path)
	case isLeaf(f.Type):
		r.at(n, path)
		def := reflect.ValueOf(v.Interface())
		if r.scalar(n, v, path) && !r.domain(n, f, v, path) {
			v.Set(def) // so that nothing else is said to contradict it
		}
	case f.Type.Kind() == reflect.Map:
		r.named(n, v, path)
	case f.Type.Kind() == reflect.Slice:
		r.objects(n, v, path)
	default:
		r.object(n, v, path)
	}
}

// domain refuses what is outside of a field's domain, and says whether nothing is.
func (r *reader) domain(n ast.Node, f reflect.StructField, v reflect.Value, path string) bool {
	problem := outside(f, v)
	if problem != "" {
		r.fail(n, path, problem, "")
	}
	return problem == ""
}

// named reads a map of groups by names of the user's.
func (r *reader) named(n ast.Node, v reflect.Value, path string) {
	list, ok := r.entries(n, path, strings.Count(path, "."))
	if !ok {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range list {
		at := join(path, e.name)
		if problem := badName(e.name); problem != "" {
			r.fail(e.key, at, problem, "")
			continue
		}
		item := reflect.New(v.Type().Elem().Elem())
		setDefaults(item.Elem())
		r.at(e.key, at)
		if inner := r.resolve(e.value, at); inner != nil {
			if _, empty := inner.(*ast.NullNode); empty {
				inner = e.key // for the place of what is missing
				r.required(inner, item.Elem().Type(), at)
			} else {
				r.object(inner, item.Elem(), at)
			}
		}
		v.SetMapIndex(reflect.ValueOf(e.name), item)
	}
}

// required refuses an empty group that must have something.
func (r *reader) required(n ast.Node, t reflect.Type, path string) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("check") == "required" {
			r.fail(n, join(path, key(f)), "is missing", "")
		}
	}
}

// badName says what is wrong with the name of a model or of a set, "" for nothing.
func badName(name string) string {
	if name == "" || len(name) > 128 {
		return "want a name of 1 to 128 characters"
	}
	for _, c := range name {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.:@+/", c) {
			continue
		}
		return fmt.Sprintf("the name %q has %q; want letters, digits and -_.:@+/", name, c)
	}
	return ""
}

// items are the entries of a list.
func (r *reader) items(n ast.Node, path string) ([]ast.Node, bool) {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values, true
	}
	r.fail(n, path, "want a list, such as [a, b]", "")
	return nil, false
}

// objects reads a list of groups.
func (r *reader) objects(n ast.Node, v reflect.Value, path string) {
	if _, empty := n.(*ast.NullNode); empty {
		return
	}
	nodes, ok := r.items(n, path)
	if !ok {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(nodes), len(nodes)))
	for i, item := range nodes {
		at := path + "[" + strconv.Itoa(i) + "]"
		setDefaults(v.Index(i))
		if inner := r.resolve(item, at); inner != nil {
			r.object(inner, v.Index(i), at)
		}
	}
}

// list reads a list of scalars.
func (r *reader) list(n ast.Node, f reflect.StructField, v reflect.Value, path string) {
	nodes, ok := r.items(n, path)
	if !ok {
		return
	}
	r.at(n, path)
	v.Set(reflect.MakeSlice(v.Type(), 0, len(nodes)))
	for i, item := range nodes {
		at := path + "[" + strconv.Itoa(i) + "]"
		x := reflect.New(v.Type().Elem()).Elem()
		inner := r.resolve(item, at)
		if inner == nil || !r.scalar(inner, x, at) {
			continue
		}
		if problem := outsideOfField(f, x); problem != "" {
			r.fail(inner, at, problem, "")
			continue
		}
		v.Set(reflect.Append(v, x))
	}
}

// scalar reads a value, and says whether it could.
func (r *reader) scalar(n ast.Node, v reflect.Value, path string) bool {
	text, quoted, ok := scalarText(n)
	if !ok {
		r.fail(n, path, "want "+kindName(v.Type())+", not a group or a list", "")
		return false
	}
	plain := v.Kind() == reflect.String
	_, isString := n.(*ast.StringNode)
	_, isLiteral := n.(*ast.LiteralNode)
	switch {
	case plain && !isString && !isLiteral:
		r.fail(n, path, fmt.Sprintf("want text, and %s is read as %s", text, strings.ToLower(n.Type().String())), fmt.Sprintf("write %q", text))
		return false
	case quoted && (v.Kind() == reflect.Bool || v.Type() == reflect.TypeFor[int]() || v.Kind() == reflect.Float64):
		r.fail(n, path, fmt.Sprintf("want %s, not the text %q", kindName(v.Type()), text), "leave the quotes out")
		return false
	}
	if problem := setText(v, text); problem != "" {
		r.fail(n, path, fmt.Sprintf("%s, not %s", problem, shown(text)), "")
		return false
	}
	return true
}

// shown is a text as errors have it.
func shown(text string) string {
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	return strconv.Quote(text)
}

// scalarText is the text of a scalar, and whether it stands in quotes.
func scalarText(n ast.Node) (text string, quoted, ok bool) {
	switch x := n.(type) {
	case *ast.StringNode:
		t := x.GetToken()
		return x.Value, t != nil && strings.HasPrefix(strings.TrimSpace(t.Origin), `"`) || t != nil && strings.HasPrefix(strings.TrimSpace(t.Origin), "'"), true
	case *ast.LiteralNode:
		return x.Value.Value, true, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, false, true
	}
	return "", false, false
}

// kindName is what a value of the type is called.
func kindName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration"
	case t == reflect.TypeFor[Size](), t == reflect.TypeFor[AutoSize]():
		return "a size"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindName(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	default:
		return "text"
	}
}

// values reads a map of values of any kind, as requests have them.
func (r *reader) values(n ast.Node, v reflect.Value, path string) {
	list, ok := r.entries(n, path, strings.Count(path, "."))
	if !ok {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range list {
		at := join(path, e.name)
		inner := r.resolve(e.value, at)
		if inner == nil {
			continue
		}
		r.at(inner, at)
		if x, ok := r.any(inner, at, 0); ok {
			v.SetMapIndex(reflect.ValueOf(e.name), reflect.ValueOf(Value{x}))
		}
	}
}

// any reads a value of any kind.
func (r *reader) any(n ast.Node, path string, depth int) (x any, ok bool) {
	if depth > maxDepth {
		r.fail(n, path, fmt.Sprintf("is more than %d levels deep", maxDepth), "")
		return nil, false
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return nil, true
	case *ast.BoolNode:
		return n.Value, true
	case *ast.SequenceNode:
		list := []any{}
		for i, item := range n.Values {
			at := path + "[" + strconv.Itoa(i) + "]"
			if inner := r.resolve(item, at); inner != nil {
				x, ok := r.any(inner, at, depth+1)
				if !ok {
					return nil, false
				}
				list = append(list, x)
			}
		}
		return list, true
	case *ast.MappingNode, *ast.MappingValueNode:
		entries, ok := r.entries(n, path, depth)
		if !ok {
			return nil, false
		}
		m := map[string]any{}
		for _, e := range entries {
			inner := r.resolve(e.value, join(path, e.name))
			if inner == nil {
				continue
			}
			if m[e.name], ok = r.any(inner, join(path, e.name), depth+1); !ok {
				return nil, false
			}
		}
		return m, true
	}
	return r.number(n, path)
}

// number reads a number or a text.
func (r *reader) number(n ast.Node, path string) (any, bool) {
	text, _, ok := scalarText(n)
	if !ok {
		r.fail(n, path, "cannot be read", "")
		return nil, false
	}
	switch n.(type) {
	case *ast.IntegerNode:
		if i, err := strconv.ParseInt(text, 0, 64); err == nil {
			return i, true
		}
	case *ast.FloatNode:
		if x, err := strconv.ParseFloat(text, 64); err == nil {
			return x, true
		}
	case *ast.StringNode, *ast.LiteralNode:
		return text, true
	}
	r.fail(n, path, shown(text)+" is no number", "")
	return nil, false
}

// outsideOfField is [outside] for an entry of a list.
func outsideOfField(f reflect.StructField, x reflect.Value) string {
	if check := f.Tag.Get("check"); check != "" {
		return outsideOf(check, x)
	}
	return ""
}

// findAnchors collects the anchors of a document.
func findAnchors(root ast.Node) map[string]ast.Node {
	m := map[string]ast.Node{}
	for _, n := range ast.Filter(ast.AnchorType, root) {
		if a, ok := n.(*ast.AnchorNode); ok && a.Value != nil {
			m[a.Name.String()] = a.Value
		}
	}
	return m
}

// names are those of a map's entries, in order.
func names[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
