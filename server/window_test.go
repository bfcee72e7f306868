package server

import (
	"strings"
	"testing"

	"aim/sampler"
)

// TestWindowRefuses what would tell a row whose noise another prompt shares, names the parameter and gives the reason; text
// is answered, and where there is no noise, or it depends on all tokens, nothing is refused.
func TestWindowRefuses(t *testing.T) {
	const imposed = `"model": "fake/imposed", `
	window := start(t, options{sigma: 1, scope: sampler.Scope{Window: 4}})
	for _, c := range []struct{ path, body, param string }{
		{textPath, `{` + imposed + `"prompt": "x", "logprobs": 1}`, "logprobs"},
		{textPath, `{` + imposed + `"prompt": "x", "logprobs": 0}`, "logprobs"},
		{textPath, `{` + imposed + `"prompt": "x", "echo": true}`, "echo"},
		{textPath, `{` + imposed + `"prompt": [1, 2], "echo": true, "stream": true}`, "echo"},
		{chatPath, chatBody("x", `"model": "fake/imposed", "logprobs": true, "top_logprobs": 3`), "logprobs"},
	} {
		r := window.do(t, "POST", c.path, c.body)
		r.is(t, c.path+" "+c.body, 400, c.param, codeUnsupported)
		if !strings.Contains(r.body, "last 4 tokens") {
			t.Errorf("%s does not give the reason", r.body)
		}
	}
	prefix := start(t, options{sigma: 1})
	for name, c := range map[string]struct {
		s    *site
		body string
	}{
		"text":               {window, `{` + imposed + `"prompt": "x"}`},
		"no noise":           {window, `{"prompt": "x", "logprobs": 1}`},
		"echo without noise": {window, `{"prompt": "x", "echo": true}`},
		"no window":          {prefix, `{` + imposed + `"prompt": "x", "logprobs": 1}`},
	} {
		if r := c.s.do(t, "POST", textPath, c.body); r.status != 200 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
}
