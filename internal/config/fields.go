package config

import (
	_ "embed"
	"encoding"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// setting is a field of the configuration as the types declare it.
type setting struct {
	// path has NAME where a map takes names of the user's, and [] for the entries of a list.
	path string
	// key is the last part of path.
	key   string
	field reflect.StructField
	// in is the type that has the field.
	in reflect.Type
	// now says that a reload changes it without a restart, fixed that there is one of it, outside of maps and lists.
	now, fixed bool
}

// def is the text of its default.
func (s *setting) def() string { return s.field.Tag.Get("default") }

// doc is its description.
func (s *setting) doc() string { return docs()[s.in.Name()+"."+s.field.Name] }

// leaf says that it is a value and not a group of settings.
func (s *setting) leaf() bool { return isLeaf(s.field.Type) }

// key is the name of a field in files, "" for fields that have none.
func key(f reflect.StructField) string { return strings.TrimPrefix(f.Tag.Get("yaml"), "-") }

// isLeaf says that a type is a value and not a group of settings.
func isLeaf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		return t == reflect.TypeFor[Value]()
	case reflect.Map:
		return t.Elem() == reflect.TypeFor[Value]()
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Struct
	case reflect.Pointer:
		return t.Elem().Kind() != reflect.Struct
	default:
		return true
	}
}

// settings lists all that can be set, groups before what is in them.
var settings = sync.OnceValue(func() (list []setting) {
	var visit func(t reflect.Type, prefix string, now, fixed bool)
	visit = func(t reflect.Type, prefix string, now, fixed bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if key(f) == "" {
				continue
			}
			s := setting{
				path: prefix + key(f), key: key(f), field: f, in: t, now: now || f.Tag.Get("apply") == "now", fixed: fixed,
			}
			inner, next, single := f.Type, s.path+".", fixed
			switch {
			case isLeaf(f.Type):
			case f.Type.Kind() == reflect.Map:
				inner, next, single = f.Type.Elem().Elem(), s.path+".NAME.", false
			case f.Type.Kind() == reflect.Slice:
				inner, next, single = f.Type.Elem(), s.path+"[].", false
			}
			list = append(list, s)
			if !isLeaf(f.Type) {
				visit(inner, next, s.now, single)
			}
		}
	}
	visit(reflect.TypeFor[Config](), "", false, true)
	return list
})

//go:embed types.go
var source string

// docs are the comments of the fields, by Type.Field. They are read from the source, so that each is written once.
var docs = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", source, parser.ParseComments)
	if err != nil {
		panic(err) // it was compiled
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					m[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return false
	})
	return m
})

// setDefaults puts the defaults into a struct and the structs in it.
func setDefaults(v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case key(f) == "":
		case f.Type.Kind() == reflect.Struct && !isLeaf(f.Type):
			setDefaults(v.Field(i))
		case f.Tag.Get("default") != "":
			if problem := setText(v.Field(i), f.Tag.Get("default")); problem != "" {
				panic(f.Name + ": " + problem) // a tag of ours; a test reads them all
			}
		}
	}
}

// Default is the configuration of an empty file.
func Default() *Config {
	c := &Config{Version: Version}
	setDefaults(reflect.ValueOf(c).Elem())
	c.origins = map[string]Origin{}
	return c
}

// NewModel is a base model with nothing but its file set.
func NewModel(file string) *Model {
	m := &Model{}
	setDefaults(reflect.ValueOf(m).Elem())
	m.File = file
	return m
}

// NewVirtualModel is a virtual model with nothing but its base set.
func NewVirtualModel(base string) *VirtualModel {
	m := &VirtualModel{}
	setDefaults(reflect.ValueOf(m).Elem())
	m.Base = base
	return m
}

// value is a setting of a configuration at hand.
type value struct {
	path string
	// now says that a reload changes it without a restart.
	now   bool
	field reflect.StructField
	v     reflect.Value
}

// values lists the settings of a struct that are values, those of maps in the order of their names.
func values(v reflect.Value, prefix string, now bool) (list []value) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if key(f) == "" {
			continue
		}
		x := value{path: prefix + key(f), now: now || f.Tag.Get("apply") == "now", field: f, v: v.Field(i)}
		switch {
		case isLeaf(f.Type):
			list = append(list, x)
		case f.Type.Kind() == reflect.Map:
			for _, k := range sortedKeys(x.v) {
				list = append(list, values(x.v.MapIndex(reflect.ValueOf(k)).Elem(), x.path+"."+k+".", x.now)...)
			}
		case f.Type.Kind() == reflect.Slice:
			for j := range x.v.Len() {
				list = append(list, values(x.v.Index(j), x.path+"["+strconv.Itoa(j)+"].", x.now)...)
			}
		default:
			list = append(list, values(x.v, x.path+".", x.now)...)
		}
	}
	return list
}

// values lists all settings of c that are values.
func (c *Config) values() []value { return values(reflect.ValueOf(c).Elem(), "", false) }

// sortedKeys are the keys of a map from strings.
func sortedKeys(m reflect.Value) []string {
	keys := make([]string, 0, m.Len())
	for _, k := range m.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}

var durationType = reflect.TypeFor[time.Duration]()

// setText sets a value from its text in a default, the environment, a flag or a scalar of a file. It says what is wrong, "" for nothing. Lists are
// separated by commas.
func setText(v reflect.Value, text string) (problem string) {
	if v.Type() == durationType {
		d, err := time.ParseDuration(text)
		if err != nil {
			return "want a duration such as 500ms, 30s or 10m"
		}
		v.SetInt(int64(d))
		return ""
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return err.Error()
		}
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return "want true or false"
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, strconv.IntSize)
		if err != nil {
			return "want a whole number"
		}
		v.SetInt(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || x != x {
			return "want a number"
		}
		v.SetFloat(x)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return setText(v.Elem(), text)
	case reflect.Slice:
		return setList(v, text)
	default:
		return "cannot be set by a text"
	}
	return ""
}

// setList sets a list from its entries, separated by commas.
func setList(v reflect.Value, text string) (problem string) {
	v.Set(reflect.Zero(v.Type()))
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		entry := reflect.New(v.Type().Elem()).Elem()
		if problem := setText(entry, part); problem != "" {
			return problem
		}
		v.Set(reflect.Append(v, entry))
	}
	return ""
}
