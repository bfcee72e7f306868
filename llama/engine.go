package llama

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"aim/sampler"
)

// Config sizes an Engine. Zero fields take the defaults given.
type Config struct {
	// Slots is the number of sequences decoded at once; default 1.
	Slots int
	// Context is the most tokens of one sequence, prompt and answer together; default 4096.
	Context int
	// Batch is the most rows of one decode, at least Slots; default 512.
	Batch int
	// Pause is how long prompts may hold up running answers, in each decode: from it follows how many prompt rows a decode carries
	// beside answers. Default 200 ms.
	Pause time.Duration
	// Chunk fixes the most prompt rows of a decode that also carries running answers; 0 lets Pause decide.
	Chunk int
	// Parked is the number of slots beyond Slots that only hold prefixes of former prompts. They pay where a driver keeps all slots in
	// one buffer, where they cost nothing; default 0. The prefixes of ended answers stay in free slots in any case.
	Parked int
	// NoCache computes each prompt anew.
	NoCache bool
	// CacheBytes is how much memory prefixes may take that had to leave their slots, where the driver is a [Keeper]; negative for none.
	// Default half of what the KV cache takes, at least 64 MiB.
	CacheBytes int64
	// Queue is the number of requests that may wait for a slot; default 0.
	Queue int
	// Export, when set, is called at the end of Run with the prefixes that the cache holds; see [Engine.Import].
	Export func(iter.Seq[Cached])
	// ScoreRows is how many rows of logits a decode may have for [Request.ScorePrompt]; default as many as 64 MiB hold. A
	// driver may keep as much memory as the largest decode took.
	ScoreRows int
	// Draft is the most tokens to guess ahead for an answer, in [0, 64], where that is expected to make it faster; 0 guesses
	// none. The answers stay the same; see speculate.go.
	Draft int
	// Drafter guesses where the answer's own text and its prompt give no good guesses; nil for none. It needs a Draft above 0.
	Drafter Drafter
	// NoLookup leaves all guesses to the Drafter.
	NoLookup bool
	// DraftAlways guesses whatever it costs: for tests, and to measure how many guesses are right.
	DraftAlways bool
	// Shift lets answers go on when their context is full, by forgetting half of what follows the first Keep tokens of the prompt;
	// 0 is all of it, and never more than half of the context is kept. Where the driver is no [Shifter], or this model's cache
	// cannot do it, they end as without Shift, and so do those with spans whose prompts cannot be kept whole.
	Shift bool
	Keep  int
}

// scoreBytes is the default of Config.ScoreRows in bytes.
const scoreBytes = 64 << 20

func (c Config) withDefaults(vocab int) Config {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&c.Slots, 1)
	set(&c.Context, 4096)
	set(&c.Batch, 512)
	if c.Pause == 0 {
		c.Pause = 200 * time.Millisecond
	}
	c.Draft = max(0, min(c.Draft, maxDraft))
	set(&c.ScoreRows, max(1, scoreBytes/(4*max(vocab, 1))))
	return c
}

// Engine runs many sequences over one model. Its methods are safe for concurrent use.
type Engine struct {
	model   Model
	lexicon *Lexicon
	cfg     Config

	// arrivals carries admitted requests to Run. Its buffer is as large as the admission bound, so a caller never waits
	// for a decode to hand its request over.
	arrivals chan *sequence
	// admitted counts sequences between admission and the end of their work in Run.
	admitted atomic.Int64
	closed   atomic.Bool
	// done is closed when Run has returned.
	done chan struct{}

	loop loop
	// sets is the number of sets of adapters.
	sets int

	// control and ends are the model's control tokens, for utility noise.
	control, ends []sampler.Token

	busy                                    atomic.Int64
	decodes, promptTokens, completionTokens atomic.Uint64
	cacheStats                              atomic.Pointer[CacheStats]
	drafted, accepted                       atomic.Uint64
	counters                                counters
	watch                                   watch
	slots                                   slots
	shifts                                  bool // contexts may and can be shifted
}

