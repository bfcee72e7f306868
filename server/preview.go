package server

import (
	"cmp"
	"math"
	"slices"

	"github.com/gin-gonic/gin"

	"aim/llama"
	"aim/sampler"
)

// preview serves POST /v1/aim/preview: the distribution of the next token before and after modulation.
func (s *Server) preview(c *gin.Context) { s.complete(c, s.parsePreview) }

// parsePreview reads a request of one of the other endpoints, with top_n. What only matters once a token is chosen is read and
// ignored.
func (s *Server) parsePreview(o *object) (*call, error) {
	n := o.integer(fieldTop)
	c, _, err := s.parseEither(o)
	if err != nil {
		return nil, err
	}
	if err := c.single("a preview"); err != nil {
		return nil, err
	}
	if c.stream {
		return nil, invalid("stream", codeValue, "stream must be false: a preview is one document")
	}
	if c.model.NoPreviews || c.model.NoLogprobs { // a preview has log-probabilities
		return nil, c.model.hides("previews")
	}
	if !c.model.showsRaw() {
		return nil, c.model.hides("the distribution before modulation")
	}
	rows := &bothRows{}
	c.request.MaxTokens, c.request.Stop, c.request.NoAnswer, c.request.ScorePrompt = 1, nil, false, false
	c.request.Params.Observer, c.request.Params.Logprobs, c.request.Params.TopLogprobs = rows, false, 0
	c.report.on, c.request.Params.Report = true, true
	c.wire = &previewWire{head: newHead(newID("preview-"), "aim.preview", c.model), model: c.model.Engine.Model(), rows: rows, top: int(n)}
	return c, nil
}

// parseEither reads a request of the chat endpoint or, where it has a prompt, of the completion endpoint. remake makes the
// call's wire anew.
func (s *Server) parseEither(o *object) (c *call, remake func(), err error) {
	switch {
	case o.has(fieldMessages) && o.has(fieldPrompt):
		return nil, nil, invalid("prompt", codeValue, "prompt cannot be combined with messages")
	case o.has(fieldPrompt):
		c, err = s.parseCompletion(o)
		return c, func() { c.wire = newTextWire(c) }, err
	}
	c, err = s.parseChat(o)
	return c, func() { c.wire = newChatWire(c) }, err
}

// single makes sure that a call asks for one answer.
func (c *call) single(what string) error {
	switch {
	case c.give > 0:
		return invalid("best_of", codeValue, "best_of is %d, must be 1 for %s", c.n, what)
	case c.n > 1:
		return invalid("n", codeValue, "n is %d, must be 1 for %s", c.n, what)
	case len(c.prompts) > 1:
		return invalid("prompt", codeValue, "prompt has %d entries, must be one for %s", len(c.prompts), what)
	}
	return nil
}

// bothRows keeps a row as it left the model and as modulation made it.
type bothRows struct{ before, after []float32 }

// Observe implements [sampler.Observer].
func (r *bothRows) Observe(raw []float32) { r.before = slices.Clone(raw) }

// Modulated implements [sampler.RowObserver].
func (r *bothRows) Modulated(row []float32) { r.after = slices.Clone(row) }

// Accept implements [sampler.Observer].
func (r *bothRows) Accept(sampler.Token) {}

// previewWire writes previews, which are never streamed.
type previewWire struct {
	head  head
	model llama.Model
	rows  *bothRows
	top   int
}

func (w *previewWire) open(int, extra) []chunk { return nil }

func (w *previewWire) delta(int, piece, extra) []chunk { return nil }

func (w *previewWire) finish(int, *answer, extra) []chunk { return nil }

func (w *previewWire) end([]*answer, extra) []chunk { return nil }

func (w *previewWire) fail(*apiError) []chunk { return nil }

type previewWhole struct {
	head
	Tokens []previewToken `json:"tokens"`
	extra
}

// previewToken is a token before and after modulation; a side is null where the token is impossible.
type previewToken struct {
	tokenName
	Before *standing `json:"before"`
	After  *standing `json:"after"`
}

// standing is a token's place in a distribution, at temperature 1 and before truncation.
type standing struct {
	// Rank is 1 for the most probable token.
	Rank    int     `json:"rank"`
	Logit   float64 `json:"logit"`
	Logprob float64 `json:"logprob"`
	Prob    float64 `json:"prob"`
}

// whole lists the tokens that are among the first on either side, by their rank after modulation; those that it makes
// impossible come last, by their rank before.
func (w *previewWire) whole(_ []*answer, x extra) any {
	before, after := newRanking(w.rows.before), newRanking(w.rows.after)
	ids := slices.Concat(after.order[:min(w.top, after.possible)], before.order[:min(w.top, before.possible)])
	slices.SortFunc(ids, func(a, b sampler.Token) int { return cmp.Compare(after.rank[a], after.rank[b]) })
	ids = slices.Compact(ids)
	// Beyond the possible ones after.order goes by id.
	possible, _ := slices.BinarySearchFunc(ids, after.possible, func(t sampler.Token, n int) int { return cmp.Compare(int(after.rank[t]), n) })
	slices.SortFunc(ids[possible:], func(a, b sampler.Token) int { return cmp.Compare(before.rank[a], before.rank[b]) })
	tokens := make([]previewToken, len(ids))
	for i, t := range ids {
		tokens[i] = previewToken{nameToken(w.model, t), before.standing(t), after.standing(t)}
	}
	return previewWhole{w.head, tokens, x}
}

// ranking is a row in order: the larger logit first, of equal ones the lower id.
type ranking struct {
	row   []float32
	order []sampler.Token
	// rank is the place of each token in order; the first possible ones have a finite logit.
	rank     []int32
	possible int
	norm     float64 // ln Σ e^z
}

func newRanking(row []float32) *ranking {
	r := &ranking{row: row, order: make([]sampler.Token, len(row)), rank: make([]int32, len(row))}
	for i := range r.order {
		r.order[i] = sampler.Token(i)
	}
	slices.SortFunc(r.order, func(a, b sampler.Token) int { return cmp.Or(cmp.Compare(row[b], row[a]), cmp.Compare(a, b)) })
	best, sum := float64(row[r.order[0]]), 0.0
	for i, t := range r.order {
		r.rank[t] = int32(i)
		if z := float64(row[t]); !math.IsInf(z, -1) {
			r.possible++
			sum += math.Exp(z - best)
		}
	}
	r.norm = best + math.Log(sum)
	return r
}

func (r *ranking) standing(t sampler.Token) *standing {
	if int(r.rank[t]) >= r.possible {
		return nil
	}
	logprob := float64(r.row[t]) - r.norm
	return &standing{int(r.rank[t]) + 1, float64(r.row[t]), logprob, math.Exp(logprob)}
}
