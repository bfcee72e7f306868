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
	// several says that the request itself allows more than one call.
	several bool
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
	t.allow(o.boolean(fieldParallel), o.has(fieldParallel))
	o.eachTool(&t, fieldTools, ".function.name", func(tool *object, raw json.RawMessage) (toolcall.Tool, json.RawMessage) {
		return tool.tool(), raw
	})
	o.toolChoice(&t)
	return t.used()
}

// allow says whether an answer may have several calls, and whether it is the request that says so.
func (t *toolset) allow(parallel, said bool) { t.parallel, t.several = parallel, parallel && said }

// more says that an answer may have more than one call. Where a call is forced the request must say so: a small model that must
// call, and may go on to, seldom ends.
func (t *toolset) more() bool { return t.parallel && (t.several || !t.forced()) }

// used is the toolset, without its tools where none may be called.
func (t *toolset) used() toolset {
	if !t.active() {
		return toolset{}
	}
	return *t
}

// eachTool adds the tools of a field; read returns one as it is and as templates know it, and name is where a tool has its name.
func (o *object) eachTool(t *toolset, f *field, name string, read func(*object, json.RawMessage) (toolcall.Tool, json.RawMessage)) {
	for i, raw := range o.array(f) {
		tool, definition := read(newObject(o.item(f, i), raw, o.err), raw)
		if slices.ContainsFunc(t.tools, func(other toolcall.Tool) bool { return other.Name == tool.Name }) {
			o.failAt(o.item(f, i)+name, "is %q, as that of another tool", clip(tool.Name))
		}
		t.tools, t.definitions = append(t.tools, tool), append(t.definitions, definition)
	}
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
	f.checkTool(fieldFunctionName, t.Name)
	f.text(fieldFunctionDescription)
	return t
}

// checkTool makes sure that a tool can have that name.
func (o *object) checkTool(f *field, name string) {
	if o.has(f) && !toolName.MatchString(name) {
		o.failValue(f, "is %q, must be letters, digits, _, -, . and :", clip(name))
	}
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
	o.callable(fieldToolChoice, t)
}

// callable makes sure that there is a tool where the choice asks for a call.
func (o *object) callable(f *field, t *toolset) {
	if t.forced() && len(t.tools) == 0 {
		o.failValue(f, "asks for a call, but there are no tools")
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
	t.keep(keep)
}

// keep leaves the tools of the given names.
func (t *toolset) keep(names map[string]bool) {
	t.tools = slices.DeleteFunc(t.tools, func(tool toolcall.Tool) bool { return !names[tool.Name] })
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
		c.remember(h, fieldCallID, call.ID)
		list = append(list, call)
	}
	return list
}

// remember takes down a call with that id.
func (o *object) remember(h *history, f *field, id string) {
	if o.has(f) && h.called[id] {
		o.failValue(f, "is %q, as that of another call", clip(id))
	}
	h.called[id] = true
	h.open = append(h.open, id)
}

func (o *object) call() chat.ToolCall {
	o.require(fieldCallID)
	o.text(fieldCallType)
	o.require(fieldCallFunction)
	call := chat.ToolCall{ID: o.text(fieldCallID), Arguments: json.RawMessage("{}")}
	if f := o.object(fieldCallFunction); f != nil {
		f.require(fieldCalledName)
		call.Name, call.Arguments = f.text(fieldCalledName), f.arguments(fieldCalledArguments)
	}
	return call
}

// arguments reads a JSON object, or its text.
func (o *object) arguments(field *field) json.RawMessage {
	raw := o.take(field)
	if typeOf(raw) == isString {
		text := strings.TrimSpace(o.text(field))
		if raw = json.RawMessage(text); text != "" && (!json.Valid(raw) || typeOf(raw) != isObject) {
			o.failValue(field, "is %q, must be the text of a JSON object", clip(text))
			return nil
		}
	}
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}

// answered reads which call a tool's message answers; as in llama-server it need not say so where one is open.
func (o *object) answered(h *history, f *field) string {
	id := o.text(f)
	switch {
	case o.has(f) && !h.called[id]:
		o.failValue(f, "is %q, which is the id of no call before it", clip(id))
	case !o.has(f) && len(h.open) == 0:
		o.missing(f, ": no call before it waits for an answer")
	case !o.has(f):
		id = h.open[0]
	}
	if i := slices.Index(h.open, id); i >= 0 {
		h.open = slices.Delete(h.open, i, i+1)
	}
	return id
}
