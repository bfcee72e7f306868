package server

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"aim/internal/chat"
	"aim/internal/toolcall"
)

// messages serves POST /v1/messages.
func (s *Server) messages(c *gin.Context) { s.complete(c, s.parseMessages) }

// tokenCount is the answer of /v1/messages/count_tokens.
type tokenCount struct {
	Input int `json:"input_tokens"`
}

// countTokens serves POST /v1/messages/count_tokens.
func (s *Server) countTokens(c *gin.Context) {
	call, err := s.admitted(c, s.parseCount, func(*call) int { return 0 })
	if err != nil {
		s.fail(c, err)
		return
	}
	writeJSON(c, http.StatusOK, tokenCount{call.promptTokens()})
}

// parseMessages reads a request of Anthropic's Messages API.
func (s *Server) parseMessages(o *object) (*call, error) {
	c, err := s.basics(o)
	if err != nil {
		return nil, err
	}
	c.usage = true // which the last event always has
	o.require(fieldMaxMessage)
	c.request.MaxTokens = o.maxTokens(fieldMaxMessage)
	c.request.Stop = o.stop(fieldStopSequences)
	o.take(fieldMessageMetadata)
	own, err := o.dialogue(c)
	if err != nil {
		return nil, err
	}
	c.form = o.form(c.model, own.form)
	if *o.err != nil {
		return nil, *o.err
	}
	c.callID = "toolu_"
	if err := c.converse(own.dialogue); err != nil {
		return nil, err
	}
	c.wire = newMessageWire(c)
	return c, s.bound(c)
}

// parseCount reads the same request to count the tokens of its prompt.
func (s *Server) parseCount(o *object) (*call, error) {
	m, err := s.modelOf(o)
	if err != nil {
		return nil, err
	}
	c := &call{model: m, n: 1}
	d, err := o.dialogue(c)
	if err != nil {
		return nil, err
	}
	return c, c.converse(d.dialogue)
}

// messagesDialogue is the part of a request that makes the prompt, and the form of the answer that comes with it.
type messagesDialogue struct {
	dialogue
	form form
}

// dialogue reads what makes the prompt.
func (o *object) dialogue(c *call) (d messagesDialogue, err error) {
	c.tools = o.schemaToolset()
	effort := ""
	if output := o.object(fieldOutput); output != nil {
		effort = output.text(fieldOutputEffort)
		d.form = output.outputForm(c.model)
	}
	d.tools, d.kwargs, d.reasoning = c.tools.definitions, o.thinkingKwargs(effort), "auto"
	d.messages, d.continues = o.turns()
	return d, *o.err
}

// outputForm reads output_config.format.
func (o *object) outputForm(m *served) form {
	f := o.object(fieldOutputFormat)
	if f == nil {
		return form{}
	}
	f.require(fieldOutputType)
	f.text(fieldOutputType)
	f.require(fieldOutputSchema)
	return form{o.param(fieldOutputFormat), f.schema(m, f.param(fieldOutputSchema), f.take(fieldOutputSchema))}
}

// thinkingKwargs are the variables of the template, with that of thinking unless the request sets it itself.
func (o *object) thinkingKwargs(effort string) map[string]json.RawMessage {
	kwargs := o.kwargs(effort)
	thinking := o.object(fieldThinking)
	if thinking == nil {
		return kwargs
	}
	thinking.require(fieldThinkingType)
	kind := thinking.text(fieldThinkingType)
	if _, set := kwargs["enable_thinking"]; set {
		return kwargs
	}
	if kwargs == nil {
		kwargs = map[string]json.RawMessage{}
	}
	kwargs["enable_thinking"] = encode(kind != "disabled")
	return kwargs
}

// schemaToolset reads Anthropic's form of tools, and which of them to call.
func (o *object) schemaToolset() (t toolset) {
	o.eachTool(&t, fieldSchemaTools, ".name", func(tool *object, _ json.RawMessage) (toolcall.Tool, json.RawMessage) {
		tool.ownTool(fieldSchemaToolType, "custom")
		tool.require(fieldSchemaToolName)
		tool.require(fieldSchemaToolInput)
		name, parameters := tool.text(fieldSchemaToolName), tool.take(fieldSchemaToolInput)
		tool.checkTool(fieldSchemaToolName, name)
		return toolcall.Tool{Name: name, Parameters: parameters},
			encode(definition{"function", definedFunction{name, tool.text(fieldSchemaToolDescription), parameters}})
	})
	t.choice.Mode, t.parallel = toolcall.Auto, true
	if choice := o.object(fieldAnyChoice); choice != nil {
		choice.anyChoice(&t)
	}
	o.callable(fieldAnyChoice, &t)
	return t.used()
}

func (o *object) anyChoice(t *toolset) {
	o.require(fieldAnyType)
	t.allow(!o.boolean(fieldDisableParallel), o.has(fieldDisableParallel))
	switch o.text(fieldAnyType) {
	case "any":
		t.choice.Mode = toolcall.Required
	case "none":
		t.choice.Mode = toolcall.None
	case "tool":
		t.choice = toolcall.Choice{Mode: toolcall.Named, Name: o.name(fieldAnyName, t)}
	default:
		o.text(fieldAnyName)
	}
}

