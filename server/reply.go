package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/tmaxmax/go-sse"

	"aim/llama"
)

// reply is the form of an answer: in one piece, or as events while it grows. Its methods are called from one goroutine.
type reply interface {
	// delta takes what a choice has yielded and reports whether there is anything to send.
	delta(i int, d llama.Delta) (sent bool)
	// flush sends what deltas have left. Deltas that come together go out together.
	flush() error
	// alive is called when nothing was sent for a while.
	alive() error
	// end completes the answer.
	end(u *usage) error
}

// gathered is what an answer consists of so far: its choices, each with what reads it.
type gathered struct {
	answers []*answer
	readers []reader
	report  *reporter
}

func newGathered(c *call) gathered {
	g := gathered{answers: make([]*answer, c.choices()), readers: make([]reader, c.choices()), report: newReporter(c)}
	for i := range g.readers {
		g.answers[i], g.readers[i] = &answer{}, c.reader()
	}
	return g
}

// add reads what a choice has yielded.
func (g *gathered) add(i int, d llama.Delta) []piece {
	pieces := readPieces(g.readers[i], d)
	a := g.answers[i]
	for _, p := range pieces {
		a.add(p)
	}
	if d.Finish != "" {
		a.finish, a.usage, a.end, a.stopped = d.Finish, d.Usage, d.End, d.Stopped
		g.report.add(i, d)
	}
	return pieces
}

// total completes the usage of a call whose choices have all ended.
func (g *gathered) total(u *usage) {
	for _, a := range g.answers {
		u.CompletionDetails.Reasoning += a.thought
	}
}

// whole gathers the answer and sends it in the end.
type whole struct {
	c    *gin.Context
	call *call
	gathered
	extend func()
}

func newWhole(c *gin.Context, call *call, patience time.Duration) *whole {
	return &whole{c, call, newGathered(call), extender(c, patience)}
}

// extender returns what gives the next write its time. After the answer net/http lifts the limit again.
func extender(c *gin.Context, patience time.Duration) func() {
	control := http.NewResponseController(c.Writer)
	return func() {
		// A writer without deadlines, as in tests, has no client that could stop reading.
		_ = control.SetWriteDeadline(time.Now().Add(patience))
	}
}

func (w *whole) delta(i int, d llama.Delta) bool {
	pieces := w.add(i, d)
	if f, ok := w.call.wire.(follower); ok {
		for _, p := range pieces {
			f.follow(p)
		}
	}
	return false
}

func (w *whole) flush() error { return nil }

func (w *whole) alive() error { return nil }

func (w *whole) end(u *usage) error {
	w.extend()
	w.total(u)
	answers, order := w.call.best(w.answers)
	w.report.keep(order)
	writeJSON(w.c, http.StatusOK, w.call.wire.whole(answers, extra{u, newTimings(w.answers...), w.report.field()}))
	return nil
}

// stream sends server-sent events.
type stream struct {
	session *sse.Session
	writer  http.ResponseWriter
	// events are those that have not been sent, and encoder writes to them.
	events  bytes.Buffer
	encoder *json.Encoder
	wire    wire
	gathered
	// logprobs says that a chunk without text is worth sending for its tokens.
	logprobs bool
	// extra is what all chunks but the last ones carry.
	extra extra
	ends  bool // with a chunk for the usage

	// opened are the choices whose first chunk was sent; started says that anything was.
	opened  []bool
	started bool
	// upgraded says that the headers have left.
	upgraded bool
	extend   func()
}

func newStream(c *gin.Context, call *call, patience time.Duration) (*stream, error) {
	session, err := sse.Upgrade(c.Writer, c.Request)
	if err != nil {
		return nil, err
	}
	// The headers leave with the first event; an error before it takes their place.
	st := &stream{
		session: session, writer: c.Writer, wire: call.wire, gathered: newGathered(call), logprobs: call.logprobs,
		ends: call.usage, opened: make([]bool, call.choices()), extend: extender(c, patience),
	}
	st.encoder = newEncoder(&st.events)
	if call.usage {
		st.extra.Usage = (*usage)(nil)
	}
	return st, nil
}

func (st *stream) delta(i int, d llama.Delta) bool {
	before := st.events.Len()
	st.append(st.open(i))
	for _, p := range st.add(i, d) {
		if !p.empty() || len(p.Prompt) > 0 || (st.logprobs && len(p.Tokens) > 0) {
			st.append(st.wire.delta(i, p, st.extra))
		}
	}
	if d.Finish != "" {
		last := st.extra
		if !st.ends {
			last.Aim, last.Timings = st.report.field(), newTimings(st.answers[i])
		}
		st.append(st.wire.finish(i, st.answers[i], last))
	}
	return st.events.Len() > before
}

// open begins a choice, once.
func (st *stream) open(i int) []chunk {
	if st.opened[i] {
		return nil
	}
	st.opened[i] = true
	return st.wire.open(i, st.extra)
}

// alive sends a comment, so that no proxy gives up on a long prompt. It is one line without the empty line that ends an
// event: clients exist that take that for an event without data and fail. go-sse always adds it, so it is written raw.
//
// A wire that has an event for that sends it instead, after those that open its answer.
func (st *stream) alive() error {
	if w, ok := st.wire.(pinger); ok {
		return st.send(append(st.open(0), w.ping()))
	}
	st.start()
	st.extend()
	if err := st.session.Flush(); err != nil { // sends the headers where nothing was sent
		return err
	}
	st.upgraded = true
	if _, err := io.WriteString(st.writer, ": keep-alive\n"); err != nil {
		return err
	}
	return st.session.Flush()
}

func (st *stream) end(u *usage) error {
	st.total(u)
	last := extra{Usage: u}
	if st.ends {
		last.Timings, last.Aim = newTimings(st.answers...), st.report.field()
	}
	return st.send(st.wire.end(st.answers, last))
}

// fail ends a stream that has begun.
func (st *stream) fail(e *apiError) error { return st.send(st.wire.fail(e)) }

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

// append leaves chunks to be sent, one event each.
func (st *stream) append(chunks []chunk) {
	for _, c := range chunks {
		if c.event != "" {
			st.events.WriteString("event: ")
			st.events.WriteString(c.event)
			st.events.WriteByte('\n')
		}
		st.events.WriteString("data: ")
		if text, ok := c.data.(rawText); ok {
			st.events.WriteString(string(text))
			st.events.WriteByte('\n')
		} else {
			mustEncode(st.encoder, c.data) // one line, with its end
		}
		st.events.WriteByte('\n')
	}
}

// send sends chunks, after what is left of others.
func (st *stream) send(chunks []chunk) error {
	st.append(chunks)
	return st.flush()
}

func (st *stream) flush() error {
	if st.events.Len() == 0 {
		return nil
	}
	st.start()
	st.extend()
	if !st.upgraded {
		st.upgraded = true
		if err := st.session.Flush(); err != nil { // sends the headers
			return err
		}
	}
	_, err := st.writer.Write(st.events.Bytes())
	st.events.Reset()
	if err != nil {
		return err
	}
	return st.session.Flush()
}
