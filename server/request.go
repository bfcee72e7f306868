package server

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"slices"

	"aim/internal/grammar"
	"aim/internal/toolcall"
	"aim/llama"
	"aim/sampler"
)

// call is a request that can be generated: parsed, bounded and tokenized.
type call struct {
	model   *served
	prompts []prompt
	// text is the prompt of a conversation, as its template spells it.
	text string
	// n is the number of choices for each prompt to generate, of which the best give are given; 0 for all.
	n, give int
	// request is what all choices share; the fields that differ are set in requests.
	request llama.Request
	// utility is what was asked for.
	utility asked
	// points are those of a sweep, one for each choice; otherwise nil.
	points []point
	// logprobs says that the answer tells log-probabilities.
	logprobs bool
	report   reportAsked
	// settingShown says that reports tell the utility in force; set by impose.
	settingShown bool
	seed         seed
	// spans are the entries of focus on parts of the prompts.
	spans []span
	// banned are the tokens that no answer may have.
	banned []sampler.Token
	// tools are those that an answer may call, and form is what it must look like otherwise; grammar is what comes of them,
	// nil where an answer is free.
	tools   toolset
	form    form
	grammar *grammar.Grammar
	// parsed says that answers are read with parser, and thinking that they begin inside of reasoning.
	parsed, thinking bool
	parser           toolcall.Options
	// callID is what the ids of calls begin with, "" for call_.
	callID string
	// stream asks for events, usage for their chunk of its own at the end.
	stream, usage bool
	// wire is how the endpoint writes the answer.
	wire wire
}

// prompt is what one or more choices answer.
type prompt struct {
	tokens []sampler.Token
	// spans are those of the request in this prompt.
	spans []sampler.Span
	// echo is text that the answer begins with, and offsets are where the tokens begin in it, where they are scored.
	echo    string
	offsets []int
}

// seed starts a request's draws and its focus.
type seed struct {
	value uint64
	// given is false where the caller left it to us.
	given bool
}

// common reads the fields that OpenAI's older endpoints have, except how many tokens and which log-probabilities to give.
func (s *Server) common(o *object) (*call, error) {
	c, err := s.basics(o)
	if err != nil {
		return nil, err
	}
	c.n = int(o.integer(fieldN))
	c.usage = o.includeUsage(c.stream)
	c.request.Stop = o.stop(fieldStop)
	c.form = o.form(c.model, form{o.param(fieldResponseFormat), o.responseFormat(c.model)})
	o.text(fieldUser)
	return c, *o.err
}

// basics reads the fields that all endpoints have, for one choice.
func (s *Server) basics(o *object) (*call, error) {
	m, err := s.modelOf(o)
	if err != nil {
		return nil, err
	}
	c := &call{model: m, n: 1, stream: o.boolean(fieldStream), seed: o.seed()}
	c.request.Params = o.sampling(m)
	c.request.Params.Bias, c.banned = o.bias(m.Engine.Model())
	x := o.extension(m.Engine.Model(), m.Engine.Lexicon())
	c.request.Params.Focus, c.utility, c.spans, c.report = x.focus, x.utility, x.spans, x.report
	c.request.Params.Report = x.report.on
	c.request.Name, c.request.Adapters = m.ID, m.Adapters
	c.request.NoCache, c.request.CacheDomain = !o.boolean(fieldCachePrompt), o.text(fieldCacheSalt)
	return c, *o.err
}

// modelOf finds the model a request names.
func (s *Server) modelOf(o *object) (*served, error) {
	id := o.text(fieldModel)
	if *o.err != nil {
		return nil, *o.err
	}
	m, err := s.acquire(o.asker, id)
	if err != nil {
		return nil, err
	}
	o.limits = m.compiled
	return m, nil
}

