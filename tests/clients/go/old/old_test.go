// Package old has a version of the official client for Go that takes a comment followed by an empty line for an event
// without data, and fails. Programs that were built with it are in use, so no comment of ours may break it.
package old

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// recorder passes requests on and keeps the last answer's bytes as they are read.
type recorder struct{ read strings.Builder }

func (r *recorder) Do(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(response.Body, &r.read), response.Body}
	}
	return response, err
}

// stream reads an answer to a prompt so long that comments come first; it returns how the answer ended, and its bytes.
func stream(ctx context.Context, url string) (finish, raw string, err error) {
	var r recorder
	c := openai.NewClient(option.WithBaseURL(url+"/v1/"), option.WithAPIKey("unused"), option.WithMaxRetries(0), option.WithHTTPClient(&r))
	s := c.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model:     os.Getenv("AIM_MODEL"),
		Messages:  []openai.ChatCompletionMessageParamUnion{openai.UserMessage(strings.Repeat("term ", 300))},
		MaxTokens: openai.Int(2),
	})
	for s.Next() {
		if choices := s.Current().Choices; len(choices) > 0 {
			finish = choices[0].FinishReason
		}
	}
	return finish, r.read.String(), s.Err()
}

func TestCommentsBreakNothing(t *testing.T) {
	url := os.Getenv("AIM_SMALL_URL")
	if url == "" {
		t.Skip("AIM_SMALL_URL is empty: tests/e2e/test_clients.py sets it")
	}
	finish, raw, err := stream(t.Context(), url)
	if err != nil || finish == "" {
		t.Errorf("ended with %q, %v", finish, err)
	}
	if !strings.HasPrefix(raw, ":") {
		t.Errorf("no comment came first: %q", raw)
	}
}

// TestEmptyLinesBreakIt: the version is one that the test above can fail with.
func TestEmptyLinesBreakIt(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, ": keep-alive\n\ndata: {\"choices\": [{\"index\": 0, \"finish_reason\": \"stop\", \"delta\": {}}]}\n\ndata: [DONE]\n\n")
	}))
	defer s.Close()
	if finish, _, err := stream(t.Context(), s.URL); err == nil {
		t.Errorf("ended with %q, and no error", finish)
	}
}
