package grammar

// check finds what only the whole text tells: rules that are missing or recurse to their left. It leaves in every expression
// whether it matches the empty text.
func (p *parser) check() error {
	root, ok := p.names["root"]
	if !ok || p.rules[root].body == nil {
		return p.errorAt(0, "there is no rule named root")
	}
	for _, r := range p.rules {
		if r.body == nil {
			return p.errorAt(r.at, "rule %q is not defined", r.name)
		}
	}
	p.findNullable()
	return p.findLeftRecursion()
}

// findNullable marks the expressions that match the empty text. What is marked is told once to those that wait for it, so the
// time is linear.
func (p *parser) findNullable() {
	waiting := map[*expr][]*expr{} // by part or, for references, by the rule's body
	missing := map[*expr]int{}     // sequences: parts that are not marked yet
	var work []*expr
	var enter func(e *expr)
	enter = func(e *expr) {
		switch e.form {
		case formSeq:
			missing[e] = len(e.parts)
		case formRef:
			body := p.rules[e.rule].body
			waiting[body] = append(waiting[body], e)
		case formAlt, formRepeat, formSet:
		}
		if e.form == formSeq && len(e.parts) == 0 || e.form == formRepeat && e.min == 0 {
			work = append(work, e)
		}
		for _, part := range e.parts {
			if part.form != formSet { // which is never empty
				waiting[part] = append(waiting[part], e)
				enter(part)
			}
		}
	}
	for _, r := range p.rules {
		enter(r.body)
	}
	for len(work) > 0 {
		e := work[len(work)-1]
		work = work[:len(work)-1]
		if e.nullable {
			continue
		}
		e.nullable = true
		for _, w := range waiting[e] {
			if missing[w]--; w.form != formSeq || missing[w] == 0 {
				work = append(work, w)
			}
		}
	}
}

// findLeftRecursion refuses rules that can call themselves before reading anything: matching them would never end.
func (p *parser) findLeftRecursion() error {
	const (
		unseen = iota
		open
		done
	)
	state := make([]uint8, len(p.rules))
	var visit func(id int32) error
	visit = func(id int32) error {
		state[id] = open
		var err error
		p.rules[id].body.first(func(e *expr) {
			switch {
			case err != nil:
			case state[e.rule] == open:
				err = p.errorAt(e.at, "left recursion: %q reaches itself here without reading a character", p.rules[e.rule].name)
			case state[e.rule] == unseen:
				err = visit(e.rule)
			}
		})
		state[id] = done
		return err
	}
	for i := range p.rules {
		if state[i] == unseen {
			if err := visit(int32(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// first calls f for every reference that can come first in e.
func (e *expr) first(f func(*expr)) {
	switch {
	case e.form == formRef:
		f(e)
	case e.form == formRepeat && e.max == 0:
	default:
		for _, part := range e.parts {
			part.first(f)
			if e.form == formSeq && !part.nullable {
				return
			}
		}
	}
}
