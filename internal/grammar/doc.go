// Package grammar constrains an answer to a context-free grammar: text in llama.cpp's GBNF becomes a [Grammar], and a [Matcher]
// of it is a [sampler.Mask], which forbids the tokens that cannot continue a text of the grammar.
//
// # Why not llama.cpp's matcher
//
// A grammar comes from a stranger, so its time and memory must be bounded. llama.cpp keeps a list of whole stacks, which an
// ambiguous grammar doubles with every character inside one C call that nobody can interrupt; llama_grammar_accept throws where
// nothing matches, and n repetitions become n rules. A call through cgo for every candidate token, or a mask of the whole
// vocabulary for every step, is slow. And handlers must be testable without a C compiler. The converter from JSON schemas to
// GBNF is llama.cpp's; [PrepareSchema] refuses what it would silently skip, and writes the rest in the forms that it gets right.
//
// # How it works
//
// [Parse] compiles a grammar into a network of nodes (compile.go): one alphabet step, a call of a rule, a branch, a counted
// loop, a return. Repetitions are counted, never unrolled, so a network is as large as its text. A loop's body matches no empty
// text: where it could, the compiler takes the part of it that is not empty. Without left recursion, then, only finitely many
// places can be reached without reading.
//
// A place in a text is a set of configurations, each a node that reads a character and a stack of return addresses and
// counters. Stacks share their tails and equal ones are the same number (stack.go), so that ambiguity joins again. The sets are
// the states of an automaton that is built as it is used (automaton.go): a step that was taken before is one look into a table. A
// token is a walk over its bytes, and half a rune is a state like any other. A mask of the whole vocabulary is one walk over the
// trie of all pieces ([Vocabulary]), remembered for the states that come again, like the inside of a string.
//
// The tables are thrown away when they are full. What a single step costs is bounded, a few milliseconds at the worst: beyond that
// the matcher stops with [ErrBudget] and allows the ends only.
package grammar
