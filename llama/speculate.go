package llama

import (
	"log/slog"
	"time"

	"aim/sampler"
)

// Speculative decoding: behind the last token of an answer the next decode may carry tokens that are only guessed. After it
// the sampler runs on the row after the last token as always. Where it chooses the token that was guessed, the next row is
// there already; at the first other one the rest is forgotten. So the answer is chosen from the same rows, by the same
// draws and with the same noise, as without: what is guessed decides about the time alone. (Leviathan et al. 2023,
// arXiv 2211.17192, accept with a probability instead, which needs the distribution; comparing is the same for a guess
// that is one token.)

// maxDraft is the most tokens that are drafted for an answer at a time.
const maxDraft = 64

const (
	// draftGain is how many times as many tokens a second have to be expected for a draft.
	draftGain = 1.05
	// draftSlack is how many times as long a decode may get for those in it who have no draft.
	draftSlack = 1.03
	// draftPrior is as how many guesses in an answer counts what is known from others, and beforehandWeight as how many of
	// those counts what is believed beforehand.
	draftPrior, beforehandWeight = 8, 16
)

// speculation decides which guesses a decode carries. Like the scheduler, whose part it is, it has no clock: the engine tells
// how long decodes take.
type speculation struct {
	// most is Config.Draft, context Config.Context, and always Config.DraftAlways.
	most, context int
	always        bool
	// off says that the cache cannot forget what was guessed wrong, quiet that it has no room for guesses now.
	off, quiet bool

	costs   costs
	chances chances // by lookup, of answers that ended
	drafter chances // by Config.Drafter, of all answers
	// cands are the answers that may be drafted for in the plan.
	cands []candidate
	// drafted is the number of rows in the plan that are guesses.
	drafted int
}

// candidate is an answer in a plan for which there are guesses.
type candidate struct {
	out *output
	// most is how many.
	most int
	// right is the chance that the first k are right, and tokens how many are expected to come of the decode with k.
	right, tokens float64
}

// active says that there may be guesses at all.
func (s *speculation) active() bool { return s.most > 0 && !s.off && !s.quiet }

// guesses is how many tokens can be guessed ahead for a sequence.
func (s *speculation) guesses(seq *sequence) int {
	if seq.answer == nil || len(seq.twins) > 0 || seq.mute {
		return 0
	}
	most := min(s.most, seq.max-seq.usage.CompletionTokens-1, s.context-len(seq.tokens))
	switch {
	case len(seq.forced) > 0:
		return max(0, min(most, len(seq.forced)))
	case len(seq.drafting.ahead) > 0:
		return max(0, min(most, len(seq.drafting.ahead)))
	case seq.lookup != nil:
		return seq.lookup.reach(most)
	}
	return 0
}

// guess is the token guessed k places ahead.
func (seq *sequence) guess(k int) sampler.Token {
	if len(seq.forced) > 0 {
		return seq.forced[k]
	}
	if len(seq.drafting.ahead) > 0 {
		return seq.drafting.ahead[k].Token
	}
	return seq.lookup.draft(k)
}

// chance is that of guess(k) to be right if those before are.
func (s *speculation) chance(seq *sequence, k int) float64 {
	if len(seq.forced) > 0 {
		return 1
	}
	if ahead := seq.drafting.ahead; len(ahead) > 0 {
		return float64(s.drafter.of(confidenceClass(ahead[k].Confidence), ahead[k].Confidence, beforehandWeight))
	}
	class := matchClass(seq.lookup.match + k)
	known := s.chances.of(class, beforehand[class], beforehandWeight)
	return float64(seq.lookup.own.of(class, known, draftPrior))
}

// draft adds guesses to a plan, behind all that is in it.
func (s *scheduler) draft() {
	spec := &s.spec
	spec.drafted, spec.cands = 0, spec.cands[:0]
	if !spec.active() {
		return
	}
	scored, answers := 0, 0
	for i := range s.outs {
		out := &s.outs[i]
		scored += out.n
		if out.row < 0 {
			continue
		}
		answers++
		if n := spec.guesses(out.seq); n > 0 {
			spec.cands = append(spec.cands, candidate{out: out, most: n, right: 1, tokens: 1})
		}
	}
	room := min(s.batch-len(s.rows), s.most-s.stepped-scored)
	if len(spec.cands) == 0 || room <= 0 {
		return
	}
	for i, n := range spec.share(len(s.rows), answers, room) {
		s.guess(spec.cands[i].out, n)
	}
}

// guess plans n guesses for the sequence of an output.
func (s *scheduler) guess(out *output, n int) {
	out.draft, out.drafted = len(s.rows), n
	for k := range n {
		s.rows = append(s.rows, Row{Token: out.seq.guess(k), Seq: out.seq.slot, Pos: out.seq.next, Logits: true})
		out.seq.next++
	}
	s.spec.drafted += n
}