// loop is what only the goroutine of Run touches.
type loop struct {
	dec   Decoder
	sched *scheduler
	steps []step
	views [][]float32

	cache  cache
	keeper Keeper // nil where dec is none
	sized  bool   // whether cache.most is known
	pace   pace
	took   time.Duration // by the last decode
}

// answer is the engine's half of a sequence: how its tokens are chosen, assembled and handed over.
type answer struct {
	ctx      context.Context
	limits   limits
	sampler  *sampler.Sampler
	text     text
	forced   []sampler.Token // what is left of Request.Forced
	lookup   *lookup         // nil where nothing is guessed by it
	drafting drafting
	box      mailbox
	max      int
	control  bool // Request.ShowControl
	scores   *scores
	usage    Usage
	clock    clock

	name    string         // Request.Name
	counted sampler.Counts // what the engine's counters have of the sampler's
	report  *Report        // nil unless it was asked for
}

// step is one sequence's share of a decode.
type step struct {
	seq *sequence
	// scores are the rows that score its prompt, and row the one for its next token, nil without one.
	scores [][]float32
	row    []float32
	// twins are the rows of the sequence's twins.
	twins [][]float32
	// drafted are the guesses that follow, and guesses the rows of logits after them.
	drafted []Row
	guesses [][]float32
	delta   Delta
	more    []Delta // of the tokens beyond the first
	chosen  int     // how many tokens were
	err     error
}

// New returns an Engine over m and d. Its requests wait until Run is called.
func New(m Model, d Decoder, cfg Config) *Engine {
	cfg = cfg.withDefaults(m.Vocab())
	control, ends := ControlTokens(m)
	shifter, ok := d.(Shifter)
	e := &Engine{
		shifts:   ok && cfg.Shift && shifter.CanShift(),
		control:  control,
		ends:     ends,
		model:    m,
		sets:     setsOf(d),
		lexicon:  NewLexicon(m),
		cfg:      cfg,
		watch:    watch{epoch: time.Now()},
		arrivals: make(chan *sequence, cfg.Slots+cfg.Queue),
		done:     make(chan struct{}),
		loop:     newLoop(d, cfg),
		slots:    slots{list: make([]SlotStats, cfg.Slots+cfg.Parked)},
	}
	e.loop.sched.place = e.loop.place
	e.cacheStats.Store(&CacheStats{})
	return e
}

func newLoop(d Decoder, cfg Config) loop {
	l := loop{dec: d, sched: newScheduler(cfg), cache: newCache(cfg.Slots+cfg.Parked, cfg)}
	if keeper, ok := d.(Keeper); ok && cfg.CacheBytes >= 0 {
		l.keeper = keeper
		if cfg.CacheBytes == 0 {
			l.cache.most = cacheFloor
		}
	}
	return l
}

// Model returns the model.
func (e *Engine) Model() Model { return e.model }

// Lexicon finds the tokens of the model's that have to do with a word.
func (e *Engine) Lexicon() *Lexicon { return e.lexicon }

// Config returns the sizes in force.
func (e *Engine) Config() Config { return e.cfg }

// Stats is a snapshot of an engine's work.
type Stats struct {
	// Slots, Busy and Queued count sequences, twins included.
	Slots, Busy, Queued int
	// Decodes, PromptTokens and CompletionTokens count since the start; prompt tokens that came from the cache are not among them.
	Decodes, PromptTokens, CompletionTokens uint64
	// Cache is what the prefix cache did.
	Cache CacheStats
	// Drafted counts the tokens that were guessed ahead, and Accepted those of them that were chosen and saved a decode.
	Drafted, Accepted uint64
}

// Stats returns the current figures without waiting for a decode.
func (e *Engine) Stats() Stats {
	busy := e.busy.Load()
	return Stats{
		Slots:            e.cfg.Slots,
		Busy:             int(busy),
		Queued:           int(max(0, e.admitted.Load()-busy)),
		Decodes:          e.decodes.Load(),
		PromptTokens:     e.promptTokens.Load(),
		CompletionTokens: e.completionTokens.Load(),
		Cache:            *e.cacheStats.Load(),
		Drafted:          e.drafted.Load(),
		Accepted:         e.accepted.Load(),
	}
}

