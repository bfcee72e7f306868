// Package session is a conversation with a model in a terminal: its turns, its settings, and the commands that change
// them. It knows the engine and the chat template; where lines come from and text goes to is its caller's.
package session

import (
	"context"
	"errors"
	"io"
	"strings"

	"aim/internal/chat"
	"aim/llama"
)

// Config is what a Session needs.
type Config struct {
	// Engine answers; somebody else runs it.
	Engine *llama.Engine
	// Template renders the conversation.
	Template *chat.Template
	// Name is the model's name and Secret the owner's: the utility noise is keyed by both.
	Name   string
	Secret []byte
	// Sigma is the σ for a level of utility, which it may take a while to measure; without it levels are refused.
	Sigma func(level float64) (float64, error)
	// Settings are those to begin with.
	Settings Settings
	// Terminal says that answers are shown on a terminal, where control characters of a model could do harm.
	Terminal bool
}

// Session is one conversation. It is not safe for concurrent use.
type Session struct {
	cfg      Config
	settings Settings
	turns    []chat.Message
}

// New returns a conversation without turns. It fails where the settings are outside their domains.
func New(cfg Config) (*Session, error) {
	s := &Session{cfg: cfg}
	return s, s.change(func(set *Settings) { *set = cfg.Settings })
}

// Answer takes the user's turn and writes the model's as it is generated. Where ctx ends first, the part so far counts as
// the turn and the error is that of ctx; after any other error it is as if the user had said nothing.
func (s *Session) Answer(ctx context.Context, text string, w io.Writer) error {
	turns := append(s.turns[:len(s.turns):len(s.turns)], chat.Message{Role: "user", Content: text})
	request, err := s.request(turns)
	if err != nil {
		return err
	}
	answer, err := s.stream(ctx, request, w)
	if err == nil || ctx.Err() != nil {
		s.turns = append(turns, chat.Message{Role: "assistant", Content: answer})
	}
	return err
}

// Reset forgets the turns and keeps the settings.
func (s *Session) Reset() { s.turns = nil }

// request renders a conversation into the tokens to continue.
func (s *Session) request(turns []chat.Message) (llama.Request, error) {
	if s.settings.System != "" {
		turns = append([]chat.Message{{Role: "system", Content: s.settings.System}}, turns...)
	}
	parts, err := s.cfg.Template.Render(chat.Conversation{Messages: turns})
	if err != nil {
		return llama.Request{}, err
	}
	prompt, err := s.cfg.Engine.Model().Tokenize(parts, true)
	if err != nil {
		return llama.Request{}, err
	}
	params, err := s.params(s.settings)
	return llama.Request{Prompt: prompt, Params: params, MaxTokens: s.settings.MaxTokens}, err
}

// stream writes an answer piece by piece and returns all of it.
func (s *Session) stream(ctx context.Context, r llama.Request, w io.Writer) (string, error) {
	var answer strings.Builder
	for delta, err := range s.cfg.Engine.Generate(ctx, r) {
		if err != nil {
			return answer.String(), err
		}
		text := delta.Text
		answer.WriteString(text)
		if s.cfg.Terminal {
			text = printable(text)
		}
		if _, err := io.WriteString(w, text); err != nil {
			return answer.String(), err
		}
	}
	return answer.String(), nil
}

// printable replaces control characters, with which a text could move the cursor or set the title of a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' && r != '\n' && r != '\t') || (r >= 0x7f && r < 0xa0) {
			return '\ufffd'
		}
		return r
	}, text)
}

// explain puts an error in the words of somebody who chats.
func explain(err error) string {
	var long *llama.TooLongError
	if errors.As(err, &long) {
		return err.Error() + "; /reset begins anew"
	}
	return err.Error()
}
