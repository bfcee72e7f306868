package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
)

// greet says that the server is ready, and how to talk to it. keys says that it takes an API key, and page that it
// serves the playground.
func greet(w io.Writer, url, model string, talks, keys, page bool) {
	path, ask := "/v1/chat/completions", `"messages": [{"role": "user", "content": "What is gravity?"}]`
	if !talks {
		path, ask = "/v1/completions", `"prompt": "Gravity is"`
	}
	name, err := json.Marshal(model)
	if err != nil {
		panic(err) // a string can always be encoded
	}
	body := fmt.Sprintf(`{"model": %s, %s, "temperature": 0, "max_tokens": 100, "stream": true}`, name, ask)
	key := ""
	if keys {
		key = ` -H "Authorization: Bearer $AIM_KEY"`
	}
	playground := ""
	if page {
		playground = fmt.Sprintf("or open the playground, %s/\n\n", url)
	}
	// In one write, whose first line programs read.
	fmt.Fprintf(w, "Aim serves %s at %s/v1. Try it:\n\n  curl -N %s%s%s -H 'Content-Type: application/json' -d %s\n\n%s",
		model, url, url, path, key, quote(body), playground)
}

// quote puts a text into single quotes for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// baseURL is where a client on this machine finds a listener.
func baseURL(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "http://" + a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
