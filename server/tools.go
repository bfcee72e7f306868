package server

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"aim/internal/chat"
	"aim/internal/toolcall"
)

// toolset is the tools that an answer may call.
type toolset struct {
	tools []toolcall.Tool
	// definitions are as they stand in the request, for the template.
	definitions []json.RawMessage
	choice      toolcall.Choice
	parallel    bool
}

// active says that an answer may have calls.
func (t *toolset) active() bool { return len(t.tools) > 0 && t.choice.Mode != toolcall.None }

// forced says that it must have one.
func (t *toolset) forced() bool {
	return t.choice.Mode == toolcall.Required || t.choice.Mode == toolcall.Named
}

var toolName = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

// toolset reads tools, and which of them to call.
func (o *object) toolset() (t toolset) {
	t.parallel = o.boolean(fieldParallel)
	t.definitions = o.array(fieldTools)
	for i, raw := range t.definitions {
		tool := newObject(o.item(fieldTools, i), raw, o.err).tool()
		if slices.ContainsFunc(t.tools, func(other toolcall.Tool) bool { return other.Name == tool.Name }) {
			o.failAt(o.item(fieldTools, i)+".function.name", "is %q, as that of another tool", clip(tool.Name))
		}
		t.tools = append(t.tools, tool)
	}
	o.toolChoice(&t)
	if !t.active() {
		t = toolset{}
	}
	return t
}

func (o *object) tool() (t toolcall.Tool) {
	o.require(fieldToolType)
	o.text(fieldToolType)
	o.require(fieldToolFunction)
	f := o.object(fieldToolFunction)
	if f == nil {
		return t
	}
	f.require(fieldFunctionName)
	t = toolcall.Tool{Name: f.text(fieldFunctionName), Parameters: f.take(fieldFunctionParameters), Strict: f.boolean(fieldFunctionStrict)}
	if f.has(fieldFunctionName) && !toolName.MatchString(t.Name) {
		f.failValue(fieldFunctionName, "is %q, must be letters, digits, _, -, . and :", clip(t.Name))
	}
	f.text(fieldFunctionDescription)
	return t
}

// toolChoice reads which tools to call: a word, or an object.
func (o *object) toolChoice(t *toolset) {
	raw := o.take(fieldToolChoice)
	t.choice.Mode = toolcall.Auto
	if typeOf(raw) != isObject {
		o.mode(t, o.text(fieldToolChoice))
	} else if choice := o.object(fieldToolChoice); choice.has(fieldChoiceAllowed) || choice.text(fieldChoiceType) == "allowed_tools" {
		choice.allowed(t)
	} else {
		choice.require(fieldChoiceType)
		choice.require(fieldChoiceFunction)
		if f := choice.object(fieldChoiceFunction); f != nil {
			t.choice = toolcall.Choice{Mode: toolcall.Named, Name: f.name(fieldChoiceName, t)}
		}
	}
	if t.forced() && len(t.tools) == 0 {
		o.failValue(fieldToolChoice, "asks for a call, but there are no tools")
	}
}

func (o *object) mode(t *toolset, word string) {
	switch word {
	case "none":
		t.choice.Mode = toolcall.None
	case "required":
		t.choice.Mode = toolcall.Required
	}
}

// allowed reads which of the tools may be called.
func (o *object) allowed(t *toolset) {
	o.text(fieldChoiceType)
	o.require(fieldChoiceAllowed)
	list := o.object(fieldChoiceAllowed)
	if list == nil {
		return
	}
	list.mode(t, list.text(fieldAllowedMode))
	list.require(fieldAllowedTools)
	keep := map[string]bool{}
	for i, raw := range list.array(fieldAllowedTools) {
		tool := newObject(list.item(fieldAllowedTools, i), raw, o.err)
		tool.require(fieldAllowedFunction)
		if f := tool.object(fieldAllowedFunction); f != nil {
			keep[f.name(fieldChoiceName, t)] = true
		}
	}
	t.tools = slices.DeleteFunc(t.tools, func(tool toolcall.Tool) bool { return !keep[tool.Name] })
}

// name reads the name of one of the tools.
func (o *object) name(f *field, t *toolset) string {
	o.require(f)
	name := o.text(f)
	if o.has(f) && !slices.ContainsFunc(t.tools, func(tool toolcall.Tool) bool { return tool.Name == name }) {
		o.failValue(f, "is %q, which is none of the tools", clip(name))
	}
	return name
}

// history is what the messages so far have called.
type history struct {
	called map[string]bool
	// open are the calls without an answer.
	open []string
}

// calls reads an assistant's calls.
func (o *object) calls(h *history) (list []chat.ToolCall) {
	for i, raw := range o.array(fieldToolCalls) {
		c := newObject(o.item(fieldToolCalls, i), raw, o.err)
		call := c.call()
		if c.has(fieldCallID) && h.called[call.ID] {
			c.failValue(fieldCallID, "is %q, as that of another call", clip(call.ID))
		}
		h.called[call.ID] = true
		h.open = append(h.open, call.ID)
		list = append(list, call)
	}
	return list
}

func (o *object) call() chat.ToolCall {
	o.require(fieldCallID)
	o.text(fieldCallType)
	o.require(fieldCallFunction)
	call := chat.ToolCall{ID: o.text(fieldCallID), Arguments: json.RawMessage("{}")}
	if f := o.object(fieldCallFunction); f != nil {
		f.require(fieldCalledName)
		call.Name, call.Arguments = f.text(fieldCalledName), f.arguments()
	}
	return call
}

// arguments reads a JSON object, or its text.
func (o *object) arguments() json.RawMessage {
	raw := o.take(fieldCalledArguments)
	if typeOf(raw) == isString {
		text := strings.TrimSpace(o.text(fieldCalledArguments))
		if raw = json.RawMessage(text); text != "" && (!json.Valid(raw) || typeOf(raw) != isObject) {
			o.failValue(fieldCalledArguments, "is %q, must be the text of a JSON object", clip(text))
			return nil
		}
	}
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}

// answered reads which call a tool's message answers; as in llama-server it need not say so where one is open.
func (o *object) answered(h *history) string {
	id := o.text(fieldToolCallID)
	switch {
	case o.has(fieldToolCallID) && !h.called[id]:
		o.failValue(fieldToolCallID, "is %q, which is the id of no call before it", clip(id))
	case !o.has(fieldToolCallID) && len(h.open) == 0:
		o.missing(fieldToolCallID, ": no call before the message waits for an answer")
	case !o.has(fieldToolCallID):
		id = h.open[0]
	}
	if i := slices.Index(h.open, id); i >= 0 {
		h.open = slices.Delete(h.open, i, i+1)
	}
	return id
}
