package server

import (
	"encoding/json"
	"errors"

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
	c.request.MaxTokens = o.maxTokens(fieldMaxTokensText)
	c.request.NoAnswer = o.integer(fieldMaxTokensText) == 0
	c.logprobs = o.has(fieldLogprobsText)
	c.request.Params.Logprobs, c.request.Params.TopLogprobs = c.logprobs, int(o.integer(fieldLogprobsText))
	c.request.ScorePrompt = o.boolean(fieldEcho) && c.logprobs
	if c.request.ScorePrompt && len(c.spans) > 0 {
		o.failValue(fieldEcho, "with logprobs cannot be combined with spans in aim.focus, which are part of the prompt that it scores")
	}
	o.bestOf(c)
	c.prompts = o.prompts(c)
	if *o.err != nil {
		return nil, *o.err
	}
	if err := c.constrain(c.form); err != nil {
		return nil, err
	}
	c.wire = newTextWire(c)
	return c, s.bound(c)
}

// bestOf reads how many answers to choose from.
func (o *object) bestOf(c *call) {
	best := int(o.integer(fieldBestOf))
	switch {
	case !o.has(fieldBestOf) || best == c.n:
	case best < c.n:
		o.failValue(fieldBestOf, "is %d, must be at least n, which is %d", best, c.n)
	case c.stream:
		o.failValue(fieldBestOf, "is %d, must be n in a stream: which answers are the best is known in the end", best)
	default:
		c.give, c.n = c.n, best
		c.request.Params.Logprobs = true
	}
}

// continuation turns the text of a prompt into tokens: those that ask for what comes after it, or between it and the suffix.
type continuation func(text string) ([]sampler.Token, error)

// continuation reads suffix. Text is trusted, as in other servers: who writes a raw prompt writes its special tokens, too.
func (o *object) continuation(c *call) continuation {
	m, suffix := c.model.Engine.Model(), o.text(fieldSuffix)
	if suffix == "" {
		return func(text string) ([]sampler.Token, error) {
			return m.Tokenize([]llama.Part{{Text: text, Trusted: true}}, true)
		}
	}
	if o.boolean(fieldEcho) {
		o.failValue(fieldEcho, "cannot be combined with suffix")
	}
	filler, ok := m.(llama.Infiller)
	if !ok {
		o.fail(c.unfillable())
	}
	return func(text string) ([]sampler.Token, error) {
		tokens, err := filler.Infill(text, suffix)
		if errors.Is(err, llama.ErrUnsupported) {
			err = c.unfillable()
		}
		return tokens, err
	}
}

func (c *call) unfillable() error {
	return invalid(fieldSuffix.name, codeUnsupported, "suffix is not supported by the model %s: it has no tokens for filling gaps", c.model.ID)
}

// prompts reads a string, a list of strings, a list of token ids, or a list of such lists.
func (o *object) prompts(c *call) []prompt {
	o.require(fieldPrompt)
	continued := o.continuation(c)
	if !o.has(fieldPrompt) || *o.err != nil {
		return nil
	}
	texts, lists := o.textsOrTokens(fieldPrompt)
	switch {
	case *o.err != nil:
		return nil
	case texts != nil:
		return o.textPrompts(c, continued, texts...)
	case len(c.spans) > 0:
		c.spans[0].entry.failValue(fieldSpan, "needs a prompt that is text, not token ids")
		return nil
	case o.text(fieldSuffix) != "":
		o.failValue(fieldSuffix, "needs a prompt that is text, not token ids")
		return nil
	}
	var prompts []prompt
	for _, l := range lists {
		prompts = append(prompts, o.tokenPrompt(c, l.param, l.ids))
	}
	return prompts
}

func (o *object) textPrompts(c *call, continued continuation, texts ...string) []prompt {
	if len(texts) > maxChoices {
		o.failValue(fieldPrompt, "has %d entries, the most is %d", len(texts), maxChoices)
		return nil
	}
	m := c.model.Engine.Model()
	var prompts []prompt
	for _, text := range texts {
		tokens, err := continued(text)
		if err != nil {
			o.untokenizable(err)
			return nil
		}
		if len(tokens) == 0 {
			o.failValue(fieldPrompt, "must not be empty")
			return nil
		}
		p := prompt{tokens: tokens, spans: o.textSpans(m, continued, c.spans, text)}
		if o.boolean(fieldEcho) {
			p.echo = text
		}
		if c.request.ScorePrompt {
			p.offsets = align(m, text, tokens)
		}
		prompts = append(prompts, p)
	}
	return prompts
}

func (o *object) untokenizable(err error) {
	if errors.As(err, new(*apiError)) {
		o.fail(err)
		return
	}
	o.failValue(fieldPrompt, "cannot be tokenized: %v", err)
}

// tokenPrompt reads token ids, which are used as they are.
func (o *object) tokenPrompt(c *call, name string, list []json.RawMessage) prompt {
	m := c.model.Engine.Model()
	if len(list) == 0 {
		o.failAt(name, "must not be empty")
	}
	p := prompt{tokens: o.tokens(m, name, list)}
	var text []byte
	var at offset
	for _, t := range p.tokens {
		var piece []byte
		if m.Kind(t) == llama.Normal {
			piece = m.Piece(t)
		}
		text = append(text, piece...)
		p.offsets = append(p.offsets, at.next(piece))
	}
	if o.boolean(fieldEcho) {
		p.echo = validUTF8(text)
	}
	return p
}