// Close stops admission: later requests fail with [ErrClosed], those admitted go on.
func (e *Engine) Close() { e.closed.Store(true) }

// Generate yields the answer in pieces. The request is admitted, or refused with an error, when the first one is asked
// for. Leaving the loop or cancelling ctx frees its slot before the next decode. A slow reader delays nobody: what it has
// not read yet is kept for it.
func (e *Engine) Generate(ctx context.Context, r Request) iter.Seq2[Delta, error] {
	return func(yield func(Delta, error) bool) {
		ctx, leave := context.WithCancel(ctx)
		defer leave()
		seq, err := e.newSequence(ctx, r)
		if err == nil && seq.mute && seq.toScore == 0 && !e.closed.Load() {
			yield(seq.silence(), nil)
			return
		}
		if err == nil {
			err = e.admit(seq)
		}
		if err != nil {
			yield(Delta{}, err)
			return
		}
		for {
			p, err := e.next(ctx, seq.box)
			for _, d := range p.deltas {
				if !yield(d, nil) || d.Finish != "" {
					return
				}
			}
			if err == nil {
				err = p.err
			}
			if err != nil {
				yield(Delta{}, err)
				return
			}
		}
	}
}

// next waits for the next parcel, or for the reason why none will come.
func (e *Engine) next(ctx context.Context, box mailbox) (parcel, error) {
	select {
	case p := <-box:
		return p, nil
	case <-ctx.Done():
		return parcel{}, ctx.Err()
	case <-e.done:
	}
	select {
	case p := <-box: // put before the end
		return p, nil
	default:
		return parcel{}, ErrClosed
	}
}

// checkTokens refuses tokens outside the vocabulary.
func checkTokens(param string, tokens []sampler.Token, vocab int) error {
	for _, t := range tokens {
		if t < 0 || int(t) >= vocab {
			return &sampler.DomainError{Param: param, Value: t, Want: fmt.Sprintf("of tokens in [0, %d)", vocab)}
		}
	}
	return nil
}

// newSequence checks a request against the model and the context.
func (e *Engine) newSequence(ctx context.Context, r Request) (*sequence, error) {
	vocab := e.model.Vocab()
	if len(r.Prompt) == 0 {
		return nil, &sampler.DomainError{Param: "prompt", Value: "empty", Want: "at least one token long"}
	}
	if err := checkTokens("prompt", r.Prompt, vocab); err != nil {
		return nil, err
	}
	if err := e.checkTwins(&r); err != nil {
		return nil, err
	}
	if err := checkScores(&r); err != nil {
		return nil, err
	}
	if err := e.checkAdapters(r.Adapters); err != nil {
		return nil, err
	}
	room := e.cfg.Context - longest(&r)
	if room < 0 || room == 0 && !r.NoAnswer {
		return nil, &TooLongError{Prompt: len(r.Prompt), Context: e.cfg.Context}
	}
	if r.MaxTokens < 0 {
		return nil, &sampler.DomainError{Param: "max_tokens", Value: r.MaxTokens, Want: "at least 0"}
	}
	if r.MaxTokens > 0 {
		room = min(room, r.MaxTokens)
	}
	if err := errors.Join(checkTokens("forced", r.Forced, vocab), checkTokens("predicted", r.Predicted, vocab)); err != nil {
		return nil, err
	}
	r.Params.Utility.Pinned, r.Params.Utility.End = e.control, e.ends // what a caller of the engine need not know
	usage := Usage{PromptTokens: len(r.Prompt)}
	if err := r.Params.Validate(vocab); err != nil { // before a part of it is put aside
		return nil, err
	}
	r = reduced(r)
	s, err := sampler.New(r.Params, vocab)
	if err != nil {
		return nil, err
	}
	s.Prime(r.Prompt)
	scores, err := newScores(&r, vocab)
	if err != nil {
		return nil, err
	}
	seq := &sequence{
		tokens:   append(make([]sampler.Token, 0, len(r.Prompt)+min(room, 256)), r.Prompt...),
		adapters: r.Adapters,
		twins:    newTwins(&r, room),
		awaits:   true,
		domain:   domain{r.CacheDomain, r.Adapters},
		alone:    r.NoCache,
		group:    r.Group,
		weight:   r.Weight,
		answer: &answer{
			control: r.ShowControl,
			scores:  scores,
			ctx:     ctx,
			limits:  limits{r.Patience, r.Deadline},
			sampler: s,
			text:    text{stop: r.Stop},
			forced:  r.Forced,
			lookup:  e.newLookup(&r, room),
			box:     newMailbox(),
			max:     room,
			usage:   usage,
			name:    r.Name,
			report:  newReport(&r.Params),
		},
	}
	if r.NoAnswer {
		seq.mute, seq.tokens = true, seq.tokens[:len(r.Prompt)-1]
	}
	if r.ScorePrompt {
		seq.toScore = len(r.Prompt) - 1
	}
	e.prepareShift(seq, &r)
	seq.rouse()
	return seq, nil
}

