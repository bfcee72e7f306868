package server

import (
	"strings"
	"time"

	"aim/llama"
)

// responseWire writes answers of the Responses API: items that open and close one after the other, in the order in which the model
// yields them.
type responseWire struct {
	id, model string
	created   int64
	echo      responseEcho
	logprobs  *logprobs
	// sequence is the number of the next event.
	sequence int
	items    []*outputItem
	// waiting are tokens whose text has not come yet.
	waiting []llama.Sampled
}

func newResponseWire(c *call, echo responseEcho) *responseWire {
	return &responseWire{id: newID("resp_"), model: c.model.ID, created: time.Now().Unix(), echo: echo, logprobs: newLogprobs(c)}
}

// outputItem is a part of an answer: a message, thoughts, or the call of a tool.
type outputItem struct {
	kind, id string
	text     strings.Builder
	logprobs []chatLogprob
	// callID and name are those of a call, whose arguments text is.
	callID, name string
	status       string
}

// The kinds of items.
const (
	itemMessage   = "message"
	itemReasoning = "reasoning"
	itemCall      = "function_call"
)

// The states of items and answers.
const (
	statusRunning    = "in_progress"
	statusCompleted  = "completed"
	statusIncomplete = "incomplete"
	statusFailed     = "failed"
)

// messageItem is an item as it is encoded.
type messageItem struct {
	ID      string     `json:"id"`
	Type    string     `json:"type"`
	Status  string     `json:"status"`
	Role    string     `json:"role"`
	Content []textPart `json:"content"`
}

type reasoningItem struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Status  string          `json:"status"`
	Summary []reasoningPart `json:"summary"`
	Content []reasoningPart `json:"content"`
}