// bound makes sure that the parsed request as a whole can be generated. Whether it may is decided by impose.
func (s *Server) bound(c *call) error {
	model, cfg, most := c.model.Engine.Model(), c.model.Engine.Config(), c.model.context()
	params := &c.request.Params
	if sigma := c.utility.sigma; sigma != nil {
		params.Utility.Sigma = *sigma
	}
	if err := params.Validate(model.Vocab()); err != nil {
		return err
	}
	if params.RepeatLastN == 0 { // no window; to the sampler 0 is the default one
		params.RepeatPenalty = 1
	}
	// The engine says so too, but of several prompts only when others may already have been answered.
	for _, p := range c.prompts {
		n := len(p.tokens)
		if n > most || n == most && !c.request.NoAnswer {
			return &llama.TooLongError{Prompt: n, Context: most}
		}
		if most < cfg.Context && (c.request.MaxTokens == 0 || c.request.MaxTokens > most-n) {
			c.request.MaxTokens = most - n // all answers of a call share it: the longest prompt leaves the least
		}
	}
	if err := c.fits(cfg); err != nil {
		return err
	}
	if most := (cfg.Slots + cfg.Queue) / c.width(); c.choices() > most {
		param := fieldN.name
		switch {
		case c.give > 0:
			param = fieldBestOf.name
		case c.n == 1:
			param = fieldPrompt.name
		}
		return invalid(param, codeValue, "the request asks for %d answers, the server can hold %d at once", c.choices(), most)
	}
	return nil
}

// impose sets the utility in force for a call, for which it may wait where a level is asked for, and what its key and the server say about how it is served.
func (s *Server) impose(r *record, c *call) (err error) {
	c.request.Group, c.request.Weight = r.key, float64(r.grant.Priority)
	c.request.Patience = r.table.QueuePatience
	c.settingShown = c.model.showsRaw() || r.grant.Admin
	if r.table.Longest > 0 {
		c.request.Deadline = r.began.Add(r.table.Longest)
	}
	if r.key != "" && !s.shared {
		c.request.CacheDomain = r.key + " " + c.request.CacheDomain
	}
	if c.points != nil {
		return imposePoints(r, c)
	}
	if c.request.Params.Utility, err = c.model.utility(r, c.utility); err != nil {
		return err
	}
	return c.windowed(c.request.Params.Utility)
}

// choices is the number of answers in all.
func (c *call) choices() int { return len(c.prompts) * c.n }

// requests lists what to generate, the choices of the first prompt first.
func (c *call) requests() []llama.Request {
	list := make([]llama.Request, 0, c.choices())
	for _, p := range c.prompts {
		r := c.request
		r.Prompt = p.tokens
		r.Params.Spans = p.spans
		r.Params.FocusKey = c.seed.focusKey(p.tokens, r.Params.Focus, p.spans...)
		for i := range c.n {
			one := r
			one.Params.Seed = c.seed.choice(i)
			one.Params.Mask = c.mask()
			if c.points != nil {
				c.points[i].apply(&one, c.seed)
			}
			list = append(list, one)
		}
	}
	return list
}

// given is the number of choices for each prompt that the answer has.
func (c *call) given() int {
	if c.give > 0 {
		return c.give
	}
	return c.n
}

// best picks the answers to give, and tells which they were; nil where none is left out. Of each prompt's they are those
// of the highest mean log-probability, the best first; an answer without tokens comes last.
func (c *call) best(answers []*answer) ([]*answer, []int) {
	if c.give == 0 || c.give == c.n {
		return answers, nil
	}
	var order []int
	for first := 0; first < len(answers); first += c.n {
		group := make([]int, c.n)
		for i := range group {
			group[i] = first + i
		}
		slices.SortStableFunc(group, func(i, j int) int { return cmp.Compare(answers[j].score(), answers[i].score()) })
		order = append(order, group[:c.give]...)
	}
	list := make([]*answer, len(order))
	for i, from := range order {
		list[i] = answers[from]
	}
	return list, order
}

// reader reads the text of a choice.
func (c *call) reader() reader {
	if !c.parsed {
		return plain{}
	}
	prefix := cmp.Or(c.callID, "call_")
	return parsing{toolcall.NewParser(c.parser, func() string { return newID(prefix) })}
}

// promptTokens counts each prompt once, however many choices answer it.
func (c *call) promptTokens() (n int) {
	for _, p := range c.prompts {
		n += len(p.tokens)
	}
	return n
}