// admit hands a sequence to Run, if there is a place for it.
func (e *Engine) admit(seq *sequence) error {
	if e.closed.Load() {
		return ErrClosed
	}
	width := int64(seq.width())
	if n := e.admitted.Add(width); n > int64(cap(e.arrivals)) {
		e.admitted.Add(-width)
		return ErrBusy
	}
	seq.clock.arrived = time.Now()
	e.arrivals <- seq
	return nil
}

// Run decodes until ctx is done, then ends what is left with [ErrClosed] and returns nil. It is the one goroutine that
// calls the Decoder; call it once.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.done)
	defer e.end()
	for {
		if !e.receive(ctx) {
			return nil
		}
		e.watch.begin()
		e.reap()
		e.loop.sched.admit()
		e.settle()
		e.closeHole()
		e.count()
		e.shift()
		e.step()
		e.watch.end()
	}
}

// receive takes the requests that have arrived, and waits for one where there is nothing else to do. It is false when the
// engine shall end.
func (e *Engine) receive(ctx context.Context) bool {
	if e.loop.sched.idle() {
		select {
		case <-ctx.Done():
			return false
		case seq := <-e.arrivals:
			e.loop.sched.add(seq)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case seq := <-e.arrivals:
			e.loop.sched.add(seq)
		default:
			return true
		}
	}
}

// limits are the times at which a sequence's caller gives up.
type limits struct {
	patience time.Duration
	deadline time.Time
}

// over says why a sequence must go, nil where it may stay.
func (a *answer) over(waits bool, now time.Time) error {
	switch {
	case a.ctx.Err() != nil:
		return a.ctx.Err()
	case !a.limits.deadline.IsZero() && now.After(a.limits.deadline):
		return ErrDeadline
	case waits && a.limits.patience > 0 && a.clock.begun.IsZero() && now.Sub(a.clock.arrived) > a.limits.patience:
		return ErrQueued
	}
	return nil
}

// reap drops the sequences whose callers have left, or whose time is over.
func (e *Engine) reap() {
	type leaving struct {
		seq *sequence
		why error
	}
	s, now := e.loop.sched, time.Now()
	var gone []leaving // nobody, as a rule: this runs before every decode
	for _, list := range [][]*sequence{s.waiting, s.running} {
		for _, seq := range list {
			if err := seq.over(seq.slot < 0, now); err != nil {
				gone = append(gone, leaving{seq, err})
			}
		}
	}
	for _, l := range gone {
		e.drop(l.seq)
		l.seq.box.put(Delta{}, l.why)
	}
}