// share says how many tokens to draft for each candidate in a decode of rows rows and so many answers, with room for so
// many more rows: as many for all of them as makes the most tokens a second, if that is more than without by draftGain, and
// nobody who is in the decode gets fewer than by draftSlack. It is the same number for all because llama.cpp takes a batch
// apart in which sequences with buffers of their own have different numbers of rows.
func (s *speculation) share(rows, answers, room int) []int {
	drafts := make([]int, 0, 8) // on the stack, as a rule
	base := s.costs.of(rows)
	best, most := 0, 0
	for i := range s.cands {
		most = max(most, s.cands[i].most)
	}
	if s.always {
		best = most
	} else if base > 0 {
		best = s.length(rows, answers, room, most, base)
	}
	for i := range s.cands {
		n := min(best, s.cands[i].most, max(room, 0))
		room -= n
		drafts = append(drafts, n)
	}
	return drafts
}

// length is the best number of guesses for each candidate.
func (s *speculation) length(rows, answers, room, most int, base float64) (best int) {
	added := 0
	alone := rows == len(s.cands) // nobody else is in the decode
	rate := draftGain * float64(answers) / base
	for k := 1; k <= most; k++ {
		sum, least := float64(answers-len(s.cands)), 1e9
		for i := range s.cands {
			c := &s.cands[i]
			if k <= c.most {
				c.right *= s.chance(c.out.seq, k-1)
				c.tokens += c.right
				added++
			}
			sum += c.tokens
			least = min(least, c.tokens)
		}
		if added > room {
			break
		}
		took := s.costs.of(rows + added)
		if !alone {
			least = 1
		}
		if slower := took / base; slower > draftSlack*least {
			continue
		}
		if sum/took > rate {
			best, rate = k, sum/took
		}
	}
	return best
}

// learn tells how long the planned decode took.
func (s *scheduler) learn(took time.Duration) {
	if len(s.rows) == s.stepped+s.spec.drafted {
		s.spec.costs.learn(len(s.rows), took)
	}
}

// newLookup is nil for requests whose answers are never guessed.
func (e *Engine) newLookup(r *Request, room int) *lookup {
	if e.cfg.Draft == 0 || e.cfg.NoLookup || r.NoAnswer || len(r.Params.Spans) > 0 {
		return nil
	}
	return newLookup(e.model, r.Prompt, r.Predicted, room)
}

// verify chooses tokens after those that were guessed, as long as the guesses are right.
func (e *Engine) verify(st *step) {
	seq := st.seq
	for i, row := range st.guesses {
		last := len(seq.tokens) - 1
		if st.err != nil || st.ended() || seq.tokens[last] != st.drafted[i].Token {
			return
		}
		seq.usage.AcceptedTokens++
		st.more = append(st.more, Delta{})
		e.choose(st, row, &st.more[len(st.more)-1])
	}
}

// last is the latest delta of a step.
func (st *step) last() *Delta {
	if n := len(st.more); n > 0 {
		return &st.more[n-1]
	}
	return &st.delta
}

// deltas ranges over the deltas of a step, without the one that failed.
func (st *step) deltas(yield func(*Delta) bool) {
	all := len(st.more) + 1
	if st.err != nil {
		all--
	}
	if all == 0 || !yield(&st.delta) {
		return
	}
	for i := range all - 1 {
		if !yield(&st.more[i]) {
			return
		}
	}
}

// ended says that the answer is complete.
func (st *step) ended() bool { return st.last().Finish != "" }

// reconcile counts the guesses of a step, and forgets those that were wrong. Where the cache cannot do that, the sequence is computed again, and
// nothing is guessed any more.
func (e *Engine) reconcile(st *step) {
	seq, spec := st.seq, &e.loop.sched.spec
	seq.drafting.review(st, &spec.drafter, spec.costs.of(len(e.loop.sched.rows)-spec.drafted), e.loop.took.Seconds(), spec.always)
	if len(st.guesses) == 0 {
		return
	}
	e.drafted.Add(uint64(len(st.guesses)))
	e.accepted.Add(uint64(max(0, st.chosen-1))) //nolint:gosec // not negative
	kept := len(seq.tokens) - 1
	if seq.done <= kept {
		return
	}
	err := e.cut(seq.slot, kept)
	if err == nil {
		seq.done = kept
		return
	}
	slog.Info("speculative decoding is off", "reason", err)
	spec.off = true
	e.forget(seq.slot)
	seq.done = 0
}

// cut forgets a sequence from a position on; a panic in the Decoder is an error.
func (e *Engine) cut(slot, from int) (err error) {
	defer recovered("forget", &err)
	return e.loop.dec.Forget(slot, from)
}

// unguessed is told that the cache was full. It is true where that may be due to guesses, which are left out for now.
func (s *scheduler) unguessed() bool {
	if s.spec.drafted == 0 {
		return false
	}
	s.spec.quiet = true
	return true
}

// retire keeps what an answer told about guesses.
func (s *speculation) retire(seq *sequence) {
	if seq.answer != nil && seq.lookup != nil {
		s.chances.merge(&seq.lookup.own)
	}
}
