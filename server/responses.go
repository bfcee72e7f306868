package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"aim/internal/chat"
	"aim/internal/grammar"
	"aim/internal/toolcall"
)

// codeTool is that of tools which would run on the server.
const codeTool = "unsupported_tool"

// responses serves POST /v1/responses.
func (s *Server) responses(c *gin.Context) { s.complete(c, s.parseResponse) }

// parseResponse reads a request of OpenAI's Responses API, of which nothing is stored.
func (s *Server) parseResponse(o *object) (*call, error) {
	c, err := s.basics(o)
	if err != nil {
		return nil, err
	}
	o.stateless()
	c.usage = true // which the last event always has
	c.request.MaxTokens = o.maxTokens(fieldMaxOutput)
	c.request.Stop = o.stop(fieldStop)
	c.logprobs = o.includesLogprobs()
	c.request.Params.Logprobs, c.request.Params.TopLogprobs = c.logprobs, int(o.integer(fieldTopOutput))
	c.form = o.form(c.model, o.textForm(c.model))
	c.tools = o.flatToolset()
	effort := ""
	if r := o.object(fieldReasoningOptions); r != nil {
		effort = r.text(fieldReasoningEffort)
	}
	d := dialogue{tools: c.tools.definitions, kwargs: o.kwargs(effort), reasoning: "auto"}
	d.messages = o.input()
	echo := o.echo(effort)
	if *o.err != nil {
		return nil, *o.err
	}
	if err := c.converse(d); err != nil {
		return nil, aboutInput(err)
	}
	c.wire = newResponseWire(c, echo)
	return c, s.bound(c)
}

// aboutInput is an error about messages as one about the input that they were made of.
func aboutInput(err error) error {
	var e *apiError
	if !errors.As(err, &e) && !errors.As(err, new(*chat.TemplateError)) {
		return err
	}
	about := *asAPIError(err)
	if about.param == fieldMessages.name {
		about.param = fieldInput.name
	}
	return &about
}

// stateless refuses what would need memory of earlier requests.
func (o *object) stateless() {
	refuse := func(f *field, asks func(json.RawMessage) bool, why string) {
		if raw := o.take(f); raw != nil && asks(raw) {
			o.fail(invalid(o.param(f), codeUnsupported, "%s is not supported: this server stores nothing%s", o.param(f), why))
		}
	}
	refuse(fieldPrevious, filled, "; send the whole conversation as input")
	refuse(fieldConversation, filled, "; send the whole conversation as input")
	refuse(fieldBackground, filled, ", so that nobody could fetch the answer")
	refuse(fieldStoredPrompt, filled, "; send instructions and input")
	o.boolean(fieldStore)
	o.text(fieldTruncation)
	o.text(fieldUser)
}

// includesLogprobs reads include.
func (o *object) includesLogprobs() bool {
	return slices.Contains(o.strings(fieldInclude), "message.output_text.logprobs") || o.integer(fieldTopOutput) > 0
}

// textForm reads text.format.
func (o *object) textForm(m *served) form {
	text := o.object(fieldText)
	if text == nil {
		return form{}
	}
	text.text(fieldTextVerbosity)
	f := text.object(fieldTextFormat)
	if f == nil {
		return form{}
	}
	f.require(fieldTextType)
	f.text(fieldTextName)
	f.text(fieldTextDescription)
	f.boolean(fieldTextStrict)
	raw := f.take(fieldTextSchema)
	switch f.text(fieldTextType) {
	case "json_object":
		return form{text.param(fieldTextFormat), grammar.JSON()}
	case "json_schema":
		f.require(fieldTextSchema)
		return form{text.param(fieldTextFormat), f.schema(m, f.param(fieldTextSchema), raw)}
	}
	return form{}
}

// definition is a tool as templates know it.
type definition struct {
	Type     string          `json:"type"`
	Function definedFunction `json:"function"`
}

type definedFunction struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
}