// step decodes once, chooses a token for every sequence that got a row of logits, and hands the outcome over.
func (e *Engine) step() {
	if e.cfg.Chunk == 0 {
		e.loop.sched.chunk = e.loop.pace.chunk(e.cfg.Pause, e.cfg.Batch)
	}
	e.propose()
	rows, outs := e.loop.sched.plan()
	if len(rows) == 0 {
		return
	}
	e.begin()
	start := time.Now()
	if err := e.decode(rows); err != nil {
		e.failed(err)
		return
	}
	said := e.loop.sched.stepped + e.loop.sched.spec.drafted
	e.loop.pace.observe(len(rows)-said, e.loop.sched.spec.costs.of(said), time.Since(start))
	e.loop.sched.commit()
	e.decodes.Add(1)
	e.promptTokens.Add(uint64(len(rows) - said)) //nolint:gosec // not negative
	e.collect(outs)                              // a driver may still be computing what it is asked for here
	e.loop.took = time.Since(start)
	e.loop.sched.learn(e.loop.took)
	parallel(len(e.loop.steps), func(i int) { e.look(&e.loop.steps[i]) })
	for i := range e.loop.steps {
		e.deliver(&e.loop.steps[i])
	}
}

// collect lists the steps of the sequences whose rows of logits are there.
func (e *Engine) collect(outs []output) {
	steps, views := e.loop.steps[:0], e.loop.views[:0]
	for _, out := range outs {
		first := len(views)
		for i := range out.n {
			views = append(views, e.loop.dec.Logits(out.score+i))
		}
		st := step{seq: out.seq, scores: views[first:len(views):len(views)]}
		if out.row >= 0 {
			first = len(views)
			for i := range out.seq.width() {
				views = append(views, e.loop.dec.Logits(out.row+i)) // nil for idle twins
			}
			st.row, st.twins = views[first], views[first+1:len(views):len(views)]
			first = len(views)
			for i := range out.drafted {
				views = append(views, e.loop.dec.Logits(out.draft+i))
			}
			st.drafted, st.guesses = e.loop.sched.rows[out.draft:out.draft+out.drafted], views[first:len(views):len(views)]
			out.seq.usage.DraftedTokens += out.drafted
		}
		steps = append(steps, st)
	}
	e.loop.steps, e.loop.views = steps, views
}

// decode calls the Decoder; a panic in it is an error.
func (e *Engine) decode(rows []Row) (err error) {
	defer recovered("decode", &err)
	if err := e.adapt(); err != nil {
		return err
	}
	return e.loop.dec.Decode(rows)
}

// failed answers a failed decode. A full cache costs an idle prefix its place, or the youngest sequence its slot for a while; anything
// else ends the sequences of that batch, and only those.
func (e *Engine) failed(err error) {
	s := e.loop.sched
	if errors.Is(err, ErrCacheFull) {
		if e.evict() || s.unguessed() {
			return
		}
		if seq := s.youngest(); seq != nil {
			e.putAside(seq)
			s.preempt()
			return
		}
	}
	slog.Error("decode failed", "error", err, "rows", len(s.rows))
	for _, seq := range s.planned() {
		e.spoil(seq)
		e.drop(seq)
		seq.box.put(Delta{}, &DecodeError{err})
	}
}

// look makes of a sequence's rows what they are for. Several run at once, each on a sequence of its own.
func (e *Engine) look(st *step) {
	defer recovered("sampling", &st.err)
	if st.err = st.seq.score(st); st.err == nil && st.row != nil {
		e.choose(st, st.row, &st.delta)
		e.verify(st)
	}
}

