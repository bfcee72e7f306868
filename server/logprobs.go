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
	return &logprobs{c.model.Engine.Model(), c.request.Params.Logprobs}
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
		c.Bytes = make([]int, len(piece))
		for i, b := range piece {
			c.Bytes[i] = int(b)
		}
	}
	return c
}

// textLogprobs are those of a completion: four lists of equal length.
type textLogprobs struct {
	Tokens     []string             `json:"tokens"`
	Logprobs   []float64            `json:"token_logprobs"`
	Top        []map[string]float64 `json:"top_logprobs"`
	TextOffset []int                `json:"text_offset"`
}

// text lists tokens, of which the first begins at the given offset of the answer, and moves the offset on.
func (l *logprobs) text(tokens []llama.Sampled, at *offset) *textLogprobs {
	if !l.on {
		return nil
	}
	list := &textLogprobs{[]string{}, []float64{}, []map[string]float64{}, []int{}}
	for _, t := range tokens {
		name, logprob := l.name(t.Token), max(t.Logprob, lowest)
		// The chosen token is always among the top ones, so there may be one more than asked for.
		top := map[string]float64{name: logprob}
		for _, c := range t.Top {
			// Of two tokens with one text, which only control tokens can be, the more probable stays.
			if _, there := top[l.name(c.Token)]; !there {
				top[l.name(c.Token)] = max(c.Logprob, lowest)
			}
		}
		list.Tokens = append(list.Tokens, name)
		list.Logprobs = append(list.Logprobs, logprob)
		list.Top = append(list.Top, top)
		var piece []byte
		if l.model.Kind(t.Token) == llama.Normal {
			piece = l.model.Piece(t.Token)
		}
		list.TextOffset = append(list.TextOffset, at.next(piece))
	}
	return list
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

// validUTF8 is b with each byte that belongs to no rune shown as U+FFFD, as the engine shows it.
func validUTF8(b []byte) string { return string([]rune(string(b))) }
