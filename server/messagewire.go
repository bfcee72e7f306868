package server

import (
	"encoding/json"
	"strings"

	"aim/llama"
)

// messageWire writes answers of Anthropic's Messages API: blocks that open and close one after the other, in the order in which the model
// yields them.
type messageWire struct {
	head   messageHead
	prompt int
	blocks []*contentBlock
	// running says that the last block is open.
	running bool
}

func newMessageWire(c *call) *messageWire {
	return &messageWire{head: messageHead{newID("msg_"), "message", "assistant", c.model.ID}, prompt: c.promptTokens()}
}

// unsigned is the signature of thoughts, which nobody checks.
const unsigned = "unsigned"

type messageHead struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Role  string `json:"role"`
	Model string `json:"model"`
}

// contentBlock is a part of an answer.
type contentBlock struct {
	kind blockKind
	text strings.Builder
	// id and name are those of a call, whose input text is.
	id, name string
}

// blockKind is the type of a block.
type blockKind string

const (
	blockText     blockKind = "text"
	blockThinking blockKind = "thinking"
	blockCall     blockKind = "tool_use"
)

// The blocks as they are encoded.
type (
	textBlock struct {
		Type blockKind `json:"type"`
		Text string    `json:"text"`
	}
	thinkingBlock struct {
		Type      blockKind `json:"type"`
		Thinking  string    `json:"thinking"`
		Signature string    `json:"signature"`
	}
	callBlock struct {
		Type  blockKind       `json:"type"`
		ID    string          `json:"id"`
		Name  string          `json:"name"`
		Input json.RawMessage `json:"input"`
	}
)

// encoded is the block with the given text. The input of a call that was cut off is empty.
func (b *contentBlock) encoded(text string) any {
	switch b.kind {
	case blockThinking:
		signature := ""
		if text != "" {
			signature = unsigned
		}
		return thinkingBlock{b.kind, text, signature}
	case blockCall:
		input := json.RawMessage(text)
		if !json.Valid(input) || typeOf(input) != isObject {
			input = json.RawMessage("{}")
		}
		return callBlock{b.kind, b.id, b.name, input}
	case blockText:
	}
	return textBlock{b.kind, text}
}

// message is an answer as it stands.
type message struct {
	messageHead
	Content []any `json:"content"`
	stopped
	Usage   messageUsage `json:"usage"`
	Timings *timings     `json:"timings,omitempty"`
	Aim     *aimField    `json:"aim,omitempty"`
}

// stopped says why an answer ended.
type stopped struct {
	Reason   *string `json:"stop_reason"`
	Sequence *string `json:"stop_sequence"`
}

// messageUsage counts tokens. Those of the prompt are all in Input, computed or not.
type messageUsage struct {
	Input   int `json:"input_tokens"`
	Created int `json:"cache_creation_input_tokens"`
	Read    int `json:"cache_read_input_tokens"`
	Output  int `json:"output_tokens"`
}

// stopped is why the answer ended, in Anthropic's words.
func (a *answer) messageStop() stopped {
	reason := "end_turn"
	switch {
	case a.finish == llama.FinishLength:
		reason = "max_tokens"
	case a.stopped != "":
		return stopped{new("stop_sequence"), &a.stopped}
	case len(a.calls) > 0:
		reason = "tool_use"
	}
	return stopped{Reason: &reason}
}

// eventType is all that some events have.
type eventType struct {
	Type string `json:"type"`
}

type messageStart struct {
	Type    string  `json:"type"`
	Message message `json:"message"`
}

func (w *messageWire) open(int, extra) []chunk {
	const name = "message_start"
	return []chunk{{name, messageStart{name, message{messageHead: w.head, Content: []any{}, Usage: messageUsage{Input: w.prompt}}}}}
}

// ping implements [pinger].
func (w *messageWire) ping() chunk {
	return chunk{"ping", eventType{"ping"}}
}

