// Package chat turns a conversation into a prompt with the model's own Jinja template.
//
// A template is text of the model's maker and may spell special tokens such as <|im_start|>; what users supply may not:
// a message that contains <|im_end|> must reach the model as those ten characters. The package keeps track of which text
// came from where (see guard.go) and hands over the prompt as parts with their provenance.
package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"aim/internal/jinja"
	"aim/llama"
)

// maxPrompt bounds a rendered prompt in bytes. The longest contexts in use, of some million tokens, stay below it.
const maxPrompt = 32 << 20

// Message is one turn of a conversation.
type Message struct {
	// Role is one of [Roles]. Templates that do not know developer get system.
	Role string
	// Content is the text of the turn; NoContent says that there is none at all, as where an assistant only calls tools.
	Content   string
	NoContent bool
	// Name tells participants of one role apart; most templates ignore it.
	Name string
	// Reasoning is what an assistant thought before Content; templates know it as reasoning_content.
	Reasoning string
	// ToolCalls are those of an assistant, and ToolCallID is the call that a tool's Content answers.
	ToolCalls  []ToolCall
	ToolCallID string
}

// ToolCall is an assistant's call of a function.
type ToolCall struct {
	ID, Name string
	// Arguments is a JSON object.
	Arguments json.RawMessage
}

// Conversation is what a prompt is made of.
type Conversation struct {
	Messages []Message
	// Tools are definitions of tools as they stand in a request.
	Tools []json.RawMessage
	// Kwargs are further variables of the template, such as enable_thinking.
	Kwargs map[string]json.RawMessage
	// Continue lets the answer continue the last message, an assistant's, instead of answering it.
	Continue bool
}

// Options are the facts about a model's vocabulary that a template and its provenance depend on.
type Options struct {
	// BOS and EOS are the spellings of the tokens that begin and end a sequence, which templates call bos_token and
	// eos_token.
	BOS, EOS string
	// Specials are the spellings that mean something only in trusted text: those of all control tokens.
	Specials []string
}

// Template is a compiled chat template. It is safe for concurrent use.
type Template struct {
	source   string
	jinja    *jinja.Template
	bos, eos string
	guard    *guard
	// developer says that the template knows the role of this name.
	developer bool
	// knowsTools says that the template shows tools to the model.
	knowsTools bool
	// now is the clock of strftime_now; tests replace it.
	now func() time.Time
}

// TemplateError says that a template does not compile, or that it refused the messages it was given.
type TemplateError struct {
	// Message is the text of the template's own raise_exception where Raised is true, else what went wrong in it.
	Message string
	// Raised says that the template itself objected, for instance to the order of roles.
	Raised bool
}

func (e *TemplateError) Error() string {
	if e.Raised {
		return "the model's chat template refuses these messages: " + e.Message
	}
	return "the model's chat template fails: " + e.Message
}

// Compile parses a chat template. The error is a [TemplateError].
func Compile(source string, o Options) (*Template, error) {
	compiled, err := jinja.Compile(source)
	if err != nil {
		return nil, templateError(err)
	}
	t := &Template{
		source:    source,
		jinja:     compiled,
		bos:       o.BOS,
		eos:       o.EOS,
		guard:     newGuard(o.Specials),
		developer: strings.Contains(source, "developer"),
		now:       time.Now,
	}
	t.knowsTools = t.showsTools()
	return t, nil
}

// Source is the text of the template.
func (t *Template) Source() string { return t.source }

// KnowsTools reports whether the template shows tools to the model. Where it does not, [Template.Render] explains them in a
// message of its own (see fallback.go).
func (t *Template) KnowsTools() bool { return t.knowsTools }

// OpensThinking reports whether a prompt ends inside of an open think tag, so that the answer begins with reasoning.
func (t *Template) OpensThinking(prompt string) bool {
	at := strings.LastIndex(prompt, "<think>")
	if at < 0 {
		return false
	}
	rest := prompt[at+len("<think>"):]
	// A special token behind it ends the turn in which the tag was opened.
	return !strings.Contains(rest, "</think>") && !t.guard.spells(rest)
}