// flatToolset reads tools that are functions without an object of their own, and which of them to call.
func (o *object) flatToolset() (t toolset) {
	t.allow(o.boolean(fieldParallel), o.has(fieldParallel))
	o.eachTool(&t, fieldFlatTools, ".name", func(tool *object, _ json.RawMessage) (toolcall.Tool, json.RawMessage) {
		tool.require(fieldFlatType)
		tool.ownTool(fieldFlatType, "function")
		tool.require(fieldFlatName)
		name, parameters := tool.text(fieldFlatName), tool.take(fieldFlatParameters)
		tool.checkTool(fieldFlatName, name)
		return toolcall.Tool{Name: name, Parameters: parameters, Strict: tool.boolean(fieldFlatStrict)},
			encode(definition{"function", definedFunction{name, tool.text(fieldFlatDescription), parameters}})
	})
	o.flatChoice(&t)
	return t.used()
}

// ownTool refuses tools of other types than those that the client runs.
func (o *object) ownTool(f *field, kind string) {
	if got := o.text(f); got != kind && o.has(f) {
		o.fail(invalid(o.param(f), codeTool, "%s is %q, a tool that this server does not have; only %q is supported", o.param(f), clip(got), kind))
	}
}

func (o *object) flatChoice(t *toolset) {
	t.choice.Mode = toolcall.Auto
	if typeOf(o.take(fieldFlatChoice)) != isObject {
		o.mode(t, o.text(fieldFlatChoice))
		o.callable(fieldFlatChoice, t)
		return
	}
	choice := o.object(fieldFlatChoice)
	choice.require(fieldFlatChoiceType)
	if choice.text(fieldFlatChoiceType) != "allowed_tools" {
		t.choice = toolcall.Choice{Mode: toolcall.Named, Name: choice.name(fieldFlatChoiceName, t)}
		return
	}
	choice.mode(t, choice.text(fieldFlatChoiceMode))
	choice.require(fieldFlatChoiceTools)
	keep := map[string]bool{}
	for i, raw := range choice.array(fieldFlatChoiceTools) {
		keep[newObject(choice.item(fieldFlatChoiceTools, i), raw, o.err).name(fieldFlatAllowedName, t)] = true
	}
	t.keep(keep)
	o.callable(fieldFlatChoice, t)
}

// turns makes messages of items: what an assistant thinks, says and calls in a row is one message.
type turns struct{ messages []chat.Message }

// add begins a message.
func (t *turns) add(m chat.Message) *chat.Message {
	t.messages = append(t.messages, m)
	return &t.messages[len(t.messages)-1]
}

// assistant is the message to which goes what an assistant yields next: the last one, unless that has it or what comes after it already.
func (t *turns) assistant(open func(last *chat.Message) bool) *chat.Message {
	if n := len(t.messages); n > 0 && t.messages[n-1].Role == "assistant" && open(&t.messages[n-1]) {
		return &t.messages[n-1]
	}
	return t.add(chat.Message{Role: "assistant", NoContent: true})
}

// thought is a message that has no content and no calls yet.
func thought(m *chat.Message) bool { return m.NoContent && len(m.ToolCalls) == 0 }

func (t *turns) think(text string) {
	m := t.assistant(func(m *chat.Message) bool { return thought(m) && m.Reasoning == "" })
	m.Reasoning = text
}

func (t *turns) say(text string) {
	m := t.assistant(thought)
	m.Content, m.NoContent = text, false
}

func (t *turns) call(call chat.ToolCall) {
	m := t.assistant(func(*chat.Message) bool { return true })
	m.ToolCalls = append(m.ToolCalls, call)
}

// done are the messages; those of an assistant that has only thought have no content, but not as one that calls.
func (t *turns) done() []chat.Message {
	for i := range t.messages {
		if m := &t.messages[i]; len(m.ToolCalls) == 0 {
			m.NoContent = false
		}
	}
	return t.messages
}

// input reads instructions and input.
func (o *object) input() []chat.Message {
	t := &turns{}
	if text := o.text(fieldInstructions); text != "" {
		t.add(chat.Message{Role: "system", Content: text})
	}
	o.require(fieldInput)
	if typeOf(o.take(fieldInput)) == isString {
		t.add(chat.Message{Role: "user", Content: o.text(fieldInput)})
		return t.messages
	}
	list := o.array(fieldInput)
	if o.has(fieldInput) && len(list) == 0 {
		o.failValue(fieldInput, "must not be empty")
	}
	h := &history{called: map[string]bool{}}
	for i, raw := range list {
		newObject(o.item(fieldInput, i), raw, o.err).inputItem(t, h)
	}
	return t.done()
}

