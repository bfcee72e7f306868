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

	"github.com/ardanlabs/jinja"

	"aim/llama"
)

// maxPrompt bounds a rendered prompt in bytes. The longest contexts in use, of some million tokens, stay below it.
const maxPrompt = 32 << 20

// Message is one turn of a conversation.
type Message struct {
	// Role is one of [Roles]. Templates that do not know developer get system.
	Role string
	// Content is the text of the turn.
	Content string
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
	jinja    *jinja.Template
	source   string
	bos, eos string
	guard    *guard
	// developer says that the template knows the role of this name.
	developer bool
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
func Compile(source string, o Options) (t *Template, err error) {
	defer recoverTemplate(&err)
	compiled, err := jinja.Compile(strings.ReplaceAll(source, sentinel, ""))
	if err != nil {
		return nil, &TemplateError{Message: err.Error()}
	}
	return &Template{
		jinja:     compiled,
		source:    source,
		bos:       o.BOS,
		eos:       o.EOS,
		guard:     newGuard(o.Specials, source),
		developer: strings.Contains(source, "developer"),
		now:       time.Now,
	}, nil
}

// Source is the text of the template.
func (t *Template) Source() string { return t.source }

// Render returns the prompt that asks for the assistant's next turn. All errors are a [TemplateError].
func (t *Template) Render(c Conversation) ([]llama.Part, error) {
	return t.render(c.Messages, true)
}

// render is Render, with add_generation_prompt as given.
func (t *Template) render(messages []Message, generate bool) (parts []llama.Part, err error) {
	defer recoverTemplate(&err)
	conversation, err := t.values(messages)
	if err != nil {
		return nil, err
	}
	out, err := t.jinja.RenderValues(map[string]jinja.Value{
		"messages":              conversation,
		"add_generation_prompt": jinja.NewBool(generate),
		"bos_token":             jinja.NewString(t.bos),
		"eos_token":             jinja.NewString(t.eos),
		// Hugging Face defines both for every template, as none where the request has none.
		"tools":           jinja.None(),
		"documents":       jinja.None(),
		"raise_exception": jinja.NewCallable("raise_exception", raise),
		"strftime_now":    jinja.NewCallable("strftime_now", t.strftimeNow),
	})
	if err != nil {
		return nil, templateError(err)
	}
	if len(out) > maxPrompt {
		return nil, &TemplateError{Message: fmt.Sprintf("the prompt has %d bytes, more than %d", len(out), maxPrompt)}
	}
	return t.guard.split(out), nil
}

// Roles are those that a message may have. They are not user-supplied text: templates such as <|{{ role }}|> spell special
// tokens with them.
var Roles = []string{"system", "developer", "user", "assistant", "tool"}

// values is the conversation as templates see it.
func (t *Template) values(messages []Message) (jinja.Value, error) {
	items := make([]jinja.Value, len(messages))
	for i, m := range messages {
		if !slices.Contains(Roles, m.Role) {
			return jinja.Undefined(), &TemplateError{Message: fmt.Sprintf("message %d has the unknown role %q", i, m.Role)}
		}
		role := m.Role
		if role == "developer" && !t.developer {
			role = "system"
		}
		items[i] = jinja.NewDict()
		d := items[i].AsDict() // shares its storage with the value
		d.Set("role", jinja.NewString(role))
		d.Set("content", jinja.NewString(t.guard.disguise(m.Content)))
		if m.Name != "" {
			d.Set("name", jinja.NewString(t.guard.disguise(m.Name)))
		}
	}
	return jinja.NewList(items), nil
}

// raised carries the message of raise_exception through the library.
type raised string

func (r raised) Error() string { return string(r) }

func raise(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
	message := "no reason given"
	if len(args) > 0 && args[0].IsString() {
		message = strings.ReplaceAll(args[0].AsString(), sentinel, "")
	}
	return jinja.Undefined(), raised(message)
}

func (t *Template) strftimeNow(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
	if len(args) != 1 || !args[0].IsString() {
		return jinja.Undefined(), errors.New("strftime_now takes one string")
	}
	return jinja.NewString(strftime(t.now(), args[0].AsString())), nil
}

func templateError(err error) *TemplateError {
	var r raised
	if errors.As(err, &r) {
		return &TemplateError{Message: string(r), Raised: true}
	}
	return &TemplateError{Message: strings.ReplaceAll(err.Error(), sentinel, "")}
}

// recoverTemplate turns a panic of the library, which indexes some arguments unchecked, into an error.
func recoverTemplate(err *error) {
	if p := recover(); p != nil {
		*err = &TemplateError{Message: strings.ReplaceAll(fmt.Sprint(p), sentinel, "")}
	}
}