// Render returns the prompt that asks for the assistant's next turn, or for the rest of its last one where c.Continue is
// set. All errors are a [TemplateError].
func (t *Template) Render(c Conversation) ([]llama.Part, error) {
	if c.usesTools() && !t.knowsTools {
		c = withoutTools(c)
		parts, err := t.render(c, !c.Continue)
		if err == nil {
			return parts, nil
		}
		// Some templates refuse system messages.
		if merged, ok := withoutSystem(c); ok {
			if parts, err := t.render(merged, !c.Continue); err == nil {
				return parts, nil
			}
		}
		return nil, err
	}
	return t.render(c, !c.Continue)
}

// render renders the template as Hugging Face's apply_chat_template does, with add_generation_prompt as given.
func (t *Template) render(c Conversation, generate bool) ([]llama.Part, error) {
	if c.Continue {
		return t.renderContinued(c)
	}
	out, err := t.text(c, generate)
	if err != nil {
		return nil, err
	}
	return t.guard.split(out), nil
}

// text is the rendered prompt.
func (t *Template) text(c Conversation, generate bool) (*jinja.Str, error) {
	vars, err := t.variables(c)
	if err != nil {
		return nil, err
	}
	vars["add_generation_prompt"] = generate
	size := c.size()
	out, err := t.jinja.Render(vars, jinja.Limits{
		Steps:  baseSteps + 20*size,
		Memory: baseMemory + 64*size,
		Output: maxPrompt,
	})
	if err != nil {
		return nil, templateError(err)
	}
	return out, nil
}

// Bounds of a template's work; a conversation adds to them in proportion to its length.
const (
	baseSteps  = 4 << 20
	baseMemory = 128 << 20
)

// size is the length in bytes of all that a caller supplied.
func (c *Conversation) size() int {
	n := 0
	for _, m := range c.Messages {
		n += len(m.Content) + len(m.Reasoning) + 64
		for _, call := range m.ToolCalls {
			n += len(call.Arguments) + 64
		}
	}
	for _, tool := range c.Tools {
		n += len(tool)
	}
	for _, v := range c.Kwargs {
		n += len(v)
	}
	return n
}

// continueMark is what Hugging Face puts behind the last message to find its end in the prompt.
const continueMark = "CONTINUE_FINAL_MESSAGE_TAG "

// renderContinued renders a prompt that ends with the last message's content. As at Hugging Face white space at its end goes
// where the template trims messages.
func (t *Template) renderContinued(c Conversation) ([]llama.Part, error) {
	n := len(c.Messages)
	if n == 0 {
		return nil, &TemplateError{Message: "there is no message to continue"}
	}
	c.Messages = slices.Clone(c.Messages)
	last := &c.Messages[n-1]
	content := last.Content
	last.Content += continueMark
	last.NoContent = false
	out, err := t.text(c, false)
	if err != nil {
		return nil, err
	}
	text := out.String()
	at := strings.LastIndex(text, strings.TrimSpace(continueMark))
	if at < 0 || !strings.Contains(text, strings.TrimSpace(content)) {
		return nil, &TemplateError{Message: "the message to continue does not appear in the prompt as it is"}
	}
	end := at
	if !strings.HasPrefix(text[at:], continueMark) {
		end = len(strings.TrimRightFunc(text[:at], unicode.IsSpace))
	}
	return t.guard.split(out.Sub(0, end)), nil
}

// Roles are those that a message may have. They are not user-supplied text: templates such as <|{{ role }}|> spell special
// tokens with them.
var Roles = []string{"system", "developer", "user", "assistant", "tool"}

