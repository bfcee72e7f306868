package server

import (
	"strings"

	"aim/internal/chat"
	"aim/llama"
	"aim/sampler"
)

// span is an entry of focus on a part of the prompt:
//
//	{"span": "only vegetarian dishes", "strength": 0.8, "index": 0}
//
// It is resolved when the prompt is known.
type span struct {
	// entry is where errors belong.
	entry    *object
	text     string
	strength float64
	// index is the occurrence that is meant, -1 where the entry does not say.
	index int
}

// span reads an entry of focus on a part of the prompt.
func (o *object) span() span {
	s := span{entry: o, text: o.text(fieldSpan), strength: o.number(fieldStrength), index: -1}
	if index := int(o.integer(fieldSpanIndex)); o.has(fieldSpanIndex) {
		s.index = index
	}
	o.require(fieldStrength)
	o.closed()
	if s.text == "" {
		o.failValue(fieldSpan, "is empty")
	}
	return s
}

// cut takes the span out of the one of the texts in which it is found; where says what the texts are.
func (s span) cut(where string, texts []string) []string {
	n := 0
	for _, text := range texts {
		n += strings.Count(text, s.text)
	}
	switch {
	case n == 0:
		s.entry.failValue(fieldSpan, "does not occur in %s: %q", where, clip(s.text))
	case s.index >= n:
		s.entry.failValue(fieldSpanIndex, "is %d, but the span occurs %d times in %s, counted from 0", s.index, n, where)
	case s.index < 0 && n > 1:
		s.entry.failValue(fieldSpan, "occurs %d times in %s; add index, from 0 to %d, to say which is meant", n, where, n-1)
	default:
		return s.cutAt(max(s.index, 0), texts)
	}
	return nil
}

// cutAt takes out the k-th occurrence, which there is.
func (s span) cutAt(k int, texts []string) []string {
	rest := append([]string{}, texts...)
	for i, text := range texts {
		n := strings.Count(text, s.text)
		if k >= n {
			k -= n
			continue
		}
		from := 0
		for ; k > 0; k-- {
			from += strings.Index(text[from:], s.text) + len(s.text)
		}
		from += strings.Index(text[from:], s.text)
		rest[i] = llama.Cut(text, from, from+len(s.text))
		break
	}
	return rest
}

// twin is the focus of a span whose twin has that prompt.
func (s span) twin(m llama.Model, without []sampler.Token) (twin sampler.Span) {
	if len(without) == 0 {
		s.entry.failValue(fieldSpan, "is the whole prompt")
		return twin
	}
	twin, err := llama.NewSpan(m, s.text, without, s.strength)
	if err != nil {
		s.entry.failValue(fieldSpan, "cannot be tokenized: %v", err)
	}
	return twin
}

// chatSpans makes the twins of a conversation: what the template makes of it without each span.
func (c *call) chatSpans(d dialogue) (twins []sampler.Span, err error) {
	texts := make([]string, len(d.messages))
	for i, m := range d.messages {
		texts[i] = m.Content
	}
	for _, s := range c.spans {
		rest := s.cut("the messages", texts)
		if rest == nil {
			return nil, *s.entry.err
		}
		if s.strength == 0 {
			continue
		}
		without := append([]chat.Message{}, d.messages...)
		for i := range without {
			without[i].Content = rest[i]
		}
		tokens, _, err := c.conversation(d, without)
		if err != nil {
			return nil, err
		}
		twins = append(twins, s.twin(c.model.Engine.Model(), tokens))
	}
	if len(c.spans) > 0 {
		return twins, *c.spans[0].entry.err
	}
	return nil, nil
}

// textSpans makes the twins of a prompt that is text, as it is given.
func (o *object) textSpans(m llama.Model, continued continuation, spans []span, prompt string) (twins []sampler.Span) {
	for _, s := range spans {
		rest := s.cut("the prompt", []string{prompt})
		if rest == nil {
			return nil
		}
		if s.strength == 0 {
			continue
		}
		tokens, err := continued(rest[0])
		if err != nil {
			o.untokenizable(err)
			return nil
		}
		twins = append(twins, s.twin(m, tokens))
	}
	return twins
}

// width is the number of the engine's places that each choice takes.
func (c *call) width() int {
	n := 1
	for _, s := range c.spans {
		if s.strength != 0 {
			n++
		}
	}
	return n
}

// fits makes sure that the twins can run beside their answers.
func (c *call) fits(cfg llama.Config) error {
	for _, p := range c.prompts {
		for _, twin := range p.spans {
			if len(twin.Without) >= cfg.Context {
				return &llama.TooLongError{Prompt: len(twin.Without), Context: cfg.Context}
			}
		}
	}
	if n := c.width(); n > min(cfg.Slots, cfg.Batch) {
		return invalid("aim.focus", codeValue, "aim.focus has %d spans, which take %d slots with the answer's own; the server has %d",
			n-1, n, min(cfg.Slots, cfg.Batch))
	}
	return nil
}
