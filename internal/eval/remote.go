package eval

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Remote scores items on a server that speaks the OpenAI API: completions and generations by what it answers, choices by
// the log-probabilities of the prompt (echo with logprobs), where it gives them.
type Remote struct {
	// URL is the base, such as http://127.0.0.1:8080/v1.
	URL string
	// Model is the model's id, Key the API key, if any.
	Model, Key string
	// Kind is the task's.
	Kind Kind
	// MaxTokens bounds an answer; 0 is 16 for a completion and [DefaultMaxTokens] for a generation.
	MaxTokens int
	// Draws ≥ 1 is the number of answers averaged at a temperature.
	Draws int
	// Retries bounds the attempts after a 429 or 503 or a broken connection; 0 is 8. Backoff is the first wait, which doubles; 0 is half a second.
	Retries int
	Backoff time.Duration
	// Client is the HTTP client; nil is the default one.
	Client *http.Client
}

var errNoLikelihood = errors.New("the server does not give log-probabilities of a prompt (echo with logprobs), which scoring choices by " +
	"likelihood needs; run it without --url, on the model itself")

// maxWait bounds the wait between two attempts, Retry-After included.
const maxWait = 30 * time.Second

// Whole implements [Scorer].
func (*Remote) Whole() bool { return false }

// completionRequest is the body of POST /completions.
type completionRequest struct {
	Model       string   `json:"model"`
	Prompt      string   `json:"prompt"`
	MaxTokens   int      `json:"max_tokens"`
	Temperature float64  `json:"temperature"`
	Seed        *int     `json:"seed,omitempty"`
	Stop        []string `json:"stop,omitempty"`
	Echo        bool     `json:"echo,omitempty"`
	Logprobs    *int     `json:"logprobs,omitempty"`
	Aim         *aimPart `json:"aim,omitempty"`
}

type aimPart struct {
	Utility aimUtility `json:"utility"`
}

type aimUtility struct {
	Sigma float64 `json:"sigma"`
}

// completionResponse is what is read of the answer.
type completionResponse struct {
	Choices []struct {
		Text     string
		Logprobs *struct {
			Tokens        []string
			TokenLogprobs []*float64 `json:"token_logprobs"`
			TextOffset    []int      `json:"text_offset"`
		}
	}
}

// StatusError is a refusal by the server.
type StatusError struct {
	Status int
	// Message is the server's.
	Message string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answered %d: %s", e.Status, e.Message)
}