// choose samples a sequence's next token from a row and assembles its text, which becomes d.
func (e *Engine) choose(st *step, row []float32, d *Delta) {
	a := st.seq.answer
	choice, err := a.pick(row, st.twins)
	if err != nil {
		st.err = err
		return
	}
	a.sampler.Accept(choice.Token)
	st.seq.extend(choice.Token)
	st.chosen++
	a.usage.CompletionTokens++
	d.Chosen = a.usage.CompletionTokens
	a.clock.token(&a.usage)
	if a.report != nil {
		a.report.Tokens = append(a.report.Tokens, a.sampler.Step())
	}

	sampled := sampledOf(choice)
	kind := e.model.Kind(choice.Token)
	if kind == End {
		end := sampled // a copy, so that only this one is allocated
		d.Finish, d.End = FinishStop, &end
	} else {
		var piece []byte
		if kind == Normal || a.control {
			piece = e.model.Piece(choice.Token)
		}
		var stopped bool
		d.Text, d.Tokens, stopped = a.text.add(sampled, piece)
		if stopped {
			d.Finish, d.Stopped = FinishStop, a.text.stopped
		} else if a.usage.CompletionTokens == a.max {
			d.Finish = FinishLength
		}
	}
	if d.Finish != "" {
		rest, tokens := a.text.flush()
		d.Text += rest
		d.Tokens = append(d.Tokens, tokens...)
		d.Usage, d.Counts, d.Report = a.usage, a.sampler.Counts(), a.finalReport()
	}
}

// pick chooses the next token, or takes the one that the request forces.
func (a *answer) pick(row []float32, twins [][]float32) (sampler.Choice, error) {
	if len(a.forced) == 0 {
		return a.sampler.Sample(row, twins...)
	}
	t := a.forced[0]
	a.forced = a.forced[1:]
	return a.sampler.Score(row, t, twins...)
}

// deliver hands a step's outcome to its reader. A place is freed before its reader hears of the end, so that who asks
// again at once finds it free.
func (e *Engine) deliver(st *step) {
	e.reconcile(st)
	e.completionTokens.Add(uint64(st.chosen)) //nolint:gosec // not negative
	if n := st.seq.usage.CompletionTokens; n/countEvery != (n-st.chosen)/countEvery {
		e.counters.update(st.seq.answer)
	}
	if st.err != nil || st.ended() {
		e.drop(st.seq)
	}
	for d := range st.deltas {
		if d.Text != "" || len(d.Tokens)+len(d.Prompt) > 0 || d.Finish != "" {
			st.seq.box.put(*d, nil)
		}
	}
	if st.err != nil {
		st.seq.box.put(Delta{}, st.err)
	}
}

// drop takes a sequence out and frees its place. What it has computed stays in the KV cache for those who begin alike.
func (e *Engine) drop(seq *sequence) {
	e.park(seq)
	e.loop.sched.remove(seq)
	e.admitted.Add(-int64(seq.width()))
	e.counters.update(seq.answer)
	e.loop.sched.spec.retire(seq)
	e.count()
}

// forget empties a slot; by the Decoder's contract that cannot fail.
func (e *Engine) forget(slot int) {
	if err := e.cut(slot, 0); err != nil {
		slog.Error("a slot could not be emptied", "slot", slot, "error", err)
	}
}

// end answers everybody who is left.
func (e *Engine) end() {
	e.Close()
	s := e.loop.sched
	for more := true; more; { // those that were admitted and not looked at yet
		select {
		case seq := <-e.arrivals:
			s.add(seq)
		default:
			more = false
		}
	}
	for _, seq := range slices.Concat(s.running, s.waiting) {
		e.drop(seq)
		seq.box.put(Delta{}, ErrClosed)
	}
	if e.cfg.Export != nil {
		e.cfg.Export(e.cached)
	}
	e.release()
}

// count publishes which sequences run, for Stats and Slots.
func (e *Engine) count() {
	e.busy.Store(int64(width(e.loop.sched.running)))
	e.slots.publish(e.loop.sched.running, e.loop.cache.held)
	if now := e.loop.cache.statistics(); now != *e.cacheStats.Load() {
		e.cacheStats.Store(&now)
	}
}

// recovered turns a panic of the calling function into an error.
func recovered(what string, err *error) {
	if p := recover(); p != nil {
		slog.Error("panic", "in", what, "panic", p, "stack", string(debug.Stack()))
		*err = ErrInternal
	}
}

// parallel calls f(0) … f(n-1) on as many goroutines as there are processors and returns when all are done.
func parallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers < 2 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
