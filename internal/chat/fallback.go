package chat

import (
	"encoding/json"
	"slices"
	"strings"

	"aim/internal/jinja"
)

// Templates that do not know tools leave them out, and their models could not call any. For those the conversation is
// rewritten in the style of the Hermes models, in plain text of ordinary messages: the tools stand in the system message, calls
// in the assistant's, results in the user's. Nothing of it can become a special token.

const toolIntroduction = `You can call functions. Each line between <tools> and </tools> describes one, with a JSON schema of its parameters.

<tools>
`

const toolInstruction = `</tools>

To call a function, answer with its name and its arguments as a JSON object between tags, and with nothing behind them:
<tool_call>
{"name": "the name of the function", "arguments": {"parameter": "value"}}
</tool_call>
Results arrive between <tool_response> and </tool_response>. Answer without a call where no function is needed.`

// probe is the name of a tool that no template mentions by itself.
const probe = "zq_probe_tool"

// showsTools renders a conversation with a tool and looks for it in the prompt.
func (t *Template) showsTools() bool {
	if !strings.Contains(t.source, "tools") {
		return false
	}
	tool := json.RawMessage(`{"type":"function","function":{"name":"` + probe +
		`","description":"d","parameters":{"type":"object","properties":{"a":{"type":"string","description":"d"}},"required":["a"]}}}`)
	question := Message{Role: "user", Content: "q"}
	for _, messages := range [][]Message{{question}, {{Role: "system", Content: "s"}, question}} {
		out, err := t.text(Conversation{Messages: messages, Tools: []json.RawMessage{tool}}, true)
		if err == nil && strings.Contains(out.String(), probe) {
			return true
		}
	}
	return false
}

// usesTools says that a conversation has something to do with tools.
func (c *Conversation) usesTools() bool {
	return len(c.Tools) > 0 || slices.ContainsFunc(c.Messages, func(m Message) bool { return m.Role == "tool" || len(m.ToolCalls) > 0 })
}

// withoutTools tells in plain messages what c says about tools.
func withoutTools(c Conversation) Conversation {
	var messages []Message
	if len(c.Tools) > 0 {
		messages = append(messages, Message{Role: "system", Content: describeTools(c.Tools)})
	}
	for i, m := range c.Messages {
		last := len(messages) - 1
		switch {
		case m.Role == "tool":
			text := "<tool_response>\n" + m.Content + "\n</tool_response>"
			if i > 0 && c.Messages[i-1].Role == "tool" {
				messages[last].Content += "\n" + text
			} else {
				messages = append(messages, Message{Role: "user", Content: text})
			}
		case i == 0 && last == 0 && (m.Role == "system" || m.Role == "developer"):
			messages[0].Content = m.Content + "\n\n" + messages[0].Content
		case len(m.ToolCalls) > 0:
			m.Content = strings.TrimLeft(m.Content+"\n"+describeCalls(m.ToolCalls), "\n")
			m.NoContent, m.ToolCalls = false, nil
			messages = append(messages, m)
		default:
			messages = append(messages, m)
		}
	}
	c.Tools, c.Messages = nil, messages
	return c
}

func describeTools(tools []json.RawMessage) string {
	var b strings.Builder
	b.WriteString(toolIntroduction)
	for _, tool := range tools {
		b.WriteString(jinja.CompactJSON(tool))
		b.WriteByte('\n')
	}
	b.WriteString(toolInstruction)
	return b.String()
}

func describeCalls(calls []ToolCall) string {
	texts := make([]string, len(calls))
	for i, call := range calls {
		arguments := call.Arguments
		if len(arguments) == 0 {
			arguments = json.RawMessage("{}")
		}
		texts[i] = `<tool_call>
{"name": ` + jinja.QuoteJSON(call.Name) + `, "arguments": ` + jinja.CompactJSON(arguments) + "}\n</tool_call>"
	}
	return strings.Join(texts, "\n")
}

// withoutSystem moves a system message at the front into the user's that follows.
func withoutSystem(c Conversation) (Conversation, bool) {
	if len(c.Messages) < 2 || c.Messages[0].Role != "system" || c.Messages[1].Role != "user" {
		return c, false
	}
	messages := slices.Clone(c.Messages[1:])
	messages[0].Content = c.Messages[0].Content + "\n\n" + messages[0].Content
	c.Messages = messages
	return c, true
}
