package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// client is one of those that ask at once.
type client struct {
	addr   string
	random *rand.Rand
	web    *http.Client
	name   string
	sent   int
	keys   []keyed
	// models are a base and two tiers of it.
	models []string
}

// keyed is a key that clients use.
type keyed struct {
	id, secret string
	// limited says that it has limits that it will meet.
	limited bool
}

// outcome is what a client knows of a request.
type outcome struct {
	id, path string
	key      keyed
	// complete says that all of the answer was read, and the rest what was in it. err is what went wrong for a client that meant no harm.
	complete           bool
	status             int
	code               string
	prompt, completion int
	retry              string
	err                error
}

func newClient(name, addr string, n int, keys []keyed, models []string) *client {
	return &client{
		addr: addr, random: rand.New(rand.NewPCG(7, uint64(n))), name: fmt.Sprintf("%s%d", name, n), keys: keys, models: models,
		web: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}},
	}
}

// begin names a request.
func (c *client) begin(path string) *outcome {
	c.sent++
	return &outcome{id: fmt.Sprintf("%s-%d", c.name, c.sent), path: path, key: c.keys[c.random.IntN(len(c.keys))]}
}

// tooLong bounds whatever a client waits for: what takes longer hangs.
const tooLong = 5 * time.Minute

// send sends a request; cancel ends it.
func (c *client) send(ctx context.Context, o *outcome, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.addr+o.path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", o.id)
	if o.key.secret != "" {
		req.Header.Set("Authorization", "Bearer "+o.key.secret)
	}
	return c.web.Do(req)
}

// ask sends a request and reads its answer as fast as it comes, or with a pause after each piece.
func (c *client) ask(o *outcome, body string, pause time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), tooLong)
	defer cancel()
	res, err := c.send(ctx, o, strings.NewReader(body))
	if err != nil {
		o.err = err
		return
	}
	defer res.Body.Close()
	var text bytes.Buffer
	piece := make([]byte, 512)
	for {
		n, err := res.Body.Read(piece)
		text.Write(piece[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			o.err = err
			return
		}
		time.Sleep(pause)
	}
	o.read(res, text.Bytes())
}

// told is what answers of all endpoints say of themselves, whole ones and events alike.
type told struct {
	Usage    *counts
	Response *struct{ Usage *counts }
	Message  *struct{ Usage *counts }
	Error    *struct {
		Code *string
		Type string
	}
}

type counts struct {
	Prompt     *int `json:"prompt_tokens"`
	Completion *int `json:"completion_tokens"`
	Input      *int `json:"input_tokens"`
	Output     *int `json:"output_tokens"`
}

// read notes what an answer says.
func (o *outcome) read(res *http.Response, text []byte) {
	o.status, o.retry = res.StatusCode, res.Header.Get("Retry-After")
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		o.complete = o.hear(text)
		if !o.complete && res.StatusCode == http.StatusOK {
			o.err = fmt.Errorf("the answer is no JSON: %.200q", text)
		}
		return
	}
	last := ""
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		last = data
		if data != "[DONE]" && !o.hear([]byte(data)) {
			o.err = fmt.Errorf("the event is no JSON: %.200q", data)
		}
	}
	o.complete = last == "[DONE]" || strings.Contains(last, `"response.completed"`) || strings.Contains(last, `"response.incomplete"`) || strings.Contains(last, `"message_stop"`)
	if !o.complete && o.err == nil {
		o.err = fmt.Errorf("the stream was cut off after %.200q", last)
	}
}

// hear notes what one piece of JSON says, and reports whether it is one.
func (o *outcome) hear(data []byte) bool {
	var v told
	if json.Unmarshal(data, &v) != nil {
		return false
	}
	if v.Error != nil {
		o.code = v.Error.Type
		if v.Error.Code != nil {
			o.code = *v.Error.Code
		}
	}
	of := v.Usage
	if of == nil && v.Response != nil {
		of = v.Response.Usage
	}
	if of == nil && v.Message != nil {
		of = v.Message.Usage
	}
	if of != nil {
		note(&o.prompt, of.Prompt, of.Input)
		note(&o.completion, of.Completion, of.Output)
	}
	return true
}

func note(to *int, from ...*int) {
	for _, n := range from {
		if n != nil {
			*to = *n
		}
	}
}

// leave sends a request and leaves: before an answer, or in the middle of a stream.
func (c *client) leave(o *outcome, body string, after time.Duration, bytesRead int) {
	ctx, cancel := context.WithTimeout(context.Background(), tooLong)
	defer cancel()
	if bytesRead == 0 {
		time.AfterFunc(after, cancel)
	}
	res, err := c.send(ctx, o, strings.NewReader(body))
	if err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, res.Body, int64(bytesRead))
	cancel()
	_ = res.Body.Close()
}

// head is the beginning of a request that announces a body.
func (o *outcome) head(length int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nX-Request-Id: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		o.path, o.key.secret, o.id, length)
}

// dial opens a connection for as long as anything may take, nil where that fails, which the outcome tells.
func (c *client) dial(o *outcome) *net.TCPConn {
	conn, err := net.Dial("tcp", c.addr) //nolint:noctx // on loopback
	if err != nil {
		o.err = err
		return nil
	}
	_ = conn.SetDeadline(time.Now().Add(tooLong))
	return conn.(*net.TCPConn)
}

// cut sends a part of a request and hangs up, sometimes without a word.
func (c *client) cut(o *outcome, text string) {
	conn := c.dial(o)
	if conn == nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
	if c.random.IntN(2) == 0 {
		_ = conn.SetLinger(0)
	}
}

// dawdle sends a part of a request and waits what becomes of it: an answer, or the end of the connection.
func (c *client) dawdle(o *outcome, text string) {
	conn := c.dial(o)
	if conn == nil {
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		o.err = err
		return
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		if nerr, ok := err.(net.Error); ok && nerr.Timeout() { //nolint:errorlint // as it comes
			o.err = err // the server waits for ever
		}
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	o.read(res, body)
}

// stare asks for a stream and reads nothing of it until the server gives up.
func (c *client) stare(o *outcome, body string) {
	conn := c.dial(o)
	if conn == nil {
		return
	}
	defer conn.Close()
	_ = conn.SetReadBuffer(4 << 10)
	_, _ = io.WriteString(conn, o.head(len(body))+body)
	time.Sleep(2 * patience)
}
