package server

import (
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/tmaxmax/go-sse"

	"aim/llama"
)

// reply is the form of an answer: in one piece, or as events while it grows. Its methods are called from one goroutine.
type reply interface {
	// delta takes what a choice has yielded and reports whether anything was sent.
	delta(i int, d llama.Delta) (sent bool, err error)
	// alive is called when nothing was sent for a while.
	alive() error
	// end completes the answer.
	end(u usage) error
}

// whole gathers the answer and sends it in the end.
type whole struct {
	c       *gin.Context
	wire    wire
	answers []answer
	report  *reporter
	extend  func()
}

func newWhole(c *gin.Context, call *call, patience time.Duration) *whole {
	return &whole{c, call.wire, make([]answer, call.choices()), newReporter(call), extender(c, patience)}
}

// extender returns what gives the next write its time. After the answer net/http lifts the limit again.
func extender(c *gin.Context, patience time.Duration) func() {
	control := http.NewResponseController(c.Writer)
	return func() {
		// A writer without deadlines, as in tests, has no client that could stop reading.
		_ = control.SetWriteDeadline(time.Now().Add(patience))
	}
}

func (w *whole) delta(i int, d llama.Delta) (bool, error) {
	a := &w.answers[i]
	a.text.WriteString(d.Text)
	a.tokens = append(a.tokens, d.Tokens...)
	a.finish = d.Finish
	w.report.add(i, d)
	return false, nil
}

func (w *whole) alive() error { return nil }

func (w *whole) end(u usage) error {
	w.extend()
	writeJSON(w.c, http.StatusOK, w.wire.whole(w.answers, usageField{u, w.report.field()}))
	return nil
}

// stream sends server-sent events.
type stream struct {
	session *sse.Session
	writer  http.ResponseWriter
	wire    wire
	// logprobs says that a chunk without text is worth sending for its tokens.
	logprobs bool
	// usage is what all chunks but the one with the usage carry.
	usage usageField
	ends  bool // with a chunk for the usage
	// report goes into the last chunk.
	report *reporter

	// opened are the choices whose first chunk was sent; started says that anything was.
	opened  []bool
	started bool
	extend  func()
}

func newStream(c *gin.Context, call *call, patience time.Duration) (*stream, error) {
	session, err := sse.Upgrade(c.Writer, c.Request)
	if err != nil {
		return nil, err
	}
	// The headers leave with the first event; an error before it takes their place.
	st := &stream{
		session: session, writer: c.Writer, wire: call.wire, logprobs: call.request.Params.Logprobs, ends: call.usage,
		report: newReporter(call), opened: make([]bool, call.choices()), extend: extender(c, patience),
	}
	if call.usage {
		st.usage.Usage = (*usage)(nil)
	}
	return st, nil
}

func (st *stream) delta(i int, d llama.Delta) (bool, error) {
	var chunks []any
	if !st.opened[i] {
		st.opened[i] = true
		if first := st.wire.open(i, st.usage); first != nil {
			chunks = append(chunks, first)
		}
	}
	if d.Text != "" || (st.logprobs && len(d.Tokens) > 0) {
		chunks = append(chunks, st.wire.text(i, d.Text, d.Tokens, st.usage))
	}
	if d.Finish != "" {
		usage := st.usage
		if st.report.add(i, d); !st.ends {
			usage.Aim = st.report.field()
		}
		chunks = append(chunks, st.wire.finish(i, d.Finish, usage))
	}
	return len(chunks) > 0, st.send(chunks...)
}

// alive sends a comment, so that no proxy gives up on a long prompt. It is one line without the empty line that ends an
// event: clients exist that take that for an event without data and fail. go-sse always adds it, so it is written raw.
func (st *stream) alive() error {
	st.start()
	st.extend()
	if err := st.session.Flush(); err != nil { // sends the headers where nothing was sent
		return err
	}
	if _, err := io.WriteString(st.writer, ": keep-alive\n"); err != nil {
		return err
	}
	return st.session.Flush()
}

func (st *stream) end(u usage) error {
	if st.ends {
		if err := st.send(st.wire.end(usageField{u, st.report.field()})); err != nil {
			return err
		}
	}
	return st.event("[DONE]")
}

// fail ends a stream that has begun. There is no [DONE] after it: who overlooks the error shall not take the answer for
// complete.
func (st *stream) fail(e *apiError) error { return st.send(e) }

// start sets the headers.
func (st *stream) start() {
	if st.started {
		return
	}
	st.started = true
	h := st.writer.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
}

// send sends chunks, one event each.
func (st *stream) send(chunks ...any) error {
	for _, chunk := range chunks {
		if err := st.event(string(encode(chunk))); err != nil {
			return err
		}
	}
	return nil
}

func (st *stream) event(data string) error {
	st.start()
	st.extend()
	var m sse.Message
	m.AppendData(data)
	if err := st.session.Send(&m); err != nil {
		return err
	}
	return st.session.Flush()
}
