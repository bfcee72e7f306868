package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"sync/atomic"
	"time"
)

// question and shortAnswer are lengths in tokens where the scenario is about something else.
func (o *Options) question() int    { return min(32, o.Prompt) }
func (o *Options) shortAnswer() int { return min(64, o.Answer) }

// opening is the length of the first message of a chat, which goes on for chatTurns turns.
func (o *Options) opening() int { return min(400, 2*o.Prompt) }

const chatTurns = 4

func shapeDistinct(o *Options) Shape { return Shape{o.Slots, roomFor(o.Prompt + o.Answer)} }
func shapeShared(o *Options) Shape {
	return Shape{o.Slots, roomFor(o.Prefix + o.question() + o.shortAnswer())}
}
func shapeAgain(o *Options) Shape { return Shape{o.Slots, roomFor(o.Prefix + o.shortAnswer())} }
func shapeChat(o *Options) Shape {
	return Shape{o.Slots, roomFor(o.opening() + chatTurns*(o.question()+o.shortAnswer()+32))}
}

func shapeLong(o *Options) Shape { return Shape{longStreams + 1, roomFor(o.Long + o.shortAnswer())} }
func shapeMemory(*Options) Shape { return Shape{16, 1024} }

// spread are prompts that have nothing in common; load tells those of one case from those of another.
func (r *Run) spread(load string, tokens, answer int) func(client, i int) Request {
	return func(client, i int) Request {
		return Request{Prompt: r.Prompts.Text(tokens, load, r.Round, client, i), MaxTokens: answer}
	}
}

// run is a closed loop whose figures are recorded under name.
func (r *Run) run(ctx context.Context, name string, clients, requests int, request func(client, i int) Request) error {
	l, err := r.Client.loop(ctx, clients, requests, r.Limit, request)
	if err == nil {
		r.Record(name, figures(l))
	}
	return err
}

// distinct is the plain case, for each number of clients. At 16 and more a request each is enough to fill the slots twice.
func distinct(ctx context.Context, r *Run) error {
	for _, n := range r.Clients {
		requests := min(r.Requests, max(1, 16/n))
		name := clients(n)
		if err := r.run(ctx, name, n, requests, r.spread("distinct "+name, r.Prompt, r.Answer)); err != nil {
			return err
		}
	}
	return nil
}

// shared has one long text before every question, new in each round.
func shared(ctx context.Context, r *Run) error {
	prefix := r.Prompts.Text(r.Prefix, "shared", r.Round)
	n := r.crowd()
	return r.run(ctx, clients(n), n, r.Requests, func(client, i int) Request {
		return Request{Prompt: prefix + " " + r.Prompts.Text(r.question(), "shared", r.Round, client, i), MaxTokens: r.shortAnswer()}
	})
}

// identical is one new prompt, from everybody at once.
func identical(ctx context.Context, r *Run) error {
	prompt := r.Prompts.Text(r.Prompt, "identical", r.Round)
	n := r.crowd()
	return r.run(ctx, clients(n), n, 1, func(int, int) Request { return Request{Prompt: prompt, MaxTokens: r.shortAnswer()} })
}

// again asks a long prompt, and then three times the same.
func again(ctx context.Context, r *Run) error {
	request := func(int, int) Request {
		return Request{Prompt: r.Prompts.Text(r.Prefix, "again", r.Round), MaxTokens: 16}
	}
	if err := r.run(ctx, "first", 1, 1, request); err != nil {
		return err
	}
	return r.run(ctx, "again", 1, 3, request)
}

// chat is one conversation. What the server said goes back to it with the next question, as chat clients do.
func chat(ctx context.Context, r *Run) error {
	messages := []Message{{Role: "user", Content: r.Prompts.Text(r.opening(), "chat", r.Round)}}
	var next load
	for turn := range chatTurns {
		l, err := r.Client.loop(ctx, 1, 1, r.Limit, func(int, int) Request {
			return Request{Messages: messages, MaxTokens: r.shortAnswer()}
		})
		if err != nil {
			return err
		}
		a := l.answers[0][0]
		if turn == 0 {
			r.Record("first turn", figures(l))
		} else {
			next.answers = append(next.answers, l.answers[0])
			next.took += l.took
		}
		messages = append(messages, Message{"assistant", a.Text}, Message{"user", r.Prompts.Text(r.question(), "chat", r.Round, turn)})
	}
	r.Record("next turns", figures(next))
	return nil
}

// longStreams is how many answers run when the long prompt enters.
const longStreams = 4

