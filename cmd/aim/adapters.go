package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"aim/llama"
	"aim/llama/cpp"
	"aim/models"
)

// adapterOptions are the flags for adapters as they were given.
type adapterOptions struct {
	loras, vectors, layers []string
	// sets, where there are any, take the place of the flags.
	sets []namedAdapters
	// named says that a NAME may be given, which makes a model of its own.
	named bool
}

// flags defines them.
func (o *adapterOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	name, what := "", "LoRA adapters to apply, FILE[@SCALE],…"
	if o.named {
		name, what = "[NAME=]", "LoRA adapters, [NAME=]FILE[@SCALE],…: as a model of their own with that name, or without one for all; may be repeated"
	}
	f.StringArrayVar(&o.loras, "lora", nil, what)
	f.StringArrayVar(&o.vectors, "control-vector", nil, "control vectors, in the same form")
	f.StringArrayVar(&o.layers, "control-vector-layers", nil, name+"FIRST-LAST: layers that control vectors act on, from 1 (default: all)")
}

// namedAdapters is a set of adapters that is served under a name; "" is the model's own, which are in every set.
type namedAdapters struct {
	name string
	cpp.Adapters
}

// parse reads the flags. The first set is the model's own; the others follow in the order in which they were named first.
func (o *adapterOptions) parse() ([]namedAdapters, error) {
	if o.sets != nil {
		return o.sets, nil
	}
	sets := []namedAdapters{{}}
	set := func(name string) *namedAdapters {
		for i := range sets {
			if sets[i].name == name {
				return &sets[i]
			}
		}
		sets = append(sets, namedAdapters{name: name})
		return &sets[len(sets)-1]
	}
	for _, kind := range []struct {
		flag   string
		values []string
		list   func(*namedAdapters) *[]cpp.AdapterFile
	}{
		{"lora", o.loras, func(s *namedAdapters) *[]cpp.AdapterFile { return &s.LoRA }},
		{"control-vector", o.vectors, func(s *namedAdapters) *[]cpp.AdapterFile { return &s.ControlVectors }},
	} {
		for _, value := range kind.values {
			name, rest, err := o.cutName(value)
			if err == nil {
				list := kind.list(set(name))
				*list, err = appendFiles(*list, rest)
			}
			if err != nil {
				return nil, usageError{fmt.Errorf("--%s %q: %w", kind.flag, value, err)}
			}
		}
	}
	if err := o.parseLayers(sets); err != nil {
		return nil, err
	}
	for i := 1; i < len(sets); i++ {
		sets[i].inherit(&sets[0])
	}
	return sets, nil
}

// parseLayers reads the layers of sets that have control vectors.
func (o *adapterOptions) parseLayers(sets []namedAdapters) error {
	for _, value := range o.layers {
		fail := func(err error) error { return usageError{fmt.Errorf("--control-vector-layers %q: %w", value, err)} }
		name, rest, err := o.cutName(value)
		if err != nil {
			return fail(err)
		}
		at := slices.IndexFunc(sets, func(s namedAdapters) bool { return s.name == name })
		if at < 0 || len(sets[at].ControlVectors)+len(sets[0].ControlVectors) == 0 {
			return fail(errors.New("there is no --control-vector that it could be for"))
		}
		first, last, _ := strings.Cut(rest, "-")
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || from < 1 || to < from {
			return fail(errors.New("want FIRST-LAST, such as 10-20, with FIRST at least 1 and at most LAST"))
		}
		sets[at].FirstLayer, sets[at].LastLayer = int(from), int(to)
	}
	return nil
}

// inherit puts the model's own adapters before those of a set. Layers that the set does not give are the model's own.
func (s *namedAdapters) inherit(own *namedAdapters) {
	s.LoRA = slices.Concat(own.LoRA, s.LoRA)
	s.ControlVectors = slices.Concat(own.ControlVectors, s.ControlVectors)
	if s.LastLayer == 0 {
		s.FirstLayer, s.LastLayer = own.FirstLayer, own.LastLayer
	}
}

// modelName is what a set may be called: what fits into a path of a URL.
var modelName = regexp.MustCompile(`^[A-Za-z0-9._:/-]+$`)

// cutName takes NAME= off. Nothing before the sign is no name, for files that have the sign in theirs.
func (o *adapterOptions) cutName(value string) (name, rest string, err error) {
	name, rest, ok := strings.Cut(value, "=")
	switch {
	case !ok:
		return "", value, nil
	case name == "":
		return "", rest, nil
	case !o.named:
		return "", "", errors.New("only serve takes a NAME; a file with = in its name is given as =FILE")
	case !modelName.MatchString(name):
		return "", "", fmt.Errorf("the name %q has characters beside letters, digits and . _ : / -; a file with = in its name is given as =FILE", name)
	}
	return name, rest, nil
}

// appendFiles reads FILE[@SCALE],… to the end of a list.
func appendFiles(list []cpp.AdapterFile, text string) ([]cpp.AdapterFile, error) {
	for item := range strings.SplitSeq(text, ",") {
		f := cpp.AdapterFile{Path: item, Scale: 1}
		if at := strings.LastIndexByte(item, '@'); at >= 0 {
			if scale, err := strconv.ParseFloat(item[at+1:], 64); err == nil {
				if math.IsNaN(scale) || math.Abs(scale) > math.MaxFloat32 {
					return nil, fmt.Errorf("the scale %s is not a finite number of 32 bits", item[at+1:])
				}
				f.Path, f.Scale = item[:at], scale
			}
		}
		if f.Path == "" {
			return nil, errors.New("want FILE[@SCALE],…: a file is missing")
		}
		list = append(list, f)
	}
	return list, nil
}

// variant is a model under a set of adapters, as it is served.
type variant struct {
	name string
	set  llama.AdapterSet
	// identity tells its adapters from others, for what is kept between two starts; empty without any.
	identity []string
}

// loadAdapters loads the sets, and lists what is served under them: the model itself first.
func (e *engine) loadAdapters(o *adapterOptions) error {
	sets, err := o.parse()
	if err != nil {
		return err
	}
	loaded := make([]cpp.Adapters, len(sets))
	for i, s := range sets {
		v := variant{name: e.name, set: llama.AdapterSet(i)}
		if i > 0 {
			v.name = s.name
			if s.name == e.name {
				return usageError{fmt.Errorf("adapters are named %s, as the model is; without a name they are the model's own", s.name)}
			}
		}
		if v.identity, err = s.identity(); err != nil {
			return err
		}
		s.Name = v.name
		loaded[i] = s.Adapters
		e.variants = append(e.variants, v)
	}
	if len(sets) == 1 && len(e.variants[0].identity) == 0 {
		return nil
	}
	return e.model.LoadAdapters(loaded)
}

// identity has a text for each adapter.
func (s *namedAdapters) identity() (list []string, err error) {
	add := func(kind string, files []cpp.AdapterFile) {
		for _, f := range files {
			id, e := models.Identity(f.Path)
			if e != nil && err == nil {
				err = fmt.Errorf("%s %s: %w", kind, f.Path, e)
			}
			list = append(list, fmt.Sprintf("%s %s %v", kind, id, f.Scale))
		}
	}
	add("LoRA", s.LoRA)
	add("control vector", s.ControlVectors)
	if len(s.ControlVectors) > 0 && s.LastLayer > 0 {
		list = append(list, fmt.Sprintf("layers %d to %d", s.FirstLayer, s.LastLayer))
	}
	return list, err
}
