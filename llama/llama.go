// Package llama is the engine: it runs many sequences over one model at once.
//
// It knows no transport and no C. A driver (llama/cpp, or the fake of llama/llamatest) supplies a [Model] and a
// [Decoder]; callers hand a [Request] to [Engine.Generate] and range over the answer. One goroutine, that of
// [Engine.Run], owns the Decoder and everything that changes with it.
package llama

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aim/sampler"
)

// Part is a stretch of prompt text with its provenance.
type Part struct {
	Text string
	// Trusted text may spell special tokens such as <|im_end|>; in other text they are ordinary characters.
	Trusted bool
}

// Kind tells what a token is for.
type Kind int

const (
	// Normal tokens are text.
	Normal Kind = iota
	// Control tokens structure a prompt and are not part of an answer's text.
	Control
	// End tokens are control tokens that end an answer.
	End
)

// Model is what never changes once loaded. It is safe for concurrent use.
type Model interface {
	// Vocab is the number of tokens, and so the length of a row of logits.
	Vocab() int
	// Tokenize turns text into tokens. With special, the tokens that the model wants around a prompt (usually a
	// beginning-of-sequence) are added, unless the first part already spells the first of them.
	Tokenize(parts []Part, special bool) ([]sampler.Token, error)
	// Piece is the text of a token, possibly part of a rune; for control tokens their spelling. The caller must not
	// change it. Piece of a token outside the vocabulary is nil.
	Piece(t sampler.Token) []byte
	// Kind is the kind of a token.
	Kind(t sampler.Token) Kind
}

// Row is one token to feed to a sequence at a position.
type Row struct {
	Token sampler.Token
	Seq   int
	Pos   int
	// Logits asks for the row of logits that follows this token.
	Logits bool
}

// Decoder is what does change: the KV cache. Only one goroutine may use it.
type Decoder interface {
	// Decode appends rows to their sequences; positions of a sequence are contiguous and continue what is there.
	// It fails with [ErrCacheFull] and leaves the cache as it was where the rows do not fit; after any other error the
	// sequences of the batch are in an unknown state and must be forgotten from 0.
	Decode(rows []Row) error
	// Logits is the row of logits of rows[i] of the last successful Decode, Model.Vocab long. It is a view, valid until
	// the next Decode, and the caller may overwrite it. It is nil where rows[i] did not ask for logits.
	Logits(i int) []float32
	// Forget removes the positions from .. of a sequence. From 0 it never fails; otherwise it may fail with
	// [ErrUnsupported] or [ErrOverwritten], and the sequence is then unchanged.
	Forget(seq, from int) error
	// Share makes the positions 0 .. upTo-1 of src also those of dst, which must be empty. It may fail as Forget may; dst is then still
	// empty.
	Share(src, dst, upTo int) error
}

// Keeper is a Decoder that can put sequences aside, outside the KV cache.
type Keeper interface {
	// Save returns what the cache holds of a sequence. The sequence stays as it is.
	Save(seq int) (State, error)
	// Restore brings what Save returned, of any sequence, into a sequence, which must be empty. It may fail with [ErrCacheFull]; the
	// sequence is empty then.
	Restore(seq int, state []byte) error
}

// State is a sequence that was put aside. Its memory is freed by Free, after which it must not be used.
type State interface {
	Bytes() []byte
	Free()
}

// SchemaConverter is a Model that can turn a JSON schema into a grammar in GBNF.
type SchemaConverter interface {
	SchemaToGrammar(schema []byte) (gbnf string, err error)
}

// Infiller is a Model that may fill gaps. Infill is the prompt that asks for what stands between prefix and suffix, or
// [ErrUnsupported] where the model has no tokens for it.
type Infiller interface {
	Infill(prefix, suffix string) ([]sampler.Token, error)
}

// Embedder turns texts into vectors. It is safe for concurrent use.
type Embedder interface {
	// Embed returns a vector of length 1 and Dimensions entries for each input.
	Embed(ctx context.Context, inputs [][]sampler.Token) ([][]float32, error)
	Dimensions() int
	// Context is the most tokens of one input.
	Context() int
}

// Request is one answer to generate.
type Request struct {
	// Prompt is the tokens so far; at least one.
	Prompt []sampler.Token
	// Params says how to choose tokens.
	Params sampler.Params
	// MaxTokens bounds the answer; 0 lets it run to the end of the context.
	MaxTokens int
	// NoAnswer asks for nothing but what is told about the prompt: no token is chosen, and MaxTokens does not matter. The prompt may be
	// as long as the context, and the finish is [FinishLength].
	NoAnswer bool
	// ScorePrompt asks for the log-probabilities of the prompt's tokens, as Params.Logprobs, which must be true, and Params.TopLogprobs
	// say; see [Delta.Prompt]. Each is what the token would have as the first of an answer to those before it, modulated like one, but
	// without Params.Mask, MinTokens and IgnoreEnd, which are about an answer alone. Params.Spans must be empty.
	ScorePrompt bool
	// ShowControl makes the spelling of control tokens part of the answer's text, but for those that end it: for those who parse it.
	ShowControl bool
	// Stop ends the answer before the first occurrence of any of these texts.
	Stop []string
	// Forced is what the answer begins with, whatever the sampler would choose: to see what the model makes of it. The
	// sampler runs all the same, so that its log-probabilities and its observer describe these tokens, but draws nothing.
	Forced []sampler.Token
	// NoCache computes the whole prompt, and leaves nothing for others to take over.
	NoCache bool
	// CacheDomain separates caches: a prompt takes over the beginnings of other prompts only within its domain.
	CacheDomain string
	// Group is whom the request belongs to, such as an API key: when requests wait for slots, groups take turns.
	Group string
	// Weight > 0 is the group's share where several wait: one of 4 is served four times the tokens of one of 1. 0 is 1.
	Weight float64
	// Patience > 0 is how long the request waits for a slot; then it fails with [ErrQueued]. Deadline, where it is set, is when it fails with
	// [ErrDeadline], wherever it is. Both are looked at before each decode.
	Patience time.Duration
	Deadline time.Time
	// Predicted is what the answer is expected to be like, such as a text that it repeats with changes. It changes nothing about
	// the answer, but may make it faster; see Config.Draft.
	Predicted []sampler.Token
	// Adapters is the set of adapters to compute under; see [Adapter]. Requests of different sets share no decode and no cache.
	Adapters AdapterSet
	// Name is what the request's figures are counted under, such as the model that was asked for; see [Engine.Counters]. An
	// engine keeps the figures of every name it has met.
	Name string
}