// sampling reads the sampling parameters.
func (o *object) sampling(m *served) sampler.Params {
	p := sampler.Params{
		Temperature:      o.number(fieldTemperature),
		DynatempRange:    o.number(fieldDynatempRange),
		DynatempExponent: o.number(fieldDynatempExponent),
		TopK:             int(max(o.integer(fieldTopK), 0)),
		TopP:             truncation(o.number(fieldTopP)),
		TypicalP:         truncation(o.number(fieldTypicalP)),
		MinP:             o.number(fieldMinP),
		TopNSigma:        max(o.number(fieldTopNSigma), 0),
		XTCProbability:   o.number(fieldXTCProbability),
		XTCThreshold:     o.number(fieldXTCThreshold),
		FrequencyPenalty: o.number(fieldFrequencyPenalty),
		PresencePenalty:  o.number(fieldPresencePenalty),
		RepeatPenalty:    o.number(fieldRepeatPenalty),
		RepeatLastN:      int(o.integer(fieldRepeatLastN)),
		Mirostat:         o.mirostat(),
		MirostatTau:      o.number(fieldMirostatTau),
		MirostatEta:      o.number(fieldMirostatEta),
		MinTokens:        int(o.integer(fieldMinTokens)),
		IgnoreEnd:        o.boolean(fieldIgnoreEnd),
	}
	p.DRY = o.dry(m)
	return p
}

// mirostat reads the version of Mirostat, 0 where it is off.
func (o *object) mirostat() int {
	if string(o.take(fieldMirostat)) == "1" {
		o.failValue(fieldMirostat, "is 1, must be %v: version 1 is not supported", fieldMirostat.bounds)
	}
	return int(o.integer(fieldMirostat))
}

// truncation is a probability up to which tokens are kept, where 0 means only the best; to the sampler 0 is off.
func truncation(p float64) float64 {
	if p == 0 {
		return math.SmallestNonzeroFloat64
	}
	return p
}

// stop reads a string or a list of strings.
func (o *object) stop(f *field) []string {
	stops := o.strings(f)
	for i, s := range stops {
		if s == "" {
			o.failAt(o.item(f, i), "is empty, which would stop every answer at once")
		}
	}
	return stops
}

// seed reads the caller's seed. As in other servers -1 asks for another one each time.
func (o *object) seed() seed {
	n := o.integer(fieldSeed)
	if n == -1 {
		return newSeed()
	}
	return seed{uint64(n), true}
}

// includeUsage reads stream_options, which mean something only in a stream.
func (o *object) includeUsage(stream bool) bool {
	options := o.object(fieldStreamOptions)
	if options == nil {
		return false
	}
	if !stream {
		o.failValue(fieldStreamOptions, "is only allowed when stream is true")
	}
	return options.boolean(fieldIncludeUsage)
}

// maxTokens reads a bound on the answer's tokens; 0 means up to the end of the context.
func (o *object) maxTokens(f *field) int { return o.mostTokens(f, int(max(o.integer(f), 0))) }

// unsupported fails where a field asks for something that Aim does not do and whose absence would make the answer wrong.
func (o *object) unsupported(f *field, asks func(raw json.RawMessage) bool) {
	if raw := o.take(f); raw != nil && asks(raw) {
		param := o.param(f)
		o.fail(&apiError{
			status: http.StatusBadRequest, message: param + " is not supported by this server",
			kind: typeInvalid, param: param, code: codeUnsupported,
		})
	}
}

// filled is false for values that ask for nothing: [], {}, "", false and 0.
func filled(raw json.RawMessage) bool {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return true // of such depth that no further look is worth it
	}
	switch v := v.(type) {
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return v != "" && v != false && v != 0.0
}

// logUnread tells at debug level which fields were ignored.
func (s *Server) logUnread(o *object, id string) {
	if names := o.unread(); len(names) > 0 {
		for i := range names {
			names[i] = clip(names[i])
		}
		s.log.Debug("fields ignored", slog.String("request", id), slog.Any("fields", names))
	}
}
