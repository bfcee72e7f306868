package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestServePlayground: the page is at / with a policy of its own, not in the way of the API, and can be turned off.
func TestServePlayground(t *testing.T) {
	get := func(url string) (policy, text string) {
		t.Helper()
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		all, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.Header.Get("Content-Security-Policy"), string(all)
	}
	_, url, stop := serving(t)
	if policy, text := get(url + "/"); !strings.Contains(policy, "script-src 'self'") || !strings.Contains(text, "<title>Aim") {
		t.Errorf("the page has the policy %q and the text %s", policy, text)
	}
	if policy, text := get(url + "/v1/models"); strings.Contains(policy, "script-src") || !strings.Contains(text, `"object":"list"`) {
		t.Errorf("the API has the policy %q and answers %s", policy, text)
	}
	stop()
	t.Setenv("AIM_SERVER_PLAYGROUND", "false")
	_, url, _ = serving(t)
	if _, text := get(url + "/"); strings.Contains(text, "<title>") {
		t.Errorf("there is a page although it is off: %s", text)
	}
}
