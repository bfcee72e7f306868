package server

import "aim/llama"

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
