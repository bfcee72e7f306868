package main

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestServeProfiles: they are on an address of their own, for as long as they are wanted.
func TestServeProfiles(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	stop, err := serveProfiles(t.Context(), "127.0.0.1:0", log)
	if err != nil {
		t.Fatal(err)
	}
	_, url, _ := strings.Cut(out.String(), "address=")
	url = strings.TrimSpace(url)
	res, err := http.Get(url + "goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("TestServeProfiles")) {
		t.Errorf("status %d, %v: %.200s", res.StatusCode, err, body)
	}
	taken := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/debug/pprof/")
	if _, err := serveProfiles(t.Context(), taken, log); err == nil || !strings.Contains(err.Error(), "--pprof") {
		t.Errorf("on an address that is taken: %v", err)
	}
	stop()
	if _, err := net.Dial("tcp", taken); err == nil {
		t.Error("it still listens")
	}
	stop, err = serveProfiles(t.Context(), "", log)
	if err != nil {
		t.Fatal(err)
	}
	stop()
}
