package eval

import (
	"aim/llama"
	"aim/sampler"
)

// Lexical are the tries of every topic on every prompt of a set, the first prompts and topics of it where these are not 0.
// render turns a prompt into tokens, and focus a topic's words into what is done about them; a nil focus leaves the answers
// alone.
func (s *FocusSet) Lexical(
	prompts, topics int, render func(string) ([]sampler.Token, error), focus func(words []string) (sampler.Params, error), maxTokens int,
) ([]Try, error) {
	var tries []Try
	for i, prompt := range s.Prompts[:atMost(prompts, len(s.Prompts))] {
		tokens, err := render(prompt)
		if err != nil {
			return nil, err
		}
		for _, topic := range s.Topics[:atMost(topics, len(s.Topics))] {
			t := Try{Group: i, Words: topic.Words, Request: llama.Request{Prompt: tokens, MaxTokens: maxTokens}}
			if focus != nil {
				if t.Request.Params, err = focus(topic.Words); err != nil {
					return nil, err
				}
			}
			tries = append(tries, t)
		}
	}
	return tries, nil
}

func atMost(n, have int) int {
	if n == 0 {
		return have
	}
	return min(n, have)
}