type callItem struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Status    string `json:"status"`
	CallID    string `json:"call_id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type textPart struct {
	Type        string        `json:"type"`
	Text        string        `json:"text"`
	Annotations []struct{}    `json:"annotations"`
	Logprobs    []chatLogprob `json:"logprobs"`
}

type reasoningPart struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// encoded is the item as it stands; begun says that only what was there at its beginning is to be shown.
func (t *outputItem) encoded(begun bool) any {
	switch t.kind {
	case itemCall:
		c := callItem{t.id, t.kind, t.status, t.callID, t.name, t.text.String()}
		if begun {
			c.Arguments = ""
		}
		return c
	case itemReasoning:
		r := reasoningItem{t.id, t.kind, t.status, []reasoningPart{}, []reasoningPart{}}
		if !begun {
			r.Content = append(r.Content, reasoningPart{"reasoning_text", t.text.String()})
		}
		return r
	}
	m := messageItem{t.id, t.kind, t.status, "assistant", []textPart{}}
	if !begun {
		m.Content = append(m.Content, textPart{"output_text", t.text.String(), []struct{}{}, t.logprobs})
	}
	return m
}

// part is the item's only part of content, nil of a call.
func (t *outputItem) part() any {
	switch i := t.encoded(false).(type) {
	case messageItem:
		return i.Content[0]
	case reasoningItem:
		return i.Content[0]
	}
	return nil
}

// responseWhole is an answer as it stands.
type responseWhole struct {
	ID         string         `json:"id"`
	Object     string         `json:"object"`
	Created    int64          `json:"created_at"`
	Completed  *int64         `json:"completed_at"`
	Model      string         `json:"model"`
	Status     string         `json:"status"`
	Error      *responseError `json:"error"`
	Incomplete *incomplete    `json:"incomplete_details"`
	Output     []any          `json:"output"`
	Usage      *responseUsage `json:"usage"`
	responseEcho
	Timings *timings  `json:"timings,omitempty"`
	Aim     *aimField `json:"aim,omitempty"`
}

type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type responseUsage struct {
	Input        int                 `json:"input_tokens"`
	InputDetails responseInputUsage  `json:"input_tokens_details"`
	Output       int                 `json:"output_tokens"`
	Details      responseOutputUsage `json:"output_tokens_details"`
	Total        int                 `json:"total_tokens"`
}

type responseInputUsage struct {
	Cached  int `json:"cached_tokens"`
	Written int `json:"cache_write_tokens"`
}

type responseOutputUsage struct {
	Reasoning int `json:"reasoning_tokens"`
}

func (w *responseWire) response(status string) responseWhole {
	r := responseWhole{ID: w.id, Object: "response", Created: w.created, Model: w.model, Status: status, Output: []any{}, responseEcho: w.echo}
	for _, t := range w.items {
		r.Output = append(r.Output, t.encoded(false))
	}
	return r
}

// ended is the answer at its end.
func (w *responseWire) ended(a *answer, x extra) responseWhole {
	r := w.response(statusCompleted)
	if a.finish == llama.FinishLength {
		r.Status, r.Incomplete = statusIncomplete, &incomplete{"max_output_tokens"}
	} else {
		now := time.Now().Unix()
		r.Completed = &now
	}
	if u, ok := x.Usage.(*usage); ok {
		r.Usage = &responseUsage{
			u.Prompt, responseInputUsage{Cached: u.PromptDetails.Cached}, u.Completion, responseOutputUsage{u.CompletionDetails.Reasoning}, u.Total,
		}
	}
	r.Timings, r.Aim = x.Timings, x.Aim
	return r
}

// eventHead is what all events have.
type eventHead struct {
	Type     string `json:"type"`
	Sequence int    `json:"sequence_number"`
}

func (w *responseWire) head(name string) eventHead {
	h := eventHead{"response." + name, w.sequence}
	w.sequence++
	return h
}

// responseEvent tells of the whole answer.
func (w *responseWire) responseEvent(name string, r responseWhole) chunk {
	h := w.head(name)
	return chunk{h.Type, struct {
		eventHead
		Response responseWhole `json:"response"`
	}{h, r}}
}

// itemEvent tells of an item that begins or ends.
func (w *responseWire) itemEvent(name string, item any) chunk {
	h := w.head(name)
	return chunk{h.Type, struct {
		eventHead
		Index int `json:"output_index"`
		Item  any `json:"item"`
	}{h, len(w.items) - 1, item}}
}

// itemPlace is where in the answer an event belongs: in the last item, and in its only part unless it is a call.
type itemPlace struct {
	ItemID  string `json:"item_id"`
	Index   int    `json:"output_index"`
	Content *int   `json:"content_index,omitempty"`
}

func (w *responseWire) place() itemPlace {
	t := w.last()
	p := itemPlace{t.id, len(w.items) - 1, nil}
	if t.kind != itemCall {
		p.Content = new(int)
	}
	return p
}

func (w *responseWire) partEvent(name string, part any) chunk {
	h := w.head(name)
	return chunk{h.Type, struct {
		eventHead
		itemPlace
		Part any `json:"part"`
	}{h, w.place(), part}}
}

// deltaEvent tells of more text of the last item.
func (w *responseWire) deltaEvent(text string, logprobs []chatLogprob) chunk {
	h := w.head(w.last().field() + ".delta")
	return chunk{h.Type, struct {
		eventHead
		itemPlace
		Delta    string        `json:"delta"`
		Logprobs []chatLogprob `json:"logprobs,omitzero"`
	}{h, w.place(), text, logprobs}}
}

// doneEvent tells the whole text of the last item.
func (w *responseWire) doneEvent() chunk {
	t := w.last()
	h := w.head(t.field() + ".done")
	if t.kind == itemCall {
		return chunk{h.Type, struct {
			eventHead
			itemPlace
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		}{h, w.place(), t.name, t.text.String()}}
	}
	return chunk{h.Type, struct {
		eventHead
		itemPlace
		Text     string        `json:"text"`
		Logprobs []chatLogprob `json:"logprobs,omitzero"`
	}{h, w.place(), t.text.String(), t.logprobs}}
}

// field is what events call the item's text.
func (t *outputItem) field() string {
	switch t.kind {
	case itemCall:
		return "function_call_arguments"
	case itemReasoning:
		return "reasoning_text"
	}
	return "output_text"
}

// last is the item that is open, nil where none is.
func (w *responseWire) last() *outputItem {
	if len(w.items) == 0 {
		return nil
	}
	return w.items[len(w.items)-1]
}

// begin opens an item, after it has closed the one before.
func (w *responseWire) begin(t *outputItem) []chunk {
	list := w.close(statusCompleted)
	t.status = statusRunning
	if t.kind == itemMessage {
		t.logprobs = []chatLogprob{}
	}
	w.items = append(w.items, t)
	list = append(list, w.itemEvent("output_item.added", t.encoded(true)))
	if part := t.part(); part != nil {
		list = append(list, w.partEvent("content_part.added", part))
	}
	return list
}

// close ends the open item, if there is one.
func (w *responseWire) close(status string) []chunk {
	t := w.last()
	if t == nil || t.status != statusRunning {
		return nil
	}
	t.status = status
	list := []chunk{w.doneEvent()}
	if part := t.part(); part != nil {
		list = append(list, w.partEvent("content_part.done", part))
	}
	return append(list, w.itemEvent("output_item.done", t.encoded(false)))
}

func (w *responseWire) open(int, extra) []chunk {
	return []chunk{
		w.responseEvent("created", w.response(statusRunning)),
		w.responseEvent("in_progress", w.response(statusRunning)),
	}
}

func (w *responseWire) delta(_ int, p piece, _ extra) []chunk { return w.add(p) }

// follow implements [follower].
func (w *responseWire) follow(p piece) { w.add(p) }

// add appends a piece to the items and tells how.
func (w *responseWire) add(p piece) (list []chunk) {
	switch {
	case p.Call != nil:
		w.waiting = nil
		return w.addCall(p.Call)
	case p.Reasoning != "":
		w.waiting = nil
		return w.addText(itemReasoning, "rs_", p.Reasoning, nil)
	}
	if t := w.last(); p.Text != "" || t == nil || t.kind == itemMessage { // else they end thoughts or a call
		w.waiting = append(w.waiting, p.Tokens...)
	}
	if p.Text == "" {
		return nil
	}
	logprobs := []chatLogprob{}
	if l := w.logprobs.chat(w.waiting); l != nil {
		logprobs = l.Content
	}
	w.waiting = nil
	return w.addText(itemMessage, "msg_", p.Text, logprobs)
}

func (w *responseWire) addText(kind, prefix, text string, logprobs []chatLogprob) (list []chunk) {
	if t := w.last(); t == nil || t.kind != kind {
		list = w.begin(&outputItem{kind: kind, id: newID(prefix)})
	}
	t := w.last()
	t.text.WriteString(text)
	t.logprobs = append(t.logprobs, logprobs...)
	return append(list, w.deltaEvent(text, logprobs))
}

func (w *responseWire) addCall(c *callDelta) (list []chunk) {
	if c.ID != "" {
		list = w.begin(&outputItem{kind: itemCall, id: newID("fc_"), callID: c.ID, name: c.Name})
	}
	if c.Arguments != "" {
		w.last().text.WriteString(c.Arguments)
		list = append(list, w.deltaEvent(c.Arguments, nil))
	}
	return list
}

// settle closes the last item of an answer, which has at least one.
func (w *responseWire) settle(a *answer) (list []chunk) {
	if len(w.items) == 0 {
		list = w.begin(&outputItem{kind: itemMessage, id: newID("msg_")})
	}
	status := statusCompleted
	if a.finish == llama.FinishLength {
		status = statusIncomplete
	}
	return append(list, w.close(status)...)
}

func (w *responseWire) finish(_ int, a *answer, _ extra) []chunk { return w.settle(a) }

func (w *responseWire) end(answers []*answer, x extra) []chunk {
	r := w.ended(answers[0], x)
	return []chunk{w.responseEvent(r.Status, r)}
}

// fail tells of the failure twice: in the answer, which ends with it, and as an event that clients raise as an error. That has the
// fields of OpenAI's reference, and the object that its clients look for.
func (w *responseWire) fail(e *apiError) []chunk {
	if t := w.last(); t != nil && t.status == statusRunning {
		t.status = statusIncomplete
	}
	r := w.response(statusFailed)
	r.Error = &responseError{responseCode(e), e.message}
	failed := w.responseEvent("failed", r)
	h := w.head("")
	h.Type = "error"
	f := e.fields()
	return []chunk{failed, {h.Type, struct {
		eventHead
		Code    *string     `json:"code"`
		Message string      `json:"message"`
		Param   *string     `json:"param"`
		Error   errorFields `json:"error"`
	}{h, f.Code, f.Message, f.Param, f}}}
}

func (w *responseWire) whole(answers []*answer, x extra) any {
	w.settle(answers[0])
	return w.ended(answers[0], x)
}
