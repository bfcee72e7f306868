package server

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"aim/internal/chat"
	"aim/internal/toolcall"
	"aim/llama"
	"aim/sampler"
)

// chatCompletions serves POST /v1/chat/completions.
func (s *Server) chatCompletions(c *gin.Context) { s.complete(c, s.parseChat) }

// parseChat reads a chat request.
func (s *Server) parseChat(o *object) (*call, error) {
	c, err := s.common(o)
	if err != nil {
		return nil, err
	}
	o.unsupportedInChat()
	c.request.MaxTokens = o.maxTokens(fieldMaxTokens)
	c.logprobs = o.boolean(fieldLogprobs)
	c.request.Params.Logprobs, c.request.Params.TopLogprobs = c.logprobs, int(o.integer(fieldTopLogprobs))
	if err := c.converseAs(o, fieldMessages); err != nil {
		return nil, err
	}
	if err := o.prediction(c); err != nil {
		return nil, err
	}
	c.wire = newChatWire(c)
	return c, s.bound(c)
}

// converseAs makes the messages of a field, and the other fields that make a prompt, the call's.
func (c *call) converseAs(o *object, messages *field) error {
	c.tools = o.toolset()
	d := dialogue{tools: c.tools.definitions, kwargs: o.kwargs(o.text(fieldEffort)), reasoning: o.text(fieldReasoningFormat)}
	d.messages = o.messages(messages)
	d.continues = o.continues(d.messages)
	if *o.err != nil {
		return *o.err
	}
	return c.converse(d)
}

// dialogue is a conversation as a request brings it: what every endpoint of conversations makes its call of.
type dialogue struct {
	messages []chat.Message
	tools    []json.RawMessage
	kwargs   map[string]json.RawMessage
	// continues lets the answer continue the last message.
	continues bool
	// reasoning is one of the values of reasoning_format.
	reasoning string
}

// converse makes a dialogue the call's prompt, and what reads and constrains the answer of the call's tools and form.
func (c *call) converse(d dialogue) error {
	t := c.model.Template
	if t == nil {
		return invalid("model", "no_chat_template", "the model %s has no chat template; /v1/completions takes plain text", c.model.ID)
	}
	tokens, parts, err := c.conversation(d, d.messages)
	if err != nil {
		return err
	}
	spans, err := c.chatSpans(d)
	if err != nil {
		return err
	}
	c.prompts = []prompt{{tokens: tokens, spans: spans}}
	known := c.model.thoughtful
	splits := d.reasoning == "deepseek" || d.reasoning == "auto" && known
	c.text = spell(parts)
	c.thinking = t.OpensThinking(c.text) || openThought(c.text)
	c.parsed = splits || c.tools.active()
	c.request.ShowControl = c.tools.active() || splits && known // their markers may be control tokens
	c.parser = toolcall.Options{
		Format: c.model.format, Tools: c.tools.tools, Choice: c.tools.choice, Parallel: c.tools.more(), Reasoning: splits, Open: c.thinking,
	}
	return c.constrainTools()
}

// thinks matches the source of a template whose model may think before it answers.
var thinks = regexp.MustCompile(`(?i)think|thought|reasoning`)

// speech tells how the model of a template, which may be nil, spells calls, and whether it may think before it answers.
func speech(t *chat.Template) (format toolcall.Format, thoughtful bool) {
	if t == nil {
		return format, false
	}
	format = toolcall.Hermes // in which the model is told about tools that its template does not know
	if t.KnowsTools() {
		format = toolcall.Detect(t.Source())
	}
	return format, format == toolcall.Harmony || thinks.MatchString(t.Source())
}

// openThought says that a prompt ends with the beginning of a thought.
func openThought(prompt string) bool {
	prompt = strings.TrimSpace(prompt)
	return slices.ContainsFunc(toolcall.ThoughtTags, func(tags [2]string) bool { return strings.HasSuffix(prompt, tags[0]) })
}

// constrainTools makes an answer hold to the form that was asked for, or to a call where one is forced.
func (c *call) constrainTools() error {
	if c.form.gbnf != "" && c.tools.active() {
		return invalid(c.form.param, codeValue, "%s cannot be combined with tools, unless tool_choice is none", c.form.param)
	}
	if !c.tools.forced() {
		return c.constrain(c.form)
	}
	gbnf, err := toolcall.Grammar(c.parser, c.model.convert)
	if err != nil {
		return schemaFailure(fieldTools.name, err)
	}
	return c.constrain(form{fieldTools.name, gbnf})
}

// conversation is the prompt that the model's template makes of messages.
func (c *call) conversation(d dialogue, messages []chat.Message) ([]sampler.Token, []llama.Part, error) {
	parts, err := c.model.Template.Render(chat.Conversation{Messages: messages, Tools: d.tools, Kwargs: d.kwargs, Continue: d.continues})
	if err != nil {
		return nil, nil, err
	}
	tokens, err := c.model.Engine.Model().Tokenize(parts, true)
	if err != nil {
		return nil, nil, invalid("messages", codeValue, "the messages cannot be tokenized: %v", err)
	}
	if len(tokens) == 0 {
		return nil, nil, invalid("messages", codeValue, "the chat template makes an empty prompt of the messages")
	}
	return tokens, parts, nil
}

