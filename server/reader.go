package server

import (
	"aim/internal/toolcall"
	"aim/llama"
)

// reader makes sense of the text of one choice: it tells answer, reasoning and calls of tools apart. Its pieces have no tokens.
type reader interface {
	// Add reads more text.
	Add(text string) []piece
	// End says that no more comes.
	End() []piece
}

// plain takes all text for the answer.
type plain struct{}

// Add implements reader.
func (plain) Add(text string) []piece {
	if text == "" {
		return nil
	}
	return []piece{{Text: text}}
}

// End implements reader.
func (plain) End() []piece { return nil }

// parsing reads answers with reasoning or calls of tools in the form that the model's template has taught it.
type parsing struct{ parser *toolcall.Parser }

// Add implements reader.
func (p parsing) Add(text string) []piece { return pieces(p.parser.Add(text)) }

// End implements reader.
func (p parsing) End() []piece { return pieces(p.parser.End()) }

func pieces(deltas []toolcall.Delta) (list []piece) {
	for _, d := range deltas {
		if d.Reasoning != "" {
			list = append(list, piece{Reasoning: d.Reasoning})
		}
		if d.Content != "" {
			list = append(list, piece{Text: d.Content})
		}
		if d.Call != nil {
			call := callDelta(*d.Call)
			list = append(list, piece{Call: &call})
		}
	}
	return list
}

// readPieces reads what a choice has yielded. Its tokens go with the first piece, and alone where there is none.
func readPieces(r reader, d llama.Delta) []piece {
	pieces := r.Add(d.Text)
	if d.Finish != "" {
		pieces = append(pieces, r.End()...)
	}
	if len(pieces) == 0 && (len(d.Tokens) > 0 || len(d.Prompt) > 0) {
		pieces = []piece{{}}
	}
	if len(pieces) > 0 {
		pieces[0].Tokens, pieces[0].Prompt = d.Tokens, d.Prompt
	}
	return pieces
}
