package server

// chatWire writes chat completions.
type chatWire struct {
	partial, complete head
	logprobs          *logprobs
	// usage says that a stream ends with a chunk for it.
	usage bool
}

func newChatWire(c *call) *chatWire {
	id := newID("chatcmpl-")
	return &chatWire{
		partial:  newHead(id, "chat.completion.chunk", c.model),
		complete: newHead(id, "chat.completion", c.model),
		logprobs: newLogprobs(c), usage: c.usage,
	}
}

type chatChunk struct {
	head
	Choices []chatDelta `json:"choices"`
	extra
}

type chatDelta struct {
	Index        int           `json:"index"`
	Delta        chatText      `json:"delta"`
	Logprobs     *chatLogprobs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"`
}

// chatText is a delta; what is nil does not appear.
type chatText struct {
	Role      string          `json:"role,omitempty"`
	Content   *string         `json:"content,omitempty"`
	Reasoning *string         `json:"reasoning_content,omitempty"`
	ToolCalls []chatCallDelta `json:"tool_calls,omitempty"`
}

// chatCallDelta is part of the call of a tool. Only the first one of a call has ID, Type and the function's name.
type chatCallDelta struct {
	Index    int          `json:"index"`
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionPart `json:"function"`
}

type functionPart struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

func (w *chatWire) one(d chatDelta, x extra) chunk {
	return chunk{data: chatChunk{w.partial, []chatDelta{d}, x}}
}

func (w *chatWire) open(i int, x extra) []chunk {
	return []chunk{w.one(chatDelta{Index: i, Delta: chatText{Role: "assistant", Content: new(string)}}, x)}
}

func (w *chatWire) delta(i int, p piece, x extra) (list []chunk) {
	one := func(t chatText) {
		list = append(list, w.one(chatDelta{Index: i, Delta: t, Logprobs: w.logprobs.chat(p.Tokens)}, x))
		p.Tokens = nil
	}
	switch c := p.Call; {
	case p.Reasoning != "":
		text := p.Reasoning
		one(chatText{Reasoning: &text})
	case c == nil:
		text := p.Text // a copy, so that not the whole piece is kept
		one(chatText{Content: &text})
	default:
		if c.ID != "" {
			begin := chatCallDelta{Index: c.Index, ID: c.ID, Type: "function", Function: functionPart{Name: c.Name}}
			one(chatText{ToolCalls: []chatCallDelta{begin}})
		}
		if c.Arguments != "" {
			more := chatCallDelta{Index: c.Index, Function: functionPart{Arguments: c.Arguments}}
			one(chatText{ToolCalls: []chatCallDelta{more}})
		}
	}
	return list
}

func (w *chatWire) finish(i int, a *answer, x extra) []chunk {
	reason := a.reason()
	return []chunk{w.one(chatDelta{Index: i, FinishReason: &reason}, x)}
}

func (w *chatWire) end(_ []*answer, x extra) []chunk {
	if !w.usage {
		return []chunk{done}
	}
	return []chunk{{data: chatChunk{w.partial, []chatDelta{}, x}}, done}
}

// fail sends no [DONE]: who overlooks the error shall not take the answer for complete.
func (w *chatWire) fail(e *apiError) []chunk { return []chunk{{data: e}} }

type chatWhole struct {
	head
	Choices []chatChoice `json:"choices"`
	extra
}

type chatChoice struct {
	Index        int           `json:"index"`
	Message      chatMessage   `json:"message"`
	Logprobs     *chatLogprobs `json:"logprobs"`
	FinishReason string        `json:"finish_reason"`
}

type chatMessage struct {
	Role string `json:"role"`
	// Content is null where there are calls instead.
	Content   *string    `json:"content"`
	Refusal   *string    `json:"refusal"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []chatCall `json:"tool_calls,omitempty"`
}

type chatCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function functionPart `json:"function"`
}

func (w *chatWire) whole(answers []*answer, x extra) any {
	choices := make([]chatChoice, len(answers))
	for i, a := range answers {
		choices[i] = chatChoice{i, newChatMessage(a), w.logprobs.chat(a.tokens), a.reason()}
	}
	return chatWhole{w.complete, choices, x}
}

func newChatMessage(a *answer) chatMessage {
	m := chatMessage{Role: "assistant", Reasoning: a.reasoning.String()}
	if text := a.text.String(); text != "" || len(a.calls) == 0 {
		m.Content = &text
	}
	for i := range a.calls {
		c := &a.calls[i]
		m.ToolCalls = append(m.ToolCalls, chatCall{c.id, "function", functionPart{c.name, c.arguments.String()}})
	}
	return m
}
