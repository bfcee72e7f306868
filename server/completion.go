package server

import (
	"encoding/json"
	"fmt"

	"github.com/gin-gonic/gin"

	"aim/llama"
	"aim/sampler"
)

// defaultMaxTokens bounds a completion whose request does not say, as at OpenAI.
const defaultMaxTokens = 16

// completions serves POST /v1/completions.
func (s *Server) completions(c *gin.Context) { s.complete(c, s.parseCompletion) }

// parseCompletion reads a completion request.
func (s *Server) parseCompletion(o *object) (*call, error) {
	c, err := s.common(o)
	if err != nil {
		return nil, err
	}
	o.unsupported(fieldSuffix, filled)
	o.unsupported(fieldBestOf, func(json.RawMessage) bool { return o.integer(fieldBestOf) != int64(c.n) })
	c.request.MaxTokens = o.maxTokens(fieldMaxTokensText)
	c.request.Params.Logprobs = o.has(fieldLogprobsText)
	c.request.Params.TopLogprobs = int(o.integer(fieldLogprobsText))
	echo := o.boolean(fieldEcho)
	if echo && o.has(fieldLogprobsText) {
		o.failValue(fieldEcho, "cannot be combined with logprobs: log-probabilities of the prompt are not supported yet")
	}
	c.prompts = o.prompts(c, echo)
	if *o.err != nil {
		return nil, *o.err
	}
	c.wire = newTextWire(c)
	return c, s.bound(c)
}

// prompts reads a string, a list of strings, a list of token ids, or a list of such lists. Text is trusted, as in other
// servers: who writes a raw prompt writes its special tokens, too.
func (o *object) prompts(c *call, echo bool) []prompt {
	m := c.model.Engine.Model()
	o.require(fieldPrompt)
	raw := o.take(fieldPrompt)
	if raw == nil {
		return nil
	}
	if typeOf(raw) == isString {
		return o.textPrompts(c, echo, o.text(fieldPrompt))
	}
	items := o.array(fieldPrompt)
	if len(items) == 0 {
		o.failValue(fieldPrompt, "must not be empty")
		return nil
	}
	first := typeOf(items[0])
	if len(c.spans) > 0 && first != isString {
		c.spans[0].entry.failValue(fieldSpan, "needs a prompt that is text, not token ids")
		return nil
	}
	switch first {
	case isString:
		return o.textPrompts(c, echo, o.strings(fieldPrompt)...)
	case isArray:
		var prompts []prompt
		for i, item := range items {
			var list []json.RawMessage
			name := o.item(fieldPrompt, i)
			if json.Unmarshal(item, &list) != nil {
				o.failType(name, "an array of token ids", item)
				return nil
			}
			prompts = append(prompts, o.tokenPrompt(m, echo, name, list))
		}
		return prompts
	default:
		return []prompt{o.tokenPrompt(m, echo, o.param(fieldPrompt), items)}
	}
}

func (o *object) textPrompts(c *call, echo bool, texts ...string) []prompt {
	m := c.model.Engine.Model()
	if len(texts) > maxChoices {
		o.failValue(fieldPrompt, "has %d entries, the most is %d", len(texts), maxChoices)
		return nil
	}
	var prompts []prompt
	for _, text := range texts {
		tokens, err := m.Tokenize([]llama.Part{{Text: text, Trusted: true}}, true)
		if err != nil {
			o.failValue(fieldPrompt, "cannot be tokenized: %v", err)
			return nil
		}
		if len(tokens) == 0 {
			o.failValue(fieldPrompt, "must not be empty")
			return nil
		}
		p := prompt{tokens: tokens, spans: o.textSpans(m, c.spans, text)}
		if echo {
			p.echo = text
		}
		prompts = append(prompts, p)
	}
	return prompts
}

// tokenPrompt reads token ids, which are used as they are.
func (o *object) tokenPrompt(m llama.Model, echo bool, name string, list []json.RawMessage) prompt {
	if len(list) == 0 {
		o.failAt(name, "must not be empty")
	}
	p := prompt{tokens: make([]sampler.Token, 0, len(list))}
	var text []byte
	for i, raw := range list {
		item := fmt.Sprintf("%s[%d]", name, i)
		t := o.token(item, raw)
		if int(t) >= m.Vocab() {
			o.failAt(item, "is %d, must be a token in [0, %d]", t, m.Vocab()-1)
		}
		if *o.err != nil {
			return p
		}
		p.tokens = append(p.tokens, t)
		if echo && m.Kind(t) == llama.Normal {
			text = append(text, m.Piece(t)...)
		}
	}
	p.echo = validUTF8(text)
	return p
}
