package grammar

import (
	"fmt"
	"slices"
)

// finish checks what only the whole schema tells.
func (r *schemaReader) finish(root *shape) error {
	r.settled = map[*shape]bool{}
	for _, s := range r.all(root) {
		if err := r.settle(s); err != nil {
			return err
		}
	}
	for _, o := range r.oneOfs {
		c := &comparison{}
		for i, a := range o.choices {
			for j, b := range o.choices[:i] {
				if !c.disjoint(a, b, maxDeep) {
					return &SchemaError{o.path, "oneOf", fmt.Sprintf("an answer may match alternatives %d and %d, and must match one only; anyOf is supported", j, i)}
				}
			}
		}
	}
	return r.checkReferences(root)
}

// all is the root and the definitions.
func (r *schemaReader) all(root *shape) []*shape {
	list := []*shape{root}
	for _, d := range r.order {
		list = append(list, d.shape)
	}
	return list
}

// settle brings a shape and what is in it into the form that is written.
func (r *schemaReader) settle(s *shape) error {
	if s.any || s.ref != nil || r.settled[s] {
		return nil
	}
	r.settled[s] = true
	r.found = append(r.found, s)
	var err error
	switch {
	case s.choices != nil || s.values != nil:
	case s.kind == kindObject:
		err = s.settleObject()
	case s.kind == kindArray:
		err = s.settleArray()
	case s.kind == kindString:
		if s.text.pattern != "" && (s.text.min > 0 || s.text.max != noMax) {
			err = &SchemaError{s.path, "pattern", "is not supported together with minLength or maxLength; let the pattern count"}
		} else if s.text.max != noMax && s.text.min > s.text.max {
			err = &SchemaError{s.path, "minLength", errNever.Error()}
		}
	}
	for _, part := range s.parts() {
		if err == nil {
			err = r.settle(part)
		}
	}
	return err
}

// parts are the shapes in a shape.
func (s *shape) parts() []*shape {
	list := slices.Concat(s.choices, s.array.prefix)
	for _, name := range s.object.names {
		list = append(list, s.object.properties[name])
	}
	for _, other := range []*shape{s.object.others, s.array.items} {
		if other != nil {
			list = append(list, other)
		}
	}
	return list
}

func (s *shape) settleObject() error {
	o := &s.object
	slices.Sort(o.required)
	o.required = slices.Compact(o.required)
	for _, name := range o.required {
		if o.properties[name] != nil {
			continue
		}
		if o.closed || name == "" || name == "*" {
			return &SchemaError{s.path, "required", fmt.Sprintf("%s is no property", clip(fmt.Sprintf("%q", name)))}
		}
		p := o.others
		if p == nil {
			p = &shape{path: s.path, any: true}
		}
		o.names = append(o.names, name)
		o.properties[name] = p
	}
	if n := len(o.names) - len(o.required); n > MaxOptional {
		return &SchemaError{s.path, "properties", fmt.Sprintf("at most %d properties of an object are optional, got %d", MaxOptional, n)}
	}
	open := len(o.names) == 0 && !o.closed
	if len(o.required) < o.min {
		return &SchemaError{s.path, "minProperties", "is supported up to the number of required properties"}
	}
	if o.max != noMax && (open || len(o.names) > o.max) {
		return &SchemaError{s.path, "maxProperties", "is supported from the number of properties on"}
	}
	return nil
}

func (s *shape) settleArray() error {
	a := &s.array
	if a.max != noMax && a.min > a.max {
		return &SchemaError{s.path, "minItems", errNever.Error()}
	}
	n := len(a.prefix)
	switch {
	case n == 0:
	case a.max != noMax && a.max < n:
		a.prefix = a.prefix[:a.max]
	case a.min > n && (a.closed || a.min > n+MaxSchemaDepth):
		return &SchemaError{s.path, "minItems", fmt.Sprintf("an array of %d kinds of items cannot have so many", n)}
	}
	for n > 0 && len(a.prefix) < a.min {
		item := a.items
		if item == nil {
			item = &shape{path: s.path, any: true}
		}
		a.prefix = append(a.prefix, item)
	}
	return nil
}

// checkReferences refuses definitions that are nothing but themselves, and those that no finite text matches.
func (r *schemaReader) checkReferences(root *shape) error {
	open, done := map[*definition]bool{}, map[*shape]bool{}
	var bare func(s *shape) error
	bare = func(s *shape) error {
		parts := s.choices
		if s.ref != nil {
			if open[s.ref] {
				return &SchemaError{s.path, "$ref", "refers to itself with nothing between"}
			}
			open[s.ref] = true
			defer delete(open, s.ref)
			parts = []*shape{s.ref.shape}
		}
		for _, part := range parts {
			if done[part] {
				continue
			}
			if err := bare(part); err != nil {
				return err
			}
			done[part] = true
		}
		return nil
	}
	for _, s := range r.found { // every shape there is, but for references
		for _, part := range append(s.parts(), s) {
			if err := bare(part); err != nil {
				return err
			}
		}
	}
	for _, s := range r.all(root) {
		if err := bare(s); err != nil {
			return err
		}
	}
	return r.checkEnds()
}

// checkEnds finds the definitions with a finite text: the least fixed point.
func (r *schemaReader) checkEnds() error {
	for changed := true; changed; {
		changed = false
		known := map[*shape]bool{}
		for _, d := range r.order {
			if !d.ends && d.shape.ends(known) {
				d.ends, changed = true, true
			}
		}
	}
	for _, d := range r.order {
		if !d.ends {
			return &SchemaError{d.shape.path, "", "no finite text matches: it contains itself wherever it may end"}
		}
	}
	return nil
}

// ends reports whether a finite text matches, as far as is known about definitions and, in this round, about shapes.
func (s *shape) ends(known map[*shape]bool) bool {
	if ends, ok := known[s]; ok {
		return ends
	}
	ends := func(p *shape) bool { return p.ends(known) }
	endless := func(p *shape) bool { return !p.ends(known) }
	result := true
	switch {
	case s.any || s.values != nil:
	case s.ref != nil:
		result = s.ref.ends
	case s.choices != nil:
		result = slices.ContainsFunc(s.choices, ends)
	case s.kind == kindObject:
		result = !slices.ContainsFunc(s.object.required, func(name string) bool { return endless(s.object.properties[name]) })
	case s.kind == kindArray && len(s.array.prefix) > 0:
		result = !slices.ContainsFunc(s.array.prefix, endless)
	case s.kind == kindArray:
		result = s.array.min == 0 || s.array.items == nil || ends(s.array.items)
	}
	known[s] = result
	return result
}