func spell(parts []llama.Part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// unsupportedInChat refuses what would need another answer than the one Aim gives.
func (o *object) unsupportedInChat() {
	o.unsupported(fieldFunctions, filled)
	o.unsupported(fieldFunctionCall, func(raw json.RawMessage) bool { return string(raw) != `"none"` && string(raw) != `"auto"` })
	o.unsupported(fieldAudio, filled)
	o.unsupported(fieldModalities, func(raw json.RawMessage) bool {
		var list []string
		return json.Unmarshal(raw, &list) != nil || slices.ContainsFunc(list, func(m string) bool { return m != "text" })
	})
}

// reserved are the variables of a template that a request has fields for, or that are the model's.
var reserved = []string{"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}

// kwargs reads the variables for the template, to which an effort of reasoning belongs.
func (o *object) kwargs(effort string) map[string]json.RawMessage {
	var kwargs map[string]json.RawMessage
	into(o.take(fieldTemplateKwargs), &kwargs)
	if len(kwargs) > fieldTemplateKwargs.most {
		o.failValue(fieldTemplateKwargs, "has %d entries, the most is %d", len(kwargs), fieldTemplateKwargs.most)
	}
	for _, name := range slices.Sorted(maps.Keys(kwargs)) {
		if slices.Contains(reserved, name) {
			o.failValue(fieldTemplateKwargs, "sets %s, which is not the request's to set", name)
		}
	}
	if effort != "" {
		set := map[string]json.RawMessage{"reasoning_effort": encode(effort)}
		if effort == "none" {
			set["enable_thinking"] = encode(false)
		}
		maps.Copy(set, kwargs)
		kwargs = set
	}
	return kwargs
}

// continues reads whether the answer continues the last message.
func (o *object) continues(messages []chat.Message) bool {
	continues, generates := o.boolean(fieldContinue), o.boolean(fieldGenerationPrompt)
	switch {
	case o.has(fieldGenerationPrompt) && continues && generates:
		o.failValue(fieldGenerationPrompt, "cannot be true with continue_final_message")
	case o.has(fieldGenerationPrompt) && !continues && !generates:
		o.failValue(fieldGenerationPrompt, "can be false only with continue_final_message")
	case continues && len(messages) > 0 && messages[len(messages)-1].Role != "assistant":
		o.failValue(fieldContinue, "needs a last message of the role assistant, not %s", clip(messages[len(messages)-1].Role))
	}
	return continues
}

// messages reads the conversation.
func (o *object) messages(f *field) []chat.Message {
	o.require(f)
	list := o.array(f)
	if o.has(f) && len(list) == 0 {
		o.failValue(f, "must not be empty")
	}
	h := &history{called: map[string]bool{}}
	messages := make([]chat.Message, len(list))
	for i, raw := range list {
		messages[i] = newObject(o.item(f, i), raw, o.err).message(h)
	}
	return messages
}

func (o *object) message(h *history) chat.Message {
	o.require(fieldRole)
	m := chat.Message{Role: o.text(fieldRole), Name: o.text(fieldName), Reasoning: o.text(fieldReasoning)}
	o.unsupported(fieldMessageFunctionCall, filled)
	o.unsupported(fieldMessageAudio, filled)
	switch m.Role {
	case "assistant": // a turn without text is one that only called a tool or refused
		m.ToolCalls = o.calls(h)
	case "tool":
		m.ToolCallID = o.answered(h, fieldToolCallID)
		o.require(fieldContent)
	default:
		o.require(fieldContent)
	}
	m.Content, m.NoContent = o.content(), !o.has(fieldContent) && len(m.ToolCalls) > 0
	return m
}

// content reads the text of a message.
func (o *object) content() string {
	return o.textParts(fieldContent, fieldPartType, map[string]*field{"text": fieldPartText, "refusal": fieldPartRefusal})
}

// textParts reads a string, or an array of parts that are all text. As in other servers the parts are lines. kind is the field of a
// part's type, and texts are the fields of its text, by type.
func (o *object) textParts(f, kind *field, texts map[string]*field) string {
	if typeOf(o.take(f)) == isString {
		return o.text(f)
	}
	list := o.array(f)
	lines := make([]string, len(list))
	for i, raw := range list {
		p := newObject(o.item(f, i), raw, o.err)
		p.require(kind)
		text, known := texts[p.text(kind)]
		if !known {
			if p.has(kind) {
				p.fail(invalid(p.path, codeContent, "%s is of type %q; only text is supported", p.path, clip(p.text(kind))))
			}
			text = texts["text"]
		}
		p.require(text)
		lines[i] = p.text(text)
	}
	return strings.Join(lines, "\n")
}
