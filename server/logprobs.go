package server

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"aim/llama"
	"aim/sampler"
)

// lowest is what clients know as "not among the most probable"; JSON has no -Inf.
const lowest = -9999.0

// logprobs writes log-probabilities, or nothing where the request asked for none. They are of the modulated distribution.
type logprobs struct {
	model llama.Model
	on    bool
}

func newLogprobs(c *call) *logprobs {
	return &logprobs{c.model.Engine.Model(), c.logprobs}
}

// chatLogprobs are those of a chat completion.
type chatLogprobs struct {
	Content []chatLogprob `json:"content"`
	Refusal *string       `json:"refusal"`
}

type chatLogprob struct {
	chatCandidate
	Top []chatCandidate `json:"top_logprobs"`
}

type chatCandidate struct {
	// Token is the text, with U+FFFD for what is no whole rune; Bytes are exact, and null for tokens without a text.
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

func (l *logprobs) chat(tokens []llama.Sampled) *chatLogprobs {
	if !l.on {
		return nil
	}
	list := &chatLogprobs{Content: make([]chatLogprob, len(tokens))}
	for i, t := range tokens {
		entry := chatLogprob{l.candidate(t.Token, t.Logprob), make([]chatCandidate, len(t.Top))}
		for j, top := range t.Top {
			entry.Top[j] = l.candidate(top.Token, top.Logprob)
		}
		list.Content[i] = entry
	}
	return list
}

func (l *logprobs) candidate(t sampler.Token, logprob float64) chatCandidate {
	piece := l.model.Piece(t)
	c := chatCandidate{Token: validUTF8(piece), Logprob: max(logprob, lowest)}
	if l.model.Kind(t) == llama.Normal {
		c.Bytes = numbers(piece)
	}
	return c
}

// numbers are bytes as JSON has them: encoding/json would make them base64.
func numbers(piece []byte) []int {
	list := make([]int, len(piece))
	for i, b := range piece {
		list[i] = int(b)
	}
	return list
}

// textLogprobs are those of a completion: four lists of equal length. The first token of a prompt has no probability: null.
type textLogprobs struct {
	Tokens     []string             `json:"tokens"`
	Logprobs   []*float64           `json:"token_logprobs"`
	Top        []map[string]float64 `json:"top_logprobs"`
	TextOffset []int                `json:"text_offset"`
}

func (t *textLogprobs) add(name string, logprob *float64, top map[string]float64, at int) {
	t.Tokens = append(t.Tokens, name)
	t.Logprobs = append(t.Logprobs, logprob)
	t.Top = append(t.Top, top)
	t.TextOffset = append(t.TextOffset, at)
}

func newTextLogprobs() *textLogprobs {
	return &textLogprobs{[]string{}, []*float64{}, []map[string]float64{}, []int{}}
}

// prompt lists the tokens of a prompt, with their offsets; nil where it is not scored.
func (l *logprobs) prompt(tokens []llama.Sampled, offsets []int) *textLogprobs {
	if !l.on || len(tokens) == 0 {
		return nil
	}
	list := newTextLogprobs()
	for i, t := range tokens {
		if i == 0 {
			list.add(l.name(t.Token), nil, nil, offsets[i])
			continue
		}
		logprob, top := l.entry(t)
		list.add(l.name(t.Token), &logprob, top, offsets[i])
	}
	return list
}

// text lists tokens, of which the first begins at the given offset of the answer, and moves the offset on.
func (l *logprobs) text(tokens []llama.Sampled, at *offset) *textLogprobs {
	if !l.on {
		return nil
	}
	list := newTextLogprobs()
	for _, t := range tokens {
		logprob, top := l.entry(t)
		var piece []byte
		if l.model.Kind(t.Token) == llama.Normal {
			piece = l.model.Piece(t.Token)
		}
		list.add(l.name(t.Token), &logprob, top, at.next(piece))
	}
	return list
}

// entry is the log-probability of a token and of the most probable ones, among which it always is, so that there may be one
// more than asked for.
func (l *logprobs) entry(t llama.Sampled) (float64, map[string]float64) {
	name, logprob := l.name(t.Token), max(t.Logprob, lowest)
	top := map[string]float64{name: logprob}
	for _, c := range t.Top {
		// Of two tokens with one text, which only control tokens can be, the more probable stays.
		if _, there := top[l.name(c.Token)]; !there {
			top[l.name(c.Token)] = max(c.Logprob, lowest)
		}
	}
	return logprob, top
}

// name is the text of a token as the key of a JSON object. Pieces of runes are spelled as OpenAI does, byte by byte, so
// that they differ.
func (l *logprobs) name(t sampler.Token) string {
	piece := l.model.Piece(t)
	if utf8.Valid(piece) {
		return string(piece)
	}
	var b strings.Builder
	b.WriteString("bytes:")
	for _, c := range piece {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}

// offset is a position in a text, in characters. A token that continues a rune begins where the rune does.
type offset struct {
	runes int
	// open are the bytes of a rune that is not complete.
	open []byte
}

// next returns the position of piece and moves behind it.
func (o *offset) next(piece []byte) int {
	at, before := o.runes, len(o.open)
	o.open = append(o.open, piece...)
	for len(o.open) > 0 && utf8.FullRune(o.open) {
		_, size := utf8.DecodeRune(o.open)
		o.open = o.open[size:]
		o.runes++
		if before -= size; before >= 0 { // it ended before piece, which did not continue it
			at = o.runes
		}
	}
	return at
}

// align finds where in text each token begins, in characters. Control tokens count where the text spells them; a space that a
// tokenizer put before the text does not.
func align(m llama.Model, text string, tokens []sampler.Token) []int {
	offsets := make([]int, len(tokens))
	runes, counted, at := 0, 0, 0 // counted bytes are runes characters; the token begins at byte at
	for i, t := range tokens {
		begin := at
		for begin > counted && begin < len(text) && !utf8.RuneStart(text[begin]) {
			begin--
		}
		runes += utf8.RuneCountInString(text[counted:begin])
		counted = begin
		offsets[i] = runes
		switch piece, rest := string(m.Piece(t)), text[at:]; {
		case strings.HasPrefix(rest, piece):
			at += len(piece)
		case m.Kind(t) != llama.Normal:
		case strings.HasPrefix(piece, " ") && strings.HasPrefix(rest, piece[1:]):
			at += len(piece) - 1
		default: // a tokenizer that rewrites text
			at += min(len(piece), len(rest))
		}
	}
	return offsets
}

// validUTF8 is b with each byte that belongs to no rune shown as U+FFFD, as the engine shows it.
func validUTF8(b []byte) string { return string([]rune(string(b))) }
