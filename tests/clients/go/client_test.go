// Package client has the API as the official client for Go sees it. tests/e2e/test_clients.py starts the servers: one that
// others use too; one that imposes noise; one that has a single slot, no queue, and comments every 20 ms. The last one is
// this package's alone, which ends it.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
)

var schema = map[string]any{
	"type": "object", "additionalProperties": false, "required": []string{"city", "unit"},
	"properties": map[string]any{
		"city": map[string]any{"type": "string", "maxLength": 30},
		"unit": map[string]any{"enum": []string{"celsius", "fahrenheit"}},
	},
}

type weather struct{ City, Unit string }

// parse reads what the schema allows.
func parse(t *testing.T, text string) (w weather) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil || w.Unit != "celsius" && w.Unit != "fahrenheit" || len([]rune(w.City)) > 30 {
		t.Fatalf("%q is not what the schema allows: %v", text, err)
	}
	return w
}

// connect returns a client that repeats nothing: a test shall see every failure.
func connect(t *testing.T, variable string) openai.Client {
	t.Helper()
	url := os.Getenv(variable)
	if url == "" {
		t.Skipf("%s is empty: tests/e2e/test_clients.py sets it", variable)
	}
	return openai.NewClient(option.WithBaseURL(url+"/v1/"), option.WithAPIKey("unused"), option.WithMaxRetries(0))
}

func request(text string, tokens int64) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:       os.Getenv("AIM_MODEL"),
		Messages:    []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
		Temperature: openai.Float(0),
		MaxTokens:   openai.Int(tokens),
	}
}

func whole(t *testing.T, c openai.Client, p openai.ChatCompletionNewParams, o ...option.RequestOption) *openai.ChatCompletion {
	t.Helper()
	answer, err := c.Chat.Completions.New(t.Context(), p, o...)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// streamed returns a streamed answer, put together by the client's own accumulator, and its chunks.
func streamed(t *testing.T, c openai.Client, p openai.ChatCompletionNewParams, o ...option.RequestOption) (openai.ChatCompletionAccumulator, []openai.ChatCompletionChunk) {
	t.Helper()
	stream := c.Chat.Completions.NewStreaming(t.Context(), p, o...)
	var sum openai.ChatCompletionAccumulator
	var chunks []openai.ChatCompletionChunk
	for stream.Next() {
		chunks = append(chunks, stream.Current())
		if !sum.AddChunk(stream.Current()) {
			t.Fatalf("the accumulator refuses %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return sum, chunks
}

func TestWholeAndStreamedAnswersAgree(t *testing.T) {
	c := connect(t, "AIM_URL")
	p := request("What is gravity?", 24)
	answer := whole(t, c, p)
	choice := answer.Choices[0]
	if choice.FinishReason != "length" || answer.Usage.CompletionTokens != 24 || !strings.Contains(choice.Message.Content, "ravity") {
		t.Errorf("got %s", answer.RawJSON())
	}
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	sum, chunks := streamed(t, c, p)
	if got := sum.Choices[0]; got.Message.Content != choice.Message.Content || got.FinishReason != "length" {
		t.Errorf("streamed %q (%s), whole %q", got.Message.Content, got.FinishReason, choice.Message.Content)
	}
	if sum.Usage.TotalTokens != answer.Usage.TotalTokens || len(chunks) < 10 {
		t.Errorf("%d chunks, usage %+v; whole %+v", len(chunks), sum.Usage, answer.Usage)
	}
}

func TestCompletionsAndModels(t *testing.T) {
	c := connect(t, "AIM_URL")
	text, err := c.Completions.New(t.Context(), openai.CompletionNewParams{
		Model: openai.CompletionNewParamsModel(os.Getenv("AIM_MODEL")), MaxTokens: openai.Int(8), Temperature: openai.Float(0),
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("The capital of France is")},
	})
	if err != nil || !strings.HasPrefix(text.Choices[0].Text, " Paris") {
		t.Errorf("got %v, %v", text, err)
	}
	models, err := c.Models.List(t.Context())
	if err != nil || len(models.Data) != 1 || models.Data[0].ID != os.Getenv("AIM_MODEL") {
		t.Errorf("got %v, %v", models, err)
	}
}

func TestLogprobsSpellTheAnswer(t *testing.T) {
	c := connect(t, "AIM_URL")
	p := request("What is gravity?", 24)
	p.Logprobs, p.TopLogprobs = openai.Bool(true), openai.Int(3)
	choice := whole(t, c, p).Choices[0]
	var spelt []byte
	for _, token := range choice.Logprobs.Content {
		for _, b := range token.Bytes {
			spelt = append(spelt, byte(b))
		}
		if len(token.TopLogprobs) != 3 || token.Logprob > 0 || token.Logprob != token.TopLogprobs[0].Logprob {
			t.Errorf("got %s", token.RawJSON())
		}
	}
	if string(spelt) != choice.Message.Content {
		t.Errorf("the tokens spell %q, the answer is %q", spelt, choice.Message.Content)
	}
}

func TestTools(t *testing.T) {
	c := connect(t, "AIM_URL")
	named := openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "weather"})
	required := openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("required")}
	for name, choice := range map[string]openai.ChatCompletionToolChoiceOptionUnionParam{"named": named, "required": required} {
		t.Run(name, func(t *testing.T) {
			p := request("How warm is it in Paris?", 100)
			p.ToolChoice = choice
			p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
				Name: "weather", Description: openai.String("The weather of a city."), Parameters: schema,
			})}
			first := whole(t, c, p).Choices[0]
			if first.FinishReason != "tool_calls" || len(first.Message.ToolCalls) != 1 || first.Message.ToolCalls[0].Function.Name != "weather" {
				t.Fatalf("got %s", first.RawJSON())
			}
			call := first.Message.ToolCalls[0]
			parse(t, call.Function.Arguments)

			sum, chunks := streamed(t, c, p)
			again := sum.Choices[0]
			if again.FinishReason != "tool_calls" || len(again.Message.ToolCalls) != 1 {
				t.Fatalf("streamed %+v", again)
			}
			if got := again.Message.ToolCalls[0].Function; got.Name != "weather" || got.Arguments != call.Function.Arguments {
				t.Errorf("streamed %+v, whole %+v", got, call.Function)
			}
			if len(chunks) < 4 {
				t.Errorf("arguments do not come in pieces: %d chunks", len(chunks))
			}

			p.Messages = append(p.Messages, first.Message.ToParam(), openai.ToolMessage("21 degrees", call.ID))
			p.ToolChoice = openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("none")}
			second := whole(t, c, p).Choices[0].Message
			if second.Content == "" || len(second.ToolCalls) > 0 {
				t.Errorf("the second turn is %s", second.RawJSON())
			}
		})
	}
}