func (o *object) inputItem(t *turns, h *history) {
	switch o.text(fieldItemType) {
	case "function_call":
		o.require(fieldItemCallID)
		o.require(fieldItemName)
		call := chat.ToolCall{ID: o.text(fieldItemCallID), Name: o.text(fieldItemName), Arguments: o.arguments(fieldItemArguments)}
		o.remember(h, fieldItemCallID, call.ID)
		t.call(call)
	case "function_call_output":
		o.require(fieldItemOutput)
		m := chat.Message{Role: "tool", Content: o.inputText(fieldItemOutput)}
		m.ToolCallID = o.answered(h, fieldItemCallID)
		t.add(m)
	case "reasoning":
		text := o.inputText(fieldItemContent)
		if summary := o.inputText(fieldItemSummary); text == "" {
			text = summary
		}
		if text != "" {
			t.think(text)
		}
	default:
		o.require(fieldItemRole)
		o.require(fieldItemContent)
		if role, text := o.text(fieldItemRole), o.inputText(fieldItemContent); role == "assistant" {
			t.say(text)
		} else {
			t.add(chat.Message{Role: role, Content: text})
		}
	}
}

// inputText reads the text of an item.
func (o *object) inputText(f *field) string {
	return o.textParts(f, fieldInputType, map[string]*field{
		"input_text": fieldInputText, "output_text": fieldInputText, "reasoning_text": fieldInputText, "summary_text": fieldInputText,
		"text": fieldInputText, "refusal": fieldInputRefusal,
	})
}

// responseEcho is what an answer repeats of its request.
type responseEcho struct {
	Instructions *string         `json:"instructions"`
	MaxOutput    *int64          `json:"max_output_tokens"`
	Metadata     json.RawMessage `json:"metadata"`
	Parallel     bool            `json:"parallel_tool_calls"`
	Previous     *string         `json:"previous_response_id"`
	Reasoning    struct {
		Effort  *string `json:"effort"`
		Summary *string `json:"summary"`
	} `json:"reasoning"`
	Background  bool            `json:"background"`
	Store       bool            `json:"store"`
	Temperature float64         `json:"temperature"`
	Text        json.RawMessage `json:"text"`
	Choice      json.RawMessage `json:"tool_choice"`
	Tools       json.RawMessage `json:"tools"`
	TopLogprobs int64           `json:"top_logprobs"`
	TopP        float64         `json:"top_p"`
	Truncation  string          `json:"truncation"`
	User        *string         `json:"user"`
}

// echo reads what the answer repeats. Truncation is disabled whatever the request says, as nothing is left out.
func (o *object) echo(effort string) responseEcho {
	raw := func(f *field, absent string) json.RawMessage {
		if v := o.take(f); v != nil {
			return v
		}
		return json.RawMessage(absent)
	}
	text := func(f *field) *string {
		if !o.has(f) {
			return nil
		}
		v := o.text(f)
		return &v
	}
	e := responseEcho{
		Instructions: text(fieldInstructions), Metadata: raw(fieldMetadata, "{}"), Parallel: o.boolean(fieldParallel),
		Temperature: o.number(fieldTemperature), Text: raw(fieldText, `{"format":{"type":"text"}}`),
		Choice: raw(fieldFlatChoice, `"auto"`), Tools: raw(fieldFlatTools, "[]"), TopLogprobs: o.integer(fieldTopOutput),
		TopP: o.number(fieldTopP), Truncation: "disabled", User: text(fieldUser),
	}
	if o.has(fieldMaxOutput) {
		n := o.integer(fieldMaxOutput)
		e.MaxOutput = &n
	}
	if effort != "" {
		e.Reasoning.Effort = &effort
	}
	return e
}

// responseCode is the code of a failure in an answer that has begun.
func responseCode(e *apiError) string {
	if e.status >= http.StatusInternalServerError || e.code == "" {
		return "server_error"
	}
	return e.code
}
