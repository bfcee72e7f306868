package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health/live" {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "loading")
		}
	})
	plain, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
	defer plain.Close()
	defer secure.Close()
	ask := func(args ...string) error {
		return run(t.Context(), append([]string{"health"}, args...), streams{strings.NewReader(""), io.Discard, io.Discard})
	}
	for _, url := range []string{plain.URL, secure.URL} {
		if err := ask("--live", "--url", url); err != nil {
			t.Error(err)
		}
		if err := ask("--url", url); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "loading") {
			t.Errorf("a server that is not ready: %v", err)
		}
	}
	t.Setenv("AIM_SERVER_ADDRESS", strings.Replace(strings.TrimPrefix(plain.URL, "http://"), "127.0.0.1", "0.0.0.0", 1))
	if err := ask("--live"); err != nil {
		t.Error(err)
	}
	if err := ask("--url", "nowhere"); exitCode(err) != 2 {
		t.Errorf("a URL that is none: %v", err)
	}
}
