package server

import (
	"bytes"
	"math"
	"slices"

	"aim/internal/grammar"
	"aim/internal/toolcall"
	"aim/llama"
	"aim/sampler"
)

// mask forbids tokens in one choice: those that logit_bias forbids, and those that the grammar does not allow.
type mask struct {
	// banned is in order.
	banned []sampler.Token
	// matcher is nil where there is no grammar.
	matcher *grammar.Matcher
	// thoughts is not nil while the grammar waits for the end of reasoning.
	thoughts *thoughts
}

// mask is that of one choice, nil where nothing is forbidden.
func (c *call) mask() sampler.Mask {
	if len(c.banned) == 0 && c.grammar == nil {
		return nil
	}
	m := &mask{banned: c.banned}
	if c.grammar != nil {
		m.matcher = c.grammar.Matcher(c.model.words.of(c.request.ShowControl))
		if c.thinking && !c.tools.forced() { // the grammar of a forced call has the thought before it
			m.thoughts = &thoughts{model: c.model.Engine.Model()}
		}
	}
	return m
}

// bound is the matcher, nil where none has a say yet.
func (m *mask) bound() *grammar.Matcher {
	if m.thoughts != nil {
		return nil
	}
	return m.matcher
}

// Apply implements [sampler.Mask].
func (m *mask) Apply(logits []float32) {
	if g := m.bound(); g != nil {
		g.Apply(logits)
	}
	for _, t := range m.banned {
		logits[t] = float32(math.Inf(-1))
	}
}

// Allows implements [sampler.Mask].
func (m *mask) Allows(t sampler.Token) bool {
	if _, banned := slices.BinarySearch(m.banned, t); banned {
		return false
	}
	g := m.bound()
	return g == nil || g.Allows(t)
}

// Accept implements [sampler.Mask].
func (m *mask) Accept(t sampler.Token) {
	if g := m.bound(); g != nil {
		g.Accept(t)
	}
	if m.thoughts != nil && m.thoughts.over(t) {
		m.thoughts = nil
	}
}

// maskError says why the grammar could not go on, once the answer has ended.
func maskError(m sampler.Mask) error {
	if m, ok := m.(*mask); ok && m.matcher != nil {
		return m.matcher.Err()
	}
	return nil
}

// thoughts waits for the end of reasoning, which no grammar shall constrain.
type thoughts struct {
	model llama.Model
	tail  []byte // of the text so far
}

// over takes a token and reports whether the text has come to a tag that ends them.
func (t *thoughts) over(token sampler.Token) bool {
	t.tail = append(t.tail, t.model.Piece(token)...)
	for _, tags := range toolcall.ThoughtTags {
		if bytes.Contains(t.tail, []byte(tags[1])) {
			return true
		}
	}
	const most = 64 // more than the longest tag
	t.tail = t.tail[max(0, len(t.tail)-most):]
	return false
}