// Finish says why an answer ended.
type Finish string

const (
	// FinishStop: the model ended its turn, or a stop string occurred.
	FinishStop Finish = "stop"
	// FinishLength: MaxTokens or the end of the context was reached.
	FinishLength Finish = "length"
)

// Delta is a piece of an answer.
type Delta struct {
	// Text is valid UTF-8 and never contains part of a stop string that may still complete. Invalid bytes of the model
	// appear as U+FFFD.
	Text string
	// Tokens are the tokens that this text came from.
	Tokens []Sampled
	// Prompt is set on the first delta where Request.ScorePrompt asks for it: the prompt's tokens in order, of which the first
	// has no log-probability.
	Prompt []Sampled
	// Chosen counts the tokens chosen so far, those without text included.
	Chosen int
	// Finish is empty on all deltas but the last.
	Finish Finish
	// End is the token that ended the answer, where one did; it is on the last delta and has no text.
	End *Sampled
	// Stopped is the stop string that ended the answer, where one did; it is on the last delta.
	Stopped string
	// Usage and Counts are set on the last delta, and Report is where Params.Report asks for it.
	Usage  Usage
	Counts sampler.Counts
	Report *Report
}

// Report says what modulation did to an answer.
type Report struct {
	sampler.Report
	// Tokens are its steps in order, one for each of Usage.CompletionTokens: beside the tokens of the text also one that ended
	// the answer, and those that a stop string cut off.
	Tokens []sampler.Step
}

// Sampled is a token of an answer, with what the request asked to know about it.
type Sampled struct {
	Token   sampler.Token
	Logprob float64
	Top     []sampler.Candidate
}

// sampledOf keeps a choice beyond the sampler's next step.
func sampledOf(c sampler.Choice) Sampled {
	return Sampled{c.Token, c.Logprob, append([]sampler.Candidate(nil), c.Top...)}
}

// Usage counts the tokens of a request.
type Usage struct {
	// PromptTokens is the length of the prompt.
	PromptTokens int
	// CompletionTokens is the number of tokens chosen, the one that ended the answer included.
	CompletionTokens int
	// CachedTokens is how many of the prompt were not computed for this request.
	CachedTokens int
	// DraftedTokens is how many tokens were guessed ahead, and AcceptedTokens how many of these were chosen and saved a decode.
	DraftedTokens, AcceptedTokens int
	// Queued is the time until the prompt's first decode, PromptTime that until the first token, and AnswerTime that of the rest.
	Queued, PromptTime, AnswerTime time.Duration
}

// Errors of Generate, beside [TooLongError], [DecodeError], those of sampler and those of the caller's context.
var (
	// ErrBusy: the queue is full; try again later.
	ErrBusy = errors.New("the queue is full")
	// ErrClosed: the engine is shutting down.
	ErrClosed = errors.New("the engine is shutting down")
	// ErrQueued: no slot became free in time; try again later.
	ErrQueued = errors.New("no slot became free in time")
	// ErrDeadline: the answer was not complete at its deadline.
	ErrDeadline = errors.New("the deadline has passed")
	// ErrInternal: a step panicked; the report is in the log.
	ErrInternal = errors.New("internal error")
)

// Errors of a Decoder.
var (
	// ErrCacheFull: the KV cache has no room for the rows.
	ErrCacheFull = errors.New("the KV cache is full")
	// ErrOverwritten: the cache of a model with sliding windows does not go back so far any more.
	ErrOverwritten = errors.New("the sliding window has passed")
	// ErrUnsupported: this model's cache cannot do that.
	ErrUnsupported = errors.New("not supported by this model")
)

// TooLongError says that a prompt leaves no room in the context for even one token.
type TooLongError struct {
	// Prompt and Context are in tokens.
	Prompt, Context int
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("the prompt has %d tokens, which leaves no room for an answer in a context of %d", e.Prompt, e.Context)
}

// DecodeError says that the model failed on a batch.
type DecodeError struct{ Err error }

func (e *DecodeError) Error() string { return "decode failed: " + e.Err.Error() }

// Unwrap returns the driver's error.
func (e *DecodeError) Unwrap() error { return e.Err }