type blockEvent struct {
	Type  string `json:"type"`
	Index int    `json:"index"`
	Block any    `json:"content_block,omitempty"`
	Delta any    `json:"delta,omitempty"`
}

func (w *messageWire) last() *contentBlock {
	if !w.running {
		return nil
	}
	return w.blocks[len(w.blocks)-1]
}

// change tells of more of the open block.
func (w *messageWire) change(kind, name, text string) chunk {
	const event = "content_block_delta"
	return chunk{event, blockEvent{Type: event, Index: len(w.blocks) - 1, Delta: map[string]string{"type": kind, name: text}}}
}

// begin opens a block, after it has closed the one before.
func (w *messageWire) begin(b *contentBlock) []chunk {
	const name = "content_block_start"
	list := w.close()
	w.blocks, w.running = append(w.blocks, b), true
	return append(list, chunk{name, blockEvent{Type: name, Index: len(w.blocks) - 1, Block: b.encoded("")}})
}

// close ends the open block, if there is one.
func (w *messageWire) close() (list []chunk) {
	b := w.last()
	if b == nil {
		return nil
	}
	const name = "content_block_stop"
	if b.kind == blockThinking {
		list = append(list, w.change("signature_delta", "signature", unsigned))
	}
	w.running = false
	return append(list, chunk{name, blockEvent{Type: name, Index: len(w.blocks) - 1}})
}

func (w *messageWire) delta(_ int, p piece, _ extra) []chunk { return w.add(p) }

// follow implements [follower].
func (w *messageWire) follow(p piece) { w.add(p) }

// add appends a piece to the blocks and tells how.
func (w *messageWire) add(p piece) (list []chunk) {
	switch c := p.Call; {
	case c != nil:
		if c.ID != "" {
			list = w.begin(&contentBlock{kind: blockCall, id: c.ID, name: c.Name})
		}
		if c.Arguments != "" {
			list = append(list, w.more("input_json_delta", "partial_json", c.Arguments))
		}
	case p.Reasoning != "":
		list = append(w.ensure(blockThinking), w.more("thinking_delta", "thinking", p.Reasoning))
	case p.Text != "":
		list = append(w.ensure(blockText), w.more("text_delta", "text", p.Text))
	}
	return list
}

// ensure opens a block unless one of that kind is open.
func (w *messageWire) ensure(kind blockKind) []chunk {
	if b := w.last(); b != nil && b.kind == kind {
		return nil
	}
	return w.begin(&contentBlock{kind: kind})
}

func (w *messageWire) more(kind, name, text string) chunk {
	w.last().text.WriteString(text)
	return w.change(kind, name, text)
}

func (w *messageWire) finish(int, *answer, extra) []chunk { return w.close() }

type messageDelta struct {
	Type    string       `json:"type"`
	Delta   stopped      `json:"delta"`
	Usage   messageUsage `json:"usage"`
	Timings *timings     `json:"timings,omitempty"`
	Aim     *aimField    `json:"aim,omitempty"`
}

func (w *messageWire) usage(a *answer) messageUsage {
	return messageUsage{Input: w.prompt, Output: a.usage.CompletionTokens}
}

func (w *messageWire) end(answers []*answer, x extra) []chunk {
	const name, last = "message_delta", "message_stop"
	return []chunk{
		{name, messageDelta{name, answers[0].messageStop(), w.usage(answers[0]), x.Timings, x.Aim}},
		{last, eventType{last}},
	}
}

func (w *messageWire) fail(e *apiError) []chunk {
	_, failure := e.asMessages("")
	return []chunk{{"error", failure}}
}

func (w *messageWire) whole(answers []*answer, x extra) any {
	m := message{
		messageHead: w.head, Content: []any{}, stopped: answers[0].messageStop(), Usage: w.usage(answers[0]), Timings: x.Timings, Aim: x.Aim,
	}
	for _, b := range w.blocks {
		m.Content = append(m.Content, b.encoded(b.text.String()))
	}
	return m
}