// long has a long prompt enter while answers run, and looks at the gaps in these from then until its first token.
func long(ctx context.Context, r *Run) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var running atomic.Int32
	all := make(chan struct{}) // closed when every answer runs
	streams := make(chan load, 1)
	failed := make(chan error, 1) // one send each, so that the goroutine ends though nobody may look
	go func() {
		l, err := r.Client.loop(ctx, longStreams, 1, 0, func(client, i int) Request {
			q := r.spread("long", r.question(), r.Long)(client, i)
			q.OnText = func(pieces int) {
				if pieces == 4 && running.Add(1) == longStreams {
					close(all)
				}
			}
			return q
		})
		streams <- l
		failed <- err
	}()
	select {
	case <-all:
	case err := <-failed:
		return errors.Join(err, errors.New("answers ended before the long prompt came"))
	}
	entered, err := r.Client.loop(ctx, 1, 1, r.Limit, func(int, int) Request {
		return Request{Prompt: r.Prompts.Text(r.Long, "long", r.Round), MaxTokens: 16}
	})
	end(errLimit) // as if the time were over: what has come is kept
	l := <-streams
	if err = errors.Join(err, <-failed); err != nil {
		return err
	}
	a := entered.answers[0][0]
	if len(a.Pieces) == 0 {
		return fmt.Errorf("the long prompt had no answer within %v", r.Limit)
	}
	var gaps []float64
	for _, client := range l.answers {
		gaps = append(gaps, client[0].gaps(a.Sent, a.Pieces[0])...)
	}
	r.Record("running answers", Figures{Requests: longStreams, InterToken: quantiles(gaps)})
	f := figures(entered)
	f.TokensPerSecond = 0 // of 16 tokens behind 4000 it says nothing
	r.Record("the long prompt", f)
	return nil
}

// memory keeps all slots busy twice, and looks at the most that the process held by then.
func memory(ctx context.Context, r *Run) error {
	l, err := r.Client.loop(ctx, 16, 2, r.Limit, r.spread("memory", 200, 16))
	if err != nil {
		return err
	}
	f := figures(l)
	f.PeakBytes, err = r.Process.PeakMemory()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // other systems than Linux do not tell
		return err
	}
	r.Record("peak", f)
	return nil
}

// start has been measured when the server was found ready.
func start(_ context.Context, r *Run) error {
	if len(r.First.Pieces) == 0 {
		return errors.New("the first answer has no text")
	}
	ready := r.First.Pieces[0].Sub(r.Process.Started).Seconds()
	r.Record("first token", Figures{Requests: 1, FirstToken: Quantiles{ready, ready}})
	return nil
}

// spin keeps a core busy for as long as the process that started it lives.
const spin = `while kill -0 $PPID 2>/dev/null; do i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done; done`

// busy has a neighbour that takes all of one core.
func busy(ctx context.Context, r *Run) error {
	neighbour := exec.CommandContext(ctx, "sh", "-c", spin)
	if err := neighbour.Start(); err != nil {
		return err
	}
	defer func() {
		_ = neighbour.Process.Kill() // the error would say that it has ended
		_ = neighbour.Wait()         // by that kill
	}()
	n := min(4, r.Slots)
	// What spins at barriers may be slower by a factor of 100 here, so the limit is short and the load small.
	l, err := r.Client.loop(ctx, n, 1, min(r.Limit, 45*time.Second), r.spread("busy", r.question(), max(1, r.shortAnswer()/2)))
	if err == nil {
		r.Record(clients(n), figures(l))
	}
	return err
}

// idle measures distinct prompts, fills the cache with prompts that nobody asks for again, and measures others.
func idle(ctx context.Context, r *Run) error {
	n := r.crowd()
	if _, err := r.Client.loop(ctx, n, 1, r.Limit, r.spread("idle warm", r.question(), 8)); err != nil {
		return err
	}
	if err := r.run(ctx, "empty", n, 1, r.spread("idle empty", r.Prompt, r.Answer)); err != nil {
		return err
	}
	shape := shapeDistinct(&r.Options)
	length := shape.Context * 3 / 4
	each := (shape.Slots*shape.Context*5/4/length + n) / n // to 5/4 of the cache, and rounded up
	if _, err := r.Client.loop(ctx, n, each, 0, r.spread("idle fill", length, 1)); err != nil {
		return err
	}
	return r.run(ctx, "full", n, 1, r.spread("idle full", r.Prompt, r.Answer))
}