// Check asks for a σ that no server may grant, to tell whether the server knows utility modulation at all: one that does not
// ignores the field, and would give the same curve for every σ.
func (r *Remote) Check(ctx context.Context) error {
	req := r.request("a", Arm{Sigma: -1}, 0)
	req.MaxTokens = 1
	_, err := r.send(ctx, req)
	var refused *StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest && strings.Contains(refused.Message, "sigma") {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.New("the server takes no notice of aim.utility: it cannot be swept over sigma")
}

// request is a greedy or sampled completion under an arm.
func (r *Remote) request(prompt string, a Arm, draw int) completionRequest {
	req := completionRequest{Model: r.Model, Prompt: prompt, MaxTokens: r.MaxTokens, Temperature: a.Temperature}
	if req.MaxTokens == 0 {
		req.MaxTokens = 16
		if r.Kind == Generation {
			req.MaxTokens = DefaultMaxTokens
		}
	}
	if r.Kind == Generation {
		req.Stop = stopQuestion
	}
	if a.Sigma != 0 {
		req.Aim = &aimPart{aimUtility{a.Sigma}}
	}
	if a.Temperature > 0 {
		req.Seed = &draw
	}
	return req
}

// Score implements [Scorer].
func (r *Remote) Score(ctx context.Context, it *Item, arms []Arm) (Values, error) {
	if r.Kind == Choice {
		return r.choose(ctx, it, arms)
	}
	v := Values{"acc": make([]float64, len(arms))}
	for i, a := range arms {
		draws := 1
		if a.Temperature > 0 {
			draws = max(r.Draws, 1)
		}
		for draw := range draws {
			res, err := r.send(ctx, r.request(it.Prompt, a, draw))
			if err != nil {
				return nil, err
			}
			v["acc"][i] += indicator(right(it, res.Choices[0].Text)) / float64(draws)
		}
	}
	return v, nil
}

// right judges a text by what the item wants.
func right(it *Item, text string) bool {
	if len(it.Choices) == 1 {
		return BeginsWith(text, it.Choices[0])
	}
	return SameNumber(Extract(text), it.Answer)
}

// choose scores by the log-probabilities that an echo gives.
func (r *Remote) choose(ctx context.Context, it *Item, arms []Arm) (Values, error) {
	v := Values{"acc": make([]float64, len(arms)), "acc_norm": make([]float64, len(arms))}
	for i, a := range arms {
		if a.Temperature > 0 {
			return nil, errors.New("likelihoods at other temperatures than 1 cannot be asked of a server")
		}
		lls := make([]float64, len(it.Choices))
		for c, choice := range it.Choices {
			var err error
			if lls[c], err = r.likelihood(ctx, it.Prompt, choice, a); err != nil {
				return nil, err
			}
		}
		v["acc"][i], v["acc_norm"][i] = indicator(largest(lls) == it.Gold), indicator(largest(perCharacter(it, lls)) == it.Gold)
	}
	return v, nil
}

// likelihood sums the log-probabilities of the tokens of choice behind prompt. A token that begins in the prompt and ends in the choice counts.
func (r *Remote) likelihood(ctx context.Context, prompt, choice string, a Arm) (float64, error) {
	req := r.request(prompt+choice, a, 0)
	zero := 0
	req.Echo, req.Logprobs, req.MaxTokens = true, &zero, 1
	res, err := r.send(ctx, req)
	var refused *StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		return 0, fmt.Errorf("%w; %w", errNoLikelihood, err)
	}
	if err != nil {
		return 0, err
	}
	logprobs := res.Choices[0].Logprobs
	if logprobs == nil || len(logprobs.TextOffset) != len(logprobs.TokenLogprobs) || len(logprobs.Tokens) != len(logprobs.TokenLogprobs) {
		return 0, errNoLikelihood
	}
	// Offsets tell what belongs to the choice: the spelling of a control token before the prompt is no part of the text.
	from := utf8.RuneCountInString(prompt)
	to := from + utf8.RuneCountInString(choice)
	ll, reached := 0.0, 0
	for i, at := range logprobs.TextOffset {
		next := at
		if i+1 < len(logprobs.TextOffset) {
			next = logprobs.TextOffset[i+1]
		}
		if at >= to { // what was generated, since some servers insist on a token
			break
		}
		if at < from && next <= from {
			continue
		}
		if logprobs.TokenLogprobs[i] == nil {
			return 0, errNoLikelihood
		}
		ll += *logprobs.TokenLogprobs[i]
		reached = max(next, at+utf8.RuneCountInString(logprobs.Tokens[i]))
	}
	if reached < to {
		return 0, errNoLikelihood
	}
	return ll, nil
}

// send posts a request, and again after a while where the server is busy.
func (r *Remote) send(ctx context.Context, req completionRequest) (*completionResponse, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	retries, wait := r.Retries, r.Backoff
	if retries == 0 {
		retries = 8
	}
	if wait == 0 {
		wait = 500 * time.Millisecond
	}
	for attempt := 0; ; attempt++ {
		res, after, err := r.post(ctx, body)
		if err == nil || after < 0 || attempt == retries || ctx.Err() != nil {
			return res, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(min(max(after, wait), maxWait)):
		}
		wait *= 2
	}
}

// post tries once. after is how long to wait at least before another attempt, negative where none is worth it.
func (r *Remote) post(ctx context.Context, body []byte) (res *completionResponse, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(r.URL, "/")+"/completions", bytes.NewReader(body))
	if err != nil {
		return nil, -1, err
	}
	req.Header.Set("Content-Type", "application/json")
	if r.Key != "" {
		req.Header.Set("Authorization", "Bearer "+r.Key)
	}
	client := r.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if err != nil {
		return nil, 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, retryAfter(answer), &StatusError{answer.StatusCode, message(text)}
	}
	res = new(completionResponse)
	if err := json.Unmarshal(text, res); err != nil {
		return nil, -1, fmt.Errorf("the server's answer is not what the API promises: %w", err)
	}
	if len(res.Choices) == 0 {
		return nil, -1, errors.New("the server's answer has no choices")
	}
	return res, 0, nil
}

// retryAfter is what the server asks to wait, negative where its answer will not change.
func retryAfter(r *http.Response) time.Duration {
	if r.StatusCode != http.StatusTooManyRequests && r.StatusCode != http.StatusServiceUnavailable {
		return -1
	}
	seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// message is the text of an error in the form of the API, or what there is.
func message(body []byte) string {
	var e struct{ Error struct{ Message string } }
	if json.Unmarshal(body, &e) == nil && e.Error.Message != "" {
		return e.Error.Message
	}
	return string(bytes.TrimSpace(body[:min(len(body), 300)]))
}
