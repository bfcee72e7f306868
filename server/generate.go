package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"aim/internal/measure"
	"aim/llama"
)

// event is what one choice contributes to an answer.
type event struct {
	choice int
	delta  llama.Delta
	err    error
}

// errUnfinished says that the engine ended an answer without a reason, which it promises not to do.
var errUnfinished = errors.New("an answer ended without a reason")

// generate runs all choices of a call at once and hands what they yield to r, until all have finished or the first one
// fails, which ends the others. It is the only goroutine that writes; took hears when tokens come, and total becomes the answer's usage, also where it fails.
func (s *Server) generate(ctx context.Context, c *call, r reply, took *measure.Request, total *usage) (err error) {
	places := c.model.places
	if !places.take(c.request.Group, c.choices()*c.width()) {
		return llama.ErrBusy
	}
	total.Prompt = c.promptTokens()
	chosen := make([]int, c.choices())
	defer func() {
		total.count(chosen)
		if errors.Is(err, llama.ErrQueued) || errors.Is(err, llama.ErrClosed) {
			total.Prompt = 0 // nothing was computed
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	box := newInbox()
	// A draft model's guesses are those of a model without noise. Which of them were right is not told where utility is imposed.
	guessed := c.model.showsRaw() || c.model.Engine.Config().Drafter == nil
	for i, req := range c.requests() {
		running.Go(func() {
			defer places.give(req.Group, c.width())
			s.produce(ctx, c.model.Engine, req, func(d llama.Delta, err error) { box.put(event{i, d, err}) })
		})
	}

	idle := newIdleTimer(s.keepAlive)
	defer idle.stop()
	for open := c.choices(); open > 0; {
		select {
		case <-box.more:
			sent := false
			list := box.take()
			arrived(took, list)
			for _, e := range list {
				if e.err != nil {
					if sent { // what was said before
						_ = r.flush() // who has left need not be told why it fails
					}
					return e.err
				}
				chosen[e.choice] = max(chosen[e.choice], e.delta.Chosen)
				sent = r.delta(e.choice, e.delta) || sent
				if e.delta.Finish != "" {
					open--
					total.add(&e.delta, e.choice%c.n == 0, guessed)
				}
			}
			if sent && open > 0 { // the end goes out with the last of them
				if err := r.flush(); err != nil {
					return err
				}
				idle.reset()
			}
		case <-idle.C():
			if err := r.alive(); err != nil {
				return err
			}
			idle.reset()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	total.count(chosen)
	return r.end(total)
}

// add takes in what the end of a choice tells, of a prompt's first one and of tokens guessed ahead where asked.
func (u *usage) add(d *llama.Delta, first, guessed bool) {
	if guessed {
		u.CompletionDetails.Accepted += d.Usage.AcceptedTokens
		u.CompletionDetails.Rejected += d.Usage.DraftedTokens - d.Usage.AcceptedTokens
	}
	if first {
		u.PromptDetails.Cached += d.Usage.CachedTokens
	}
	u.flips += d.Counts.Flips
	u.hits += d.Counts.Hits
}

// arrived notes when events came, and what their ends tell.
func arrived(took *measure.Request, list []event) {
	for _, e := range list {
		took.Tokens(e.choice, e.delta.Chosen)
		if e.delta.Finish != "" {
			took.Waited(e.delta.Usage.Queued)
		}
	}
	took.Arrived(time.Now())
}

// produce generates one choice.
func (s *Server) produce(ctx context.Context, e *llama.Engine, req llama.Request, put func(llama.Delta, error)) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			put(llama.Delta{}, fmt.Errorf("%w: %v", llama.ErrInternal, p))
		}
	}()
	for until := time.Now().Add(roomPatience); ; {
		err := s.once(ctx, e, req, put)
		if errors.Is(err, llama.ErrBusy) && time.Now().Before(until) {
			select {
			case <-time.After(roomPause):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			put(llama.Delta{}, err)
		}
		return
	}
}

// A request that has a place finds the engine full where others have just left: their places are free at once, the engine hears of it when a decode
// ends. So it tries again after each roomPause, for as long as roomPatience.
const (
	roomPause    = 5 * time.Millisecond
	roomPatience = 5 * time.Second
)

// once generates one choice, or fails before anything was put.
func (s *Server) once(ctx context.Context, e *llama.Engine, req llama.Request, put func(llama.Delta, error)) error {
	for d, err := range e.Generate(ctx, req) {
		if errors.Is(err, llama.ErrBusy) { // it is refused as a whole
			return err
		}
		if err == nil && d.Finish != "" {
			err = maskError(req.Params.Mask)
		}
		put(d, err)
		if err != nil || d.Finish != "" {
			return nil
		}
	}
	return errUnfinished
}

// inbox brings the events of all choices to the one that writes. It never makes them wait, so that a client who reads
// slowly holds none of the engine's places: an answer is at most as long as the context.
type inbox struct {
	mu   sync.Mutex
	list []event
	// more has a buffer of one, which lets put leave its notice and go.
	more chan struct{}
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

func (b *inbox) put(e event) {
	b.mu.Lock()
	b.list = append(b.list, e)
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default: // a notice is waiting, and take will find this event, too
	}
}

// take empties the box.
func (b *inbox) take() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	return list
}

// gate hands out an engine's places for answers and their twins. All choices of a request get theirs at once or none does, which the engine,
// who sees one at a time, cannot tell.
//
// A group, such as a key, may hold no more places than are free, or than there are slots: so however many wait of those that are there, whoever comes
// next finds a place ("Dynamic queue length thresholds", Choudhury and Hahne, IEEE/ACM Transactions on Networking 1998).
type gate struct {
	mu          sync.Mutex
	free, slots int
	held        map[string]int
}

func newGate(size llama.Config) *gate {
	return &gate{free: size.Slots + size.Queue, slots: size.Slots, held: map[string]int{}}
}

// take takes n places for a group, "" for one without bounds, and reports whether it could.
func (g *gate) take(group string, n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n > g.free || group != "" && g.held[group]+n > max(g.free, g.slots) {
		return false
	}
	g.free -= n
	if group != "" {
		g.held[group] += n
	}
	return true
}

// give brings n places of a group back.
func (g *gate) give(group string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free += n
	if group == "" {
		return
	}
	if g.held[group] -= n; g.held[group] == 0 {
		delete(g.held, group)
	}
}

// idleTimer fires when nothing was sent for a while; never where that is negative.
type idleTimer struct {
	timer *time.Timer
	after time.Duration
}

func newIdleTimer(after time.Duration) *idleTimer {
	if after < 0 {
		return &idleTimer{}
	}
	return &idleTimer{time.NewTimer(after), after}
}

func (t *idleTimer) C() <-chan time.Time {
	if t.timer == nil {
		return nil
	}
	return t.timer.C
}

func (t *idleTimer) reset() {
	if t.timer != nil {
		t.timer.Reset(t.after)
	}
}

func (t *idleTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
}
