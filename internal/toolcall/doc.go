// Package toolcall reads a model's answer: it tells content, reasoning and calls of tools apart, in the wire format of the
// model's family, while the text arrives; and it writes the grammars that force a call in that format.
//
// What a model spells is taken as a call only where it has the family's form and names one of the tools of the request. Until
// that is known the text is held back; text that turns out not to be a call is given back as content. From then on the
// arguments are handed over as they arrive, so an answer that ends early leaves arguments that end early.
package toolcall

import "encoding/json"

// Tool is a function that the model may call.
type Tool struct {
	Name string
	// Parameters is a JSON schema of an object; empty where the function takes none.
	Parameters json.RawMessage
	Strict     bool
}

// Mode says whether the model has to call.
type Mode int

// The modes of tool_choice.
const (
	Auto Mode = iota
	None
	Required
	Named
)

// Choice is a request's tool_choice. Name is for [Named] only.
type Choice struct {
	Mode Mode
	Name string
}

// Options are what a parser and a grammar depend on.
type Options struct {
	Format Format
	Tools  []Tool
	Choice Choice
	// Parallel lets a grammar allow several calls. The parser reports as many as the model makes.
	Parallel bool
	// Reasoning splits thoughts off the content; without it they and their tags are content.
	Reasoning bool
	// Open says that the prompt ended inside a thought.
	Open bool
}

// Delta is what an answer grows by: one of content, reasoning and a call.
type Delta struct {
	Content, Reasoning string
	Call               *CallDelta
}

// CallDelta is what a call grows by. ID and Name come with the first one of a call only; Arguments add up to JSON text.
type CallDelta struct {
	Index               int
	ID, Name, Arguments string
}

// tools are the functions that may be called under the choice.
func (o Options) tools() []Tool {
	switch o.Choice.Mode {
	case None:
		return nil
	case Named:
		for _, t := range o.Tools {
			if t.Name == o.Choice.Name {
				return []Tool{t}
			}
		}
		return nil
	case Auto, Required:
	}
	return o.Tools
}
