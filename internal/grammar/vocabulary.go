package grammar

import (
	"bytes"
	"slices"

	"aim/sampler"
)

// Kind tells what a token is to a grammar.
type Kind int

const (
	// Text is a token that stands for its piece: an ordinary one, or a control token whose spelling is part of the answer.
	Text Kind = iota
	// Control is a token that no grammar allows.
	Control
	// End is a token that ends the answer. It is allowed where the text may end.
	End
)

// Vocabulary is what a model's tokens spell, as a trie. It does not change, and may be used by many goroutines.
type Vocabulary struct {
	size   int
	pieces []byte
	starts []int32 // by token, one more than there are; a token without text has none
	ends   []sampler.Token
	isEnd  []uint64 // bits

	nodes  []trieNode
	tokens []sampler.Token // those with text, in the order of their pieces
	depth  int
}

// trieNode is a node of the trie, which lists each node before what lies below it.
type trieNode struct {
	skip   int32 // the first node that is not below this one
	lo, hi int32 // tokens that end here
	depth  int16
	label  byte
}

// maxPiece is the longest piece that is taken; a longer one is never allowed.
const maxPiece = 1 << 10

// NewVocabulary reads the n tokens of a model: piece gives a token's bytes, which may be a part of a rune, and kind what it is.
// Tokens without bytes are never allowed.
func NewVocabulary(n int, piece func(sampler.Token) []byte, kind func(sampler.Token) Kind) *Vocabulary {
	v := &Vocabulary{size: n, starts: make([]int32, n+1), isEnd: make([]uint64, (n+63)/64)}
	for t := range sampler.Token(n) {
		v.starts[t] = int32(len(v.pieces))
		switch kind(t) {
		case End:
			v.ends = append(v.ends, t)
			v.isEnd[t/64] |= 1 << (t % 64)
		case Text:
			if p := piece(t); len(p) > 0 && len(p) <= maxPiece {
				v.pieces = append(v.pieces, p...)
				v.tokens = append(v.tokens, t)
			}
		case Control:
		}
	}
	v.starts[n] = int32(len(v.pieces))
	slices.SortFunc(v.tokens, func(a, b sampler.Token) int { return bytes.Compare(v.piece(a), v.piece(b)) })
	v.build(0, len(v.tokens), 0)
	return v
}

func (v *Vocabulary) piece(t sampler.Token) []byte { return v.pieces[v.starts[t]:v.starts[t+1]] }

func (v *Vocabulary) ending(t sampler.Token) bool { return v.isEnd[t/64]>>(t%64)&1 != 0 }

// build adds the nodes of tokens[lo:hi], which agree in their first depth bytes and are longer.
func (v *Vocabulary) build(lo, hi, depth int) {
	v.depth = max(v.depth, depth)
	for lo < hi {
		label := v.piece(v.tokens[lo])[depth]
		end := lo
		for end < hi && v.piece(v.tokens[end])[depth] == label {
			end++
		}
		longer := lo
		for longer < end && len(v.piece(v.tokens[longer])) == depth+1 {
			longer++
		}
		n := len(v.nodes)
		v.nodes = append(v.nodes, trieNode{lo: int32(lo), hi: int32(longer), depth: int16(depth), label: label})
		v.build(longer, end, depth+1)
		v.nodes[n].skip = int32(len(v.nodes))
		lo = end
	}
}
