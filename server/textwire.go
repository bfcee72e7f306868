package server

import (
	"slices"
	"unicode/utf8"

	"aim/llama"
)

// textWire writes completions.
type textWire struct {
	head    head
	prompts []prompt
	// n is the number of choices for each prompt.
	n        int
	logprobs *logprobs
	// scored says that the log-probabilities begin with those of the prompt.
	scored bool
	// usage says that a stream ends with a chunk for it.
	usage bool
	// offsets are where the next token of each choice begins.
	offsets []offset
}

func newTextWire(c *call) *textWire {
	w := &textWire{
		head:    newHead(newID("cmpl-"), "text_completion", c.model),
		prompts: c.prompts, n: c.given(), logprobs: newLogprobs(c), scored: c.request.ScorePrompt, usage: c.usage,
	}
	w.offsets = make([]offset, len(w.prompts)*w.n)
	for i := range w.offsets {
		w.offsets[i].runes = utf8.RuneCountInString(w.echo(i))
	}
	return w
}

type textCompletion struct {
	head
	Choices []textChoice `json:"choices"`
	extra
}

type textChoice struct {
	Text         string        `json:"text"`
	Index        int           `json:"index"`
	Logprobs     *textLogprobs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"`
}

func (w *textWire) one(c textChoice, x extra) chunk {
	return chunk{data: textCompletion{w.head, []textChoice{c}, x}}
}

// echo is the text before the answer of choice i.
func (w *textWire) echo(i int) string { return w.prompts[i/w.n].echo }

// open sends the echo, unless it comes with the prompt's log-probabilities.
func (w *textWire) open(i int, x extra) []chunk {
	if echo := w.echo(i); echo != "" && !w.scored {
		return []chunk{w.one(textChoice{Index: i, Text: echo}, x)}
	}
	return nil
}

func (w *textWire) delta(i int, p piece, x extra) (list []chunk) {
	if len(p.Prompt) > 0 {
		list = append(list, w.one(textChoice{Index: i, Text: w.echo(i), Logprobs: w.logprobs.prompt(p.Prompt, w.prompts[i/w.n].offsets)}, x))
	}
	if !p.empty() || len(p.Tokens) > 0 {
		list = append(list, w.one(textChoice{Index: i, Text: p.Text, Logprobs: w.logprobs.text(p.Tokens, &w.offsets[i])}, x))
	}
	return list
}

func (w *textWire) finish(i int, a *answer, x extra) []chunk {
	reason := a.reason()
	return []chunk{w.one(textChoice{Index: i, Logprobs: w.ending(i, a), FinishReason: &reason}, x)}
}

// ending is the token that ended an answer whose prompt is scored, nil without one. Who scores a text counts on an entry for
// each token.
func (w *textWire) ending(i int, a *answer) *textLogprobs {
	if !w.scored || a.end == nil {
		return nil
	}
	return w.logprobs.text([]llama.Sampled{*a.end}, &w.offsets[i])
}

func (w *textWire) end(_ []*answer, x extra) []chunk {
	if !w.usage {
		return []chunk{done}
	}
	return []chunk{{data: textCompletion{w.head, []textChoice{}, x}}, done}
}

// fail sends no [DONE], like that of a chat.
func (w *textWire) fail(e *apiError) []chunk { return []chunk{{data: e}} }

func (w *textWire) whole(answers []*answer, x extra) any {
	choices := make([]textChoice, len(answers))
	for i, a := range answers {
		reason := a.reason()
		choices[i] = textChoice{
			Text: w.echo(i) + a.text.String(), Index: i, FinishReason: &reason,
			Logprobs: joined(w.logprobs.prompt(a.prompt, w.prompts[i/w.n].offsets), w.logprobs.text(a.tokens, &w.offsets[i]), w.ending(i, a)),
		}
	}
	return textCompletion{w.head, choices, x}
}

// joined are lists one after another; nil ones are empty, and it is nil where all are.
func joined(lists ...*textLogprobs) (all *textLogprobs) {
	for _, l := range lists {
		switch {
		case l == nil:
		case all == nil:
			all = l
		default:
			all = &textLogprobs{
				slices.Concat(all.Tokens, l.Tokens), slices.Concat(all.Logprobs, l.Logprobs),
				slices.Concat(all.Top, l.Top), slices.Concat(all.TextOffset, l.TextOffset),
			}
		}
	}
	return all
}
