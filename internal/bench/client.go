package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"
)

// Client asks one server for streamed answers.
type Client struct {
	// URL is the base of the API, such as http://127.0.0.1:8080/v1.
	URL string
	// Model is the model's id, which servers that have one model only need not be told; Key the API key, if any.
	Model, Key string
	// IgnoreEOS sends ignore_eos, which makes every answer as long as its max_tokens where the server knows the field.
	IgnoreEOS bool
	// HTTP is the client to use; nil is one that keeps connections.
	HTTP *http.Client
}

// Message is one message of a chat.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Request is what one answer is asked for: a prompt, or the messages of a chat.
type Request struct {
	Prompt   string
	Messages []Message
	// MaxTokens is the length of the answer in tokens.
	MaxTokens int
	// Aim is the field of the same name, which only Aim knows; nil sends none.
	Aim map[string]any
	// OnText, where given, is called when a piece of text has come, with the number of pieces so far.
	OnText func(pieces int)
}

// Answer is what came, and when.
type Answer struct {
	Text string
	// Sent is when the request went out, Pieces when each piece of text came, End when the stream ended.
	Sent   time.Time
	Pieces []time.Time
	End    time.Time
	// Usage is what the server counted. Where Cut, a time limit ended the stream, and Tokens are the pieces that came.
	Usage Usage
	Cut   bool
}

// Usage counts the tokens of a request.
type Usage struct {
	// Prompt tokens, of which Cached were not computed again; Cached is negative where the server does not tell.
	Prompt, Cached int
	// Tokens of the answer.
	Tokens int
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

// body is a request of /completions or /chat/completions: nothing but what Aim, llama-server, ollama and vLLM take.
type body struct {
	Model         string         `json:"model,omitempty"`
	Prompt        string         `json:"prompt,omitempty"`
	Messages      []Message      `json:"messages,omitempty"`
	MaxTokens     int            `json:"max_tokens"`
	Temperature   float64        `json:"temperature"`
	Stream        bool           `json:"stream"`
	StreamOptions streamOptions  `json:"stream_options"`
	IgnoreEOS     bool           `json:"ignore_eos,omitempty"`
	Aim           map[string]any `json:"aim,omitempty"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// chunk is what is read of one event of a stream, of either endpoint.
type chunk struct {
	Choices []struct {
		Text  string
		Delta struct {
			Content   string
			Reasoning string `json:"reasoning_content"`
		}
	}
	Usage *struct {
		Prompt  int `json:"prompt_tokens"`
		Tokens  int `json:"completion_tokens"`
		Details *struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
	Error *struct{ Message string }
}

// text is the text of a chunk, thoughts included.
func (c *chunk) text() (s string) {
	for _, choice := range c.Choices {
		s += choice.Text + choice.Delta.Reasoning + choice.Delta.Content
	}
	return s
}

// usage is the usage of a chunk that has one.
func (c *chunk) usage() Usage {
	u := Usage{Prompt: c.Usage.Prompt, Tokens: c.Usage.Tokens, Cached: -1}
	if c.Usage.Details != nil {
		u.Cached = c.Usage.Details.Cached
	}
	return u
}

var errNoUsage = errors.New("the stream ends without usage (stream_options.include_usage), so its tokens cannot be counted")

// Do sends a request and reads its answer to the end, or until ctx ends: then it returns what came, and the context's error.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	endpoint := "/completions"
	if r.Messages != nil {
		endpoint = "/chat/completions"
	}
	data, err := json.Marshal(body{
		Model: c.Model, Prompt: r.Prompt, Messages: r.Messages, MaxTokens: r.MaxTokens, Stream: true,
		StreamOptions: streamOptions{IncludeUsage: true}, IgnoreEOS: c.IgnoreEOS, Aim: r.Aim,
	})
	if err != nil {
		return nil, err
	}
	req, err := c.request(ctx, http.MethodPost, endpoint, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	a := &Answer{Sent: time.Now()}
	res, err := c.client().Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return a, refusal(res)
	}
	err = a.read(res.Body, r.OnText)
	a.End = time.Now()
	return a, err
}

// read reads a stream into an answer.
func (a *Answer) read(r io.Reader, onText func(int)) error {
	a.Usage.Cached = -1
	counted := false
	var text strings.Builder
	defer func() { a.Text = text.String() }()
	for event, err := range sse.Read(r, &sse.ReadConfig{MaxEventSize: 1 << 20}) {
		if err != nil {
			return err
		}
		now := time.Now()
		if event.Data == "[DONE]" {
			break
		}
		var c chunk
		if err := json.Unmarshal([]byte(event.Data), &c); err != nil {
			return fmt.Errorf("an event is not what the API promises: %w: %.200s", err, event.Data)
		}
		if c.Error != nil {
			return fmt.Errorf("the stream ended with an error: %s", c.Error.Message)
		}
		if s := c.text(); s != "" {
			text.WriteString(s)
			a.Pieces = append(a.Pieces, now)
			if onText != nil {
				onText(len(a.Pieces))
			}
		}
		if c.Usage != nil {
			a.Usage, counted = c.usage(), true
		}
	}
	if !counted {
		return errNoUsage
	}
	return nil
}

// FirstModel is the id of the first model that the server lists.
func (c *Client) FirstModel(ctx context.Context) (string, error) {
	req, err := c.request(ctx, http.MethodGet, "/models", nil)
	if err != nil {
		return "", err
	}
	res, err := c.client().Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", refusal(res)
	}
	var list struct{ Data []struct{ ID string } }
	if err := json.NewDecoder(io.LimitReader(res.Body, 16<<20)).Decode(&list); err != nil {
		return "", fmt.Errorf("%s: %w", req.URL, err)
	}
	if len(list.Data) == 0 {
		return "", fmt.Errorf("%s lists no models", req.URL)
	}
	return list.Data[0].ID, nil
}

func (c *Client) request(ctx context.Context, method, endpoint string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+endpoint, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	// A server may close a connection that it has kept just when the next request goes out on it; an empty key, which is not sent, says
	// that the request may be sent again.
	req.Header["Idempotency-Key"] = []string{}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	return req, nil
}

// keeping keeps as many connections as there may be clients.
var keeping = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: MaxClients, DisableCompression: true}}

func (c *Client) client() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return keeping
}

// refusal is the error of a response that is none of an answer.
func refusal(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return err
	}
	// OpenAI's form, or ollama's, which is the text alone.
	var e struct{ Error struct{ Message string } }
	if json.Unmarshal(text, &e) == nil && e.Error.Message != "" {
		return &StatusError{res.StatusCode, e.Error.Message}
	}
	return &StatusError{res.StatusCode, string(bytes.TrimSpace(text[:min(len(text), 300)]))}
}

// KnowsAim asks for a σ that no server may grant, which one that knows modulation refuses and any other takes no notice of.
func (c *Client) KnowsAim(ctx context.Context) (bool, error) {
	_, err := c.Do(ctx, Request{Prompt: "a", MaxTokens: 1, Aim: map[string]any{"utility": map[string]any{"sigma": -1}}})
	var refused *StatusError
	if errors.As(err, &refused) {
		return strings.Contains(refused.Message, "aim.utility.sigma"), nil
	}
	return false, err
}
