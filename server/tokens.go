package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"aim/llama"
	"aim/sampler"
)

// tokenized answers POST /tokenize: llama-server's tokens, and the count and bound that vLLM gives.
type tokenized struct {
	Tokens []any `json:"tokens"`
	Count  int   `json:"count"`
	Max    int   `json:"max_model_len"`
}

// tokenPiece is a token with its text: a string, or the bytes where those are part of a rune.
type tokenPiece struct {
	ID    sampler.Token `json:"id"`
	Piece any           `json:"piece"`
}

// tokenize serves POST /tokenize.
func (s *Server) tokenize(c *gin.Context) { s.answer(c, s.parseTokenize) }

// parseTokenize reads a request for tokens, and answers it.
func (s *Server) parseTokenize(o *object) (any, error) {
	m, err := s.modelOf(o)
	if err != nil {
		return nil, err
	}
	pieces := o.boolean(fieldWithPieces)
	tokens, err := o.tokenized(m)
	if err != nil {
		return nil, err
	}
	list := make([]any, len(tokens))
	for i, t := range tokens {
		if list[i] = t; pieces {
			list[i] = tokenPiece{t, spelling(m.Engine.Model().Piece(t))}
		}
	}
	return tokenized{list, len(tokens), m.context()}, nil
}

// tokenized are the tokens of a request's text, or of the prompt of its conversation.
func (o *object) tokenized(m *served) ([]sampler.Token, error) {
	text, trusted, special := o.text(fieldTokenText), o.boolean(fieldParseSpecial), o.boolean(fieldAddSpecial)
	switch talks := o.has(fieldTokenMessages); {
	case talks && o.has(fieldTokenText):
		o.failValue(fieldTokenMessages, "cannot be combined with %s", o.param(fieldTokenText))
	case talks && m.NoTemplate: // its tokens, as text, are what /apply-template gives
		return nil, templateHidden(m)
	case talks:
		c := &call{model: m, n: 1}
		if err := c.converseAs(o, fieldTokenMessages); err != nil {
			return nil, err
		}
		return c.prompts[0].tokens, nil
	case !o.has(fieldTokenText):
		o.missing(fieldTokenText, " where there are no messages")
	}
	if *o.err != nil {
		return nil, *o.err
	}
	tokens, err := m.Engine.Model().Tokenize([]llama.Part{{Text: text, Trusted: trusted}}, special)
	if err != nil {
		return nil, invalid(o.param(fieldTokenText), codeValue, "%s cannot be tokenized: %v", o.param(fieldTokenText), err)
	}
	return tokens, nil
}

// spelling is a piece as a string, or as numbers where it is no whole text.
func spelling(piece []byte) any {
	if utf8.Valid(piece) {
		return string(piece)
	}
	return numbers(piece)
}

// detokenized answers POST /detokenize, under the names of llama-server and of vLLM.
type detokenized struct {
	Content string `json:"content"`
	Prompt  string `json:"prompt"`
}

// detokenize serves POST /detokenize.
func (s *Server) detokenize(c *gin.Context) {
	s.answer(c, func(o *object) (any, error) {
		m, err := s.modelOf(o)
		if err != nil {
			return nil, err
		}
		o.require(fieldTokens)
		tokens := o.tokens(m.Engine.Model(), o.param(fieldTokens), o.array(fieldTokens))
		if *o.err != nil {
			return nil, *o.err
		}
		var text []byte
		for _, t := range tokens {
			text = append(text, m.Engine.Model().Piece(t)...)
		}
		valid := validUTF8(text)
		return detokenized{valid, valid}, nil
	})
}

// tokenList is a list of token ids at param, a full name.
type tokenList struct {
	param string
	ids   []json.RawMessage
}

// textsOrTokens reads a field that is a text or texts, or a list of token ids or several.
func (o *object) textsOrTokens(f *field) (texts []string, lists []tokenList) {
	if typeOf(o.take(f)) == isString {
		return o.strings(f), nil
	}
	items := o.array(f)
	if len(items) == 0 {
		o.failValue(f, "must not be empty")
		return nil, nil
	}
	switch first := typeOf(items[0]); {
	case first == isString:
		return o.strings(f), nil
	case first != isArray:
		return nil, []tokenList{{o.param(f), items}}
	}
	for i, item := range items {
		l := tokenList{param: o.item(f, i)}
		if json.Unmarshal(item, &l.ids) != nil {
			o.failType(l.param, "an array of token ids", item)
			return nil, nil
		}
		lists = append(lists, l)
	}
	return nil, lists
}

// tokens reads ids of the model's tokens.
func (o *object) tokens(m llama.Model, param string, list []json.RawMessage) []sampler.Token {
	tokens := make([]sampler.Token, len(list))
	for i, raw := range list {
		item := fmt.Sprintf("%s[%d]", param, i)
		if tokens[i] = o.token(item, raw); int(tokens[i]) >= m.Vocab() {
			o.failAt(item, "is %d, must be a token in [0, %d]", tokens[i], m.Vocab()-1)
		}
		if *o.err != nil {
			return nil
		}
	}
	return tokens
}

// rendered answers POST /apply-template.
type rendered struct {
	Prompt string `json:"prompt"`
}

// applyTemplate serves POST /apply-template: the prompt that a chat request would have, as text.
func (s *Server) applyTemplate(c *gin.Context) {
	call, err := s.admitted(c, s.parseChat, func(*call) int { return 0 })
	if err != nil {
		s.fail(c, err)
		return
	}
	if call.model.NoTemplate {
		s.fail(c, templateHidden(call.model))
		return
	}
	writeJSON(c, http.StatusOK, rendered{call.text})
}

func templateHidden(m *served) error {
	return forbidden("model", "template_not_shown", m.ID+" does not show its template")
}