// reserved are the variables that a request cannot set.
var reserved = []string{"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "raise_exception", "strftime_now"}

// variables are those that the template sees.
func (t *Template) variables(c Conversation) (map[string]jinja.Value, error) {
	vars := map[string]jinja.Value{
		"bos_token": jinja.Text(t.bos),
		"eos_token": jinja.Text(t.eos),
		// Hugging Face defines both for every template, as none where the request has none.
		"tools":           jinja.None,
		"documents":       jinja.None,
		"raise_exception": jinja.NewFunc("raise_exception", raise),
		"strftime_now":    jinja.NewFunc("strftime_now", t.strftimeNow),
	}
	for id, text := range c.Kwargs {
		if slices.Contains(reserved, id) {
			return nil, &TemplateError{Message: "the variable " + id + " is not for requests to set"}
		}
		v, err := fromJSON(text, "the variable "+id)
		if err != nil {
			return nil, err
		}
		vars[id] = v
	}
	if len(c.Tools) > 0 {
		tools := make([]jinja.Value, len(c.Tools))
		for i, text := range c.Tools {
			v, err := fromJSON(text, fmt.Sprintf("tool %d", i))
			if err != nil {
				return nil, err
			}
			tools[i] = v
		}
		vars["tools"] = jinja.NewList(tools...)
	}
	messages := make([]jinja.Value, len(c.Messages))
	for i, m := range c.Messages {
		v, err := t.message(i, m)
		if err != nil {
			return nil, err
		}
		messages[i] = v
	}
	vars["messages"] = jinja.NewList(messages...)
	return vars, nil
}

func fromJSON(text json.RawMessage, what string) (jinja.Value, error) {
	v, err := jinja.FromJSON(text)
	if err != nil {
		return nil, &TemplateError{Message: what + ": " + err.Error()}
	}
	return v, nil
}

// message is a message as templates see it.
func (t *Template) message(i int, m Message) (jinja.Value, error) {
	if !slices.Contains(Roles, m.Role) {
		return nil, &TemplateError{Message: fmt.Sprintf("message %d has the unknown role %q", i, m.Role)}
	}
	role := m.Role
	if role == "developer" && !t.developer {
		role = "system"
	}
	d := jinja.NewDict()
	d.Set("role", jinja.Text(role))
	if m.NoContent {
		d.Set("content", jinja.None)
	} else {
		d.Set("content", jinja.Foreign(m.Content))
	}
	if m.Reasoning != "" {
		d.Set("reasoning_content", jinja.Foreign(m.Reasoning))
	}
	if len(m.ToolCalls) > 0 {
		calls := make([]jinja.Value, len(m.ToolCalls))
		for j, call := range m.ToolCalls {
			v, err := toolCall(call, fmt.Sprintf("the arguments of tool call %d in message %d", j, i))
			if err != nil {
				return nil, err
			}
			calls[j] = v
		}
		d.Set("tool_calls", jinja.NewList(calls...))
	}
	if m.ToolCallID != "" {
		d.Set("tool_call_id", jinja.Foreign(m.ToolCallID))
	}
	if m.Name != "" {
		d.Set("name", jinja.Foreign(m.Name))
	}
	return d, nil
}

// toolCall is a call as templates see it: with arguments as an object, which is what Hugging Face asks for.
func toolCall(call ToolCall, what string) (jinja.Value, error) {
	text := call.Arguments
	if len(text) == 0 {
		text = json.RawMessage("{}")
	}
	arguments, err := fromJSON(text, what)
	if err != nil {
		return nil, err
	}
	function := jinja.NewDict()
	function.Set("name", jinja.Foreign(call.Name))
	function.Set("arguments", arguments)
	d := jinja.NewDict()
	if call.ID != "" {
		d.Set("id", jinja.Foreign(call.ID))
	}
	d.Set("type", jinja.Text("function"))
	d.Set("function", function)
	return d, nil
}

func raise(args []jinja.Value) (jinja.Value, error) {
	message := "no reason given"
	if len(args) > 0 {
		if s, ok := args[0].(*jinja.Str); ok {
			message = s.String()
		}
	}
	return nil, &jinja.Error{Kind: jinja.Raised, Message: message}
}

func (t *Template) strftimeNow(args []jinja.Value) (jinja.Value, error) {
	if len(args) == 1 {
		if format, ok := args[0].(*jinja.Str); ok {
			return jinja.Text(strftime(t.now(), format.String())), nil
		}
	}
	return nil, &jinja.Error{Kind: jinja.TypeError, Message: "strftime_now takes one string"}
}

func templateError(err error) *TemplateError {
	var e *jinja.Error
	if errors.As(err, &e) && e.Kind == jinja.Raised {
		return &TemplateError{Message: e.Message, Raised: true}
	}
	return &TemplateError{Message: err.Error()}
}