// turns reads the conversation, and whether its last message is to be continued.
func (o *object) turns() ([]chat.Message, bool) {
	t := &turns{}
	if system := o.textBlocks(fieldSystem); system != "" {
		t.add(chat.Message{Role: "system", Content: system})
	}
	o.require(fieldTurns)
	list := o.array(fieldTurns)
	if o.has(fieldTurns) && len(list) == 0 {
		o.failValue(fieldTurns, "must not be empty")
	}
	h := &history{called: map[string]bool{}}
	for i, raw := range list {
		newObject(o.item(fieldTurns, i), raw, o.err).turn(t, h)
	}
	messages := t.done()
	if len(messages) == 0 {
		return nil, false
	}
	last := messages[len(messages)-1]
	return messages, last.Role == "assistant" && len(last.ToolCalls) == 0
}

// turn reads one message, which may make several: each result of a tool is one.
func (o *object) turn(t *turns, h *history) {
	o.require(fieldTurnRole)
	o.require(fieldTurnContent)
	role := o.text(fieldTurnRole)
	say := func(text string) { t.add(chat.Message{Role: "user", Content: text}) }
	if role == "assistant" {
		t.add(chat.Message{Role: role, NoContent: true})
		say = t.say
	}
	if typeOf(o.take(fieldTurnContent)) == isString {
		say(o.text(fieldTurnContent))
		return
	}
	blocks := o.array(fieldTurnContent)
	var lines []string
	flush := func() {
		if len(lines) > 0 {
			say(strings.Join(lines, "\n"))
		}
		lines = nil
	}
	for i, raw := range blocks {
		b := newObject(o.item(fieldTurnContent, i), raw, o.err)
		b.require(fieldBlockType)
		kind := b.text(fieldBlockType)
		if kind == "text" {
			b.require(fieldBlockText)
			lines = append(lines, b.text(fieldBlockText))
			continue
		}
		flush()
		b.block(kind, role, t, h)
	}
	flush()
	if len(blocks) == 0 && role != "assistant" && o.has(fieldTurnContent) {
		o.failValue(fieldTurnContent, "must not be empty")
	}
}

// block reads a block that is no text.
func (o *object) block(kind, role string, t *turns, h *history) {
	switch {
	case kind == "tool_result" && role != "assistant":
		m := chat.Message{Role: "tool", Content: o.textBlocks(fieldBlockContent)}
		m.ToolCallID = o.answered(h, fieldBlockUseID)
		t.add(m)
	case kind == "thinking" && role == "assistant":
		o.require(fieldBlockThinking)
		t.think(o.text(fieldBlockThinking))
	case kind == "redacted_thinking" && role == "assistant":
	case kind == "tool_use" && role == "assistant":
		o.require(fieldBlockID)
		o.require(fieldBlockName)
		call := chat.ToolCall{ID: o.text(fieldBlockID), Name: o.text(fieldBlockName), Arguments: o.arguments(fieldBlockInput)}
		o.remember(h, fieldBlockID, call.ID)
		t.call(call)
	case kind == "tool_result" || kind == "thinking" || kind == "redacted_thinking" || kind == "tool_use":
		o.failValue(fieldBlockType, "is %q, which the role %s cannot have", kind, clip(role))
	case o.has(fieldBlockType):
		o.fail(invalid(o.path, codeContent, "%s is of type %q; only text and tools are supported", o.path, clip(kind)))
	}
}

// textBlocks reads a string, or an array of blocks that are all text.
func (o *object) textBlocks(f *field) string {
	return o.textParts(f, fieldTextBlockType, map[string]*field{"text": fieldTextBlockText})
}

// ofMessages says that errors of a path have Anthropic's shape.
func ofMessages(path string) bool {
	return path == "/v1/messages" || strings.HasPrefix(path, "/v1/messages/")
}

// messagesFailure is an error as Anthropic's clients see it, with the parameter and the code as OpenAI's do.
type messagesFailure struct {
	Type      string      `json:"type"`
	Error     errorFields `json:"error"`
	RequestID string      `json:"request_id,omitempty"`
}

// statusOverloaded is Anthropic's status for a server that is not ready.
const statusOverloaded = 529

// messagesTypes are Anthropic's types of errors by status.
var messagesTypes = map[int]string{
	http.StatusUnauthorized:          "authentication_error",
	http.StatusForbidden:             "permission_error",
	http.StatusNotFound:              "not_found_error",
	http.StatusRequestEntityTooLarge: "request_too_large",
	http.StatusRequestTimeout:        "timeout_error",
	http.StatusGatewayTimeout:        "timeout_error",
	http.StatusTooManyRequests:       "rate_limit_error",
	statusOverloaded:                 "overloaded_error",
}

// asMessages is the error in Anthropic's shape, and its status there.
func (e *apiError) asMessages(request string) (int, messagesFailure) {
	status := e.status
	if status == http.StatusServiceUnavailable {
		status = statusOverloaded
	}
	fields := e.fields()
	fields.Type = messagesTypes[status]
	switch {
	case fields.Type != "":
	case status >= http.StatusInternalServerError:
		fields.Type = "api_error"
	default:
		fields.Type = typeInvalid
	}
	return status, messagesFailure{"error", fields, request}
}
