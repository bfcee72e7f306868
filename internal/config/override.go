package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Variable is a variable of the environment that overrides a setting.
type Variable struct{ Name, Path, Doc string }

// Variables lists them: all settings that there is one of, but for the version.
func Variables() (list []Variable) {
	for _, s := range settings() {
		if s.fixed && s.leaf() && s.path != "version" {
			list = append(list, Variable{Name: variable(s.path), Path: s.path, Doc: s.doc()})
		}
	}
	return list
}

// variable is the name of the variable that overrides a setting.
func variable(path string) string {
	return "AIM_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// environ takes over what the environment sets. Variables that look like settings and are none give warnings: others put some
// there, as Kubernetes does.
func (c *Config) environ(environ []string) (errs Errors) {
	known := Variables()
	var list []string
	for _, v := range known {
		list = append(list, v.Name)
	}
	for _, line := range environ {
		name, text, _ := strings.Cut(line, "=")
		i := slices.Index(list, name)
		switch {
		case i < 0 && (strings.HasPrefix(name, "AIM_SERVER_") || strings.HasPrefix(name, "AIM_ACCOUNTS_")):
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s: no setting has this variable; %s", name, guess(name, list, "see aim config print --variables: ")))
		case i >= 0 && text != "": // an empty one is as good as none
			if problem := c.set(known[i].Path, text, Origin{From: FromEnvironment, Name: name}); problem != "" {
				errs = append(errs, &Error{Source: name, Path: known[i].Path, Problem: problem})
			}
		}
	}
	return errs
}

// set overrides a setting, and says what is wrong with its text.
func (c *Config) set(path, text string, from Origin) (problem string) {
	for _, x := range c.values() {
		if x.path != path {
			continue
		}
		if problem := setText(x.v, text); problem != "" {
			if x.v.Type() == reflect.TypeFor[DSN]() {
				return problem
			}
			return fmt.Sprintf("%s, not %s", problem, shown(text))
		}
		c.origins[path] = from
		return outside(x.field, x.v)
	}
	return "there is no such setting"
}

// Flags lists the flags of aim serve that override settings.
func Flags() (list []string) {
	for _, s := range settings() {
		if f := strings.TrimPrefix(s.field.Tag.Get("flag"), "!"); f != "" && !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}

// SetFlag overrides a setting by a flag of aim serve, named without its dashes. Flags of a model, or of what is offered of it, need a
// configuration with one of these: which is meant cannot be told of several. Those for adapters are not taken; see [Single].
func (c *Config) SetFlag(flag, text string) error {
	fail := func(problem, fix string) error {
		return Errors{{Source: "--" + flag, Problem: problem, Fix: fix}}
	}
	found := false
	for _, s := range settings() {
		tag := s.field.Tag.Get("flag")
		if strings.TrimPrefix(tag, "!") != flag {
			continue
		}
		found = true
		if s.field.Type.Kind() == reflect.Slice && !s.leaf() || s.in == reflect.TypeFor[Adapters]() {
			return fail("adapters cannot be given beside a file", "set them there, in adapters or adapter_sets")
		}
		path, problem, fix := c.only(s.path)
		if problem != "" {
			return fail(problem, fix)
		}
		if problem = c.set(path, flagText(s, tag, text), Origin{From: FromFlag, Name: "--" + flag}); problem != "" {
			return fail(problem, "")
		}
	}
	if !found {
		return fail("no setting has this flag", "")
	}
	return nil
}

// flagText is a flag's text in the words of the file.
func flagText(s setting, tag, text string) string {
	if b, err := strconv.ParseBool(text); err == nil && strings.HasPrefix(tag, "!") {
		return strconv.FormatBool(!b)
	}
	if n, err := strconv.Atoi(text); err == nil && s.field.Type == reflect.TypeFor[AutoSize]() { // MiB
		if n < 0 {
			return "auto"
		}
		return fmt.Sprintf("%dMiB", n)
	}
	return text
}

// only puts the one name that there is into a path.
func (c *Config) only(path string) (full, problem, fix string) {
	kind, rest, ok := strings.Cut(path, ".NAME.")
	if !ok {
		return path, "", ""
	}
	list := names(c.Models)
	if kind == "virtual_models" {
		list = names(c.VirtualModels)
	}
	if len(list) != 1 {
		return "", fmt.Sprintf("it could be meant for any of %d: %s has %s", len(list), kind, oneOf(list)), "set " + rest + " there"
	}
	return kind + "." + list[0] + "." + rest, "", ""
}

// Single is the configuration of one model that is offered under its own name, as aim serve has it without a file: name is both a base
// model, unlisted, and the one virtual model that is made of it. Flags of either can be set.
func Single(name, file string) *Config {
	c := Default()
	m, v := NewModel(file), NewVirtualModel(name)
	c.Models, c.VirtualModels = map[string]*Model{name: m}, map[string]*VirtualModel{name: v}
	return c
}