func TestSchema(t *testing.T) {
	c := connect(t, "AIM_URL")
	p := request("How warm is it in Paris? As JSON.", 200)
	p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
		JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "weather", Strict: openai.Bool(true), Schema: schema},
	}
	choice := whole(t, c, p).Choices[0]
	if choice.FinishReason != "stop" {
		t.Errorf("ended with %s", choice.FinishReason)
	}
	parse(t, choice.Message.Content)
}

// TestAim: modulation is asked for in a field that the client does not know.
func TestAim(t *testing.T) {
	c := connect(t, "AIM_URL")
	plain := whole(t, c, request("Describe a river.", 40))
	aim := map[string]any{
		"utility": map[string]any{"sigma": 1.5}, "report": true,
		"focus": []any{map[string]any{"text": "water", "sigma": 100, "direction": "lower"}},
	}
	answer := whole(t, c, request("Describe a river.", 40), option.WithJSONSet("aim", aim))
	var extra struct {
		Report struct {
			Sigma float64
			Steps int
			Flips int
		}
	}
	if err := json.Unmarshal([]byte(answer.JSON.ExtraFields["aim"].Raw()), &extra); err != nil {
		t.Fatal(err)
	}
	if r := extra.Report; r.Sigma != 1.5 || r.Steps != int(answer.Usage.CompletionTokens) || r.Flips == 0 {
		t.Errorf("the report is %+v", r)
	}
	text := answer.Choices[0].Message.Content
	if text == plain.Choices[0].Message.Content || strings.Contains(strings.ToLower(text), " water") {
		t.Errorf("modulated: %q", text)
	}
}

// refused asserts the client's typed error.
func refused(t *testing.T, err error, status int, param, code string) {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != status || e.Param != param || code != "" && e.Code != code {
		t.Errorf("got %v (%+v), want status %d, parameter %q, code %q", err, e, status, param, code)
	}
}

func TestErrors(t *testing.T) {
	c := connect(t, "AIM_URL")
	ask := func(c openai.Client, p openai.ChatCompletionNewParams, o ...option.RequestOption) error {
		_, err := c.Chat.Completions.New(t.Context(), p, o...)
		return err
	}
	hot := request("Hi", 2)
	hot.Temperature = openai.Float(9)
	refused(t, ask(c, hot), 400, "temperature", "")
	unknown := request("Hi", 2)
	unknown.Model = "no-such-model"
	refused(t, ask(c, unknown), 404, "model", "model_not_found")

	stream := c.Chat.Completions.NewStreaming(t.Context(), request(strings.Repeat("word ", 5000), 2))
	if stream.Next() {
		t.Error("an overlong prompt is answered")
	}
	refused(t, stream.Err(), 400, "", "context_length_exceeded")

	imposed := connect(t, "AIM_IMPOSED_URL")
	less := option.WithJSONSet("aim", map[string]any{"utility": map[string]any{"sigma": 1}})
	refused(t, ask(imposed, request("Hi", 2), less), 403, "aim.utility.sigma", "")

	if err := ask(c, request("Hi", 200), option.WithRequestTimeout(50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the time-out: %v", err)
	}
}

// TestSmallServer: comments, a full queue, a client that leaves, and at last a shutdown.
func TestSmallServer(t *testing.T) {
	c := connect(t, "AIM_SMALL_URL")
	endless := option.WithJSONSet("ignore_eos", true)
	short := func() error {
		_, err := c.Chat.Completions.New(t.Context(), request("Hi", 1))
		return err
	}

	// So long a prompt that comments come before the first token.
	sum, _ := streamed(t, c, request(strings.Repeat("word ", 300), 2))
	if sum.Choices[0].FinishReason == "" {
		t.Error("no end after comments")
	}

	stream := c.Chat.Completions.NewStreaming(t.Context(), request("Tell a very long story.", 2000), endless)
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	refused(t, short(), 429, "", "")
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	var err error
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
		if err = short(); err == nil { // the answer of 2000 tokens would take many seconds more
			break
		}
	}
	if err != nil {
		t.Fatalf("the slot of a client that left is not free: %v", err)
	}

	stream = c.Chat.Completions.NewStreaming(t.Context(), request("Tell a very long story.", 150), endless)
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	pid, err := strconv.Atoi(os.Getenv("AIM_SMALL_PID"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		var e *openai.Error
		if err = short(); errors.As(err, &e) && e.StatusCode == 503 {
			break
		}
	}
	refused(t, err, 503, "", "")
	var finish string
	for stream.Next() {
		if choices := stream.Current().Choices; len(choices) > 0 {
			finish = choices[0].FinishReason
		}
	}
	if finish != "length" || stream.Err() != nil {
		t.Errorf("the running stream ends with %q, %v", finish, stream.Err())
	}
}
