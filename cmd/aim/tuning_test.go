package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// With other formats, threads and memory than the defaults, and beyond its context, an answer still has all the tokens asked for.
func TestServeTuned(t *testing.T) {
	model, url, _ := serving(t, "--ctx", "256", "--context-shift", "--keep", "8", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0",
		"--threads-batch", "1", "--ubatch", "64", "--no-mmap", "--keep-threads")
	body := `{"model":"` + model + `","prompt":"The river","max_tokens":300,"ignore_eos":true,"temperature":0}`
	resp, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Choices []struct {
			FinishReason string `json:"finish_reason"`
		}
		Usage struct {
			CompletionTokens int `json:"completion_tokens"`
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Choices) != 1 || answer.Choices[0].FinishReason != "length" || answer.Usage.CompletionTokens != 300 {
		t.Errorf("answer %+v", answer)
	}
}
