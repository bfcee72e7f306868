package server

import (
	"crypto/rand"
	"math"
	"strings"
	"time"

	"aim/llama"
)

// wire is what an endpoint's JSON looks like: the events of a stream, and a whole answer. One is made for each request; its
// methods are called from one goroutine, for each choice in the order open, delta…, finish. A new endpoint brings a parse
// function that makes a call, and a wire.
type wire interface {
	// open begins choice i.
	open(i int, extra extra) []chunk
	// delta tells what choice i has yielded.
	delta(i int, p piece, extra extra) []chunk
	// finish ends choice i, of which a is all that it yielded.
	finish(i int, a *answer, extra extra) []chunk
	// end comes after all choices.
	end(answers []*answer, extra extra) []chunk
	// fail ends a stream that has begun.
	fail(e *apiError) []chunk
	// whole is the answer in one piece, as JSON.
	whole(answers []*answer, extra extra) any
}

// follower is a wire whose whole answers keep the order in which thoughts, text and calls came: it sees all pieces of its only choice.
type follower interface{ follow(p piece) }

// pinger is a wire with an event that says that the stream lives.
type pinger interface{ ping() chunk }

// chunk is an event of a stream.
type chunk struct {
	// event is its name, "" for none.
	event string
	// data is encoded as JSON, unless it is a rawText.
	data any
}

// rawText is data that is no JSON.
type rawText string

// done is the last event of OpenAI's older endpoints.
var done = chunk{data: rawText("[DONE]")}

// piece is what a choice yields at a time. Of Text, Reasoning and Call at most one is there.
type piece struct {
	// Prompt are the scored tokens of the prompt; they come with the first piece.
	Prompt []llama.Sampled
	// Text is part of the answer, and Reasoning of the thoughts before it.
	Text, Reasoning string
	// Call is part of the call of a tool.
	Call *callDelta
	// Tokens are what the model chose. Where an answer is parsed, text may come later than its tokens.
	Tokens []llama.Sampled
}

func (p *piece) empty() bool { return p.Text == "" && p.Reasoning == "" && p.Call == nil }

// callDelta is part of the call of a tool. The first one of a call has its ID and Name.
type callDelta struct {
	Index               int
	ID, Name, Arguments string
}

// answer is one choice, whole.
type answer struct {
	text, reasoning strings.Builder
	calls           []toolCall
	prompt, tokens  []llama.Sampled
	// end is the token that ended it, if one did.
	end    *llama.Sampled
	finish llama.Finish
	// stopped is the stop string that ended it, if one did.
	stopped string
	usage   llama.Usage
	// thought counts the tokens of reasoning.
	thought int
}

// toolCall is the call of a tool.
type toolCall struct {
	id, name  string
	arguments strings.Builder
}

// add appends a piece.
func (a *answer) add(p piece) {
	a.text.WriteString(p.Text)
	a.reasoning.WriteString(p.Reasoning)
	a.prompt = append(a.prompt, p.Prompt...)
	a.tokens = append(a.tokens, p.Tokens...)
	if p.Reasoning != "" {
		a.thought = len(a.tokens) // thoughts come first
	}
	if c := p.Call; c != nil {
		for len(a.calls) <= c.Index {
			a.calls = append(a.calls, toolCall{})
		}
		call := &a.calls[c.Index]
		call.id, call.name = call.id+c.ID, call.name+c.Name
		call.arguments.WriteString(c.Arguments)
	}
}

// score is the mean log-probability of the tokens, -Inf without any.
func (a *answer) score() float64 {
	sum := 0.0
	for _, t := range a.tokens {
		sum += t.Logprob
	}
	if len(a.tokens) == 0 {
		return math.Inf(-1)
	}
	return sum / float64(len(a.tokens))
}

// reason says why the answer ended, in OpenAI's words.
func (a *answer) reason() string {
	if a.finish == llama.FinishStop && len(a.calls) > 0 {
		return "tool_calls"
	}
	return string(a.finish)
}

// head is what all chunks of an answer have in common.
type head struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Created     int64  `json:"created"`
	Model       string `json:"model"`
	Fingerprint string `json:"system_fingerprint"`
}

func newHead(id, object string, m *served) head {
	return head{id, object, time.Now().Unix(), m.ID, m.fingerprint}
}

// newID is a name that nothing else has.
func newID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// extra is what stands beside the choices. Usage is left out where it is nil, and null where it holds a nil *usage; the others
// are left out where they are nil.
type extra struct {
	Usage   any       `json:"usage,omitempty"`
	Timings *timings  `json:"timings,omitempty"`
	Aim     *aimField `json:"aim,omitempty"`
}

// usage counts the tokens of a request; each prompt counts once, however many choices answer it.
type usage struct {
	Prompt            int               `json:"prompt_tokens"`
	Completion        int               `json:"completion_tokens"`
	Total             int               `json:"total_tokens"`
	PromptDetails     promptDetails     `json:"prompt_tokens_details"`
	CompletionDetails completionDetails `json:"completion_tokens_details"`

	// flips and hits are for the log.
	flips, hits uint64
}

// count completes the sums, where the choices have so many tokens.
func (u *usage) count(chosen []int) {
	u.Completion = 0
	for _, n := range chosen {
		u.Completion += n
	}
	u.Total = u.Prompt + u.Completion
}

type promptDetails struct {
	// Cached is how many tokens of the prompts had not to be computed.
	Cached int `json:"cached_tokens"`
}

type completionDetails struct {
	// Reasoning is how many tokens were thoughts.
	Reasoning int `json:"reasoning_tokens"`
	// Accepted is how many tokens were guessed ahead and chosen, and Rejected how many were guessed for nothing.
	Accepted int `json:"accepted_prediction_tokens,omitempty"`
	Rejected int `json:"rejected_prediction_tokens,omitempty"`
}

// timings say how long an answer took, as llama-server does: milliseconds, of all choices together.
type timings struct {
	CacheN          int     `json:"cache_n"`
	PromptN         int     `json:"prompt_n"`
	PromptMS        float64 `json:"prompt_ms"`
	PromptPerToken  float64 `json:"prompt_per_token_ms"`
	PromptPerSecond float64 `json:"prompt_per_second"`
	AnswerN         int     `json:"predicted_n"`
	AnswerMS        float64 `json:"predicted_ms"`
	AnswerPerToken  float64 `json:"predicted_per_token_ms"`
	AnswerPerSecond float64 `json:"predicted_per_second"`
}

// newTimings sums up the answers that have ended. Choices run side by side, so that the rates of several are those of one.
func newTimings(answers ...*answer) *timings {
	t := &timings{}
	for _, a := range answers {
		u := a.usage
		t.CacheN += u.CachedTokens
		t.PromptN += u.PromptTokens - u.CachedTokens
		t.AnswerN += u.CompletionTokens
		t.PromptMS += milliseconds(u.PromptTime)
		t.AnswerMS += milliseconds(u.AnswerTime)
	}
	t.PromptPerToken, t.PromptPerSecond = rates(t.PromptN, t.PromptMS)
	t.AnswerPerToken, t.AnswerPerSecond = rates(t.AnswerN, t.AnswerMS)
	return t
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// rates are milliseconds by token and tokens by second, 0 where they have no meaning.
func rates(n int, ms float64) (perToken, perSecond float64) {
	if n > 0 {
		perToken = ms / float64(n)
	}
	if ms > 0 {
		perSecond = float64(n) / ms * 1000
	}
	return perToken, perSecond
}
