package server

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"aim/internal/chat"
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
	messages := o.messages()
	if *o.err != nil {
		return nil, *o.err
	}
	if c.model.Template == nil {
		return nil, invalid("model", "no_chat_template", "the model %s has no chat template; /v1/completions takes plain text", c.model.ID)
	}
	tokens, err := c.conversation(messages)
	if err != nil {
		return nil, err
	}
	spans, err := c.chatSpans(messages)
	if err != nil {
		return nil, err
	}
	c.prompts = []prompt{{tokens: tokens, spans: spans}}
	c.wire = newChatWire(c)
	return c, s.bound(c)
}

// conversation is the prompt that the model's template makes of messages.
func (c *call) conversation(messages []chat.Message) ([]sampler.Token, error) {
	parts, err := c.model.Template.Render(chat.Conversation{Messages: messages})
	if err != nil {
		return nil, err
	}
	tokens, err := c.model.Engine.Model().Tokenize(parts, true)
	if err != nil {
		return nil, invalid("messages", codeValue, "the messages cannot be tokenized: %v", err)
	}
	if len(tokens) == 0 {
		return nil, invalid("messages", codeValue, "the chat template makes an empty prompt of the messages")
	}
	return tokens, nil
}

// unsupportedInChat refuses what would need another answer than the one Aim gives.
func (o *object) unsupportedInChat() {
	choice := string(o.take(fieldToolChoice))
	o.unsupported(fieldTools, func(raw json.RawMessage) bool { return filled(raw) && choice != `"none"` })
	o.unsupported(fieldFunctions, filled)
	o.unsupported(fieldAudio, filled)
	o.unsupported(fieldModalities, func(raw json.RawMessage) bool {
		var list []string
		return json.Unmarshal(raw, &list) != nil || slices.ContainsFunc(list, func(m string) bool { return m != "text" })
	})
	o.unsupported(fieldResponseFormat, func(raw json.RawMessage) bool {
		var format struct{ Type string }
		return json.Unmarshal(raw, &format) != nil || format.Type != "text"
	})
}

// messages reads the conversation.
func (o *object) messages() []chat.Message {
	o.require(fieldMessages)
	list := o.array(fieldMessages)
	if o.has(fieldMessages) && len(list) == 0 {
		o.failValue(fieldMessages, "must not be empty")
	}
	messages := make([]chat.Message, len(list))
	for i, raw := range list {
		messages[i] = newObject(o.item(fieldMessages, i), raw, o.err).message()
	}
	return messages
}

func (o *object) message() chat.Message {
	o.require(fieldRole)
	m := chat.Message{Role: o.text(fieldRole), Name: o.text(fieldName)}
	o.unsupported(fieldToolCalls, filled)
	o.unsupported(fieldFunctionCall, filled)
	o.unsupported(fieldMessageAudio, filled)
	// An assistant's turn without text is one that only called a tool or refused.
	if m.Role != "assistant" {
		o.require(fieldContent)
	}
	m.Content = o.content()
	return m
}

// content reads a string, or an array of parts that are all text. As in other servers the parts are lines.
func (o *object) content() string {
	raw := o.take(fieldContent)
	if typeOf(raw) == isString {
		return o.text(fieldContent)
	}
	parts := o.array(fieldContent)
	lines := make([]string, len(parts))
	for i, part := range parts {
		p := newObject(o.item(fieldContent, i), part, o.err)
		p.require(fieldPartType)
		if kind := p.text(fieldPartType); p.has(fieldPartType) && kind != "text" {
			o.fail(invalid(p.path, codeContent, "%s is of type %q; only text is supported", p.path, clip(kind)))
		}
		p.require(fieldPartText)
		lines[i] = p.text(fieldPartText)
	}
	return strings.Join(lines, "\n")
}
