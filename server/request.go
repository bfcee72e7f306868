package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"

	"aim/llama"
	"aim/sampler"
)

// Bounds of a request that are the API's own. Those of the sampling parameters are in sampler.
const (
	maxChoices  = 128
	maxMessages = 4096
	// maxStops bounds the stop strings, maxStop the bytes of one.
	maxStops = 16
	maxStop  = 1024
	// maxFocus bounds the entries of a request's focus, maxWords the words of an entry, maxWord the bytes of a word, and
	// maxTargets the tokens that all entries name: each costs every choice some memory.
	maxFocus   = 64
	maxWords   = 64
	maxWord    = 256
	maxTargets = 4096
)

// call is a request that can be generated: parsed, bounded and tokenized.
type call struct {
	model   *served
	prompts []prompt
	// n is the number of choices for each prompt.
	n int
	// request is what all choices share; the fields that differ are set in requests.
	request llama.Request
	// utility is what was asked for.
	utility asked
	// points are those of a sweep, one for each choice; otherwise nil.
	points []point
	report reportAsked
	seed   seed
	// spans are the entries of focus on parts of the prompts.
	spans []span
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
	// echo is text that the answer begins with.
	echo string
}

// seed starts a request's draws and its focus.
type seed struct {
	value uint64
	// given is false where the caller left it to us.
	given bool
}

// common reads the fields that both endpoints have, except how many tokens and which log-probabilities to give.
func (s *Server) common(o *object) (*call, error) {
	m, err := s.model(o)
	if err != nil {
		return nil, err
	}
	c := &call{model: m, n: o.choices(), stream: o.boolean("stream"), seed: o.seed()}
	c.usage = o.includeUsage(c.stream)
	c.request.Stop = o.stop()
	c.request.Params = o.sampling()
	x := o.extension(m.Engine.Model(), m.Engine.Lexicon())
	c.request.Params.Focus, c.utility, c.spans, c.report = x.focus, x.utility, x.spans, x.report
	c.request.Params.Report = x.report.on
	c.request.Name = m.ID
	o.text("user")
	return c, *o.err
}

// model finds the model a request names; without a name it is the first one.
func (s *Server) model(o *object) (*served, error) {
	id := o.text("model")
	if *o.err != nil {
		return nil, *o.err
	}
	if id == "" && len(s.models) > 0 {
		return s.models[0], nil
	}
	return s.find(id)
}

func (s *Server) find(id string) (*served, error) {
	for _, m := range s.models {
		if m.ID == id {
			return m, nil
		}
	}
	return nil, notFound("model", "model_not_found", "the model %q does not exist", clip(id))
}

// bound makes sure that the parsed request as a whole can be generated. Whether it may is decided by impose.
func (s *Server) bound(c *call) error {
	model, cfg := c.model.Engine.Model(), c.model.Engine.Config()
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
		if len(p.tokens) >= cfg.Context {
			return &llama.TooLongError{Prompt: len(p.tokens), Context: cfg.Context}
		}
	}
	if err := c.fits(cfg); err != nil {
		return err
	}
	if most := (cfg.Slots + cfg.Queue) / c.width(); c.choices() > most {
		param := "n"
		if c.n == 1 {
			param = "prompt"
		}
		return invalid(param, codeValue, "the request asks for %d answers, the server can hold %d at once", c.choices(), most)
	}
	return nil
}

// impose sets the utility in force for a call, for which it may wait where a level is asked for.
func (s *Server) impose(ctx context.Context, c *call) (err error) {
	if c.points != nil {
		return s.imposePoints(ctx, c)
	}
	if c.request.Params.Utility, err = c.model.utility(ctx, c.utility, s.secret); err != nil {
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
			if c.points != nil {
				c.points[i].apply(&one, c.seed)
			}
			list = append(list, one)
		}
	}
	return list
}

// promptTokens counts each prompt once, however many choices answer it.
func (c *call) promptTokens() (n int) {
	for _, p := range c.prompts {
		n += len(p.tokens)
	}
	return n
}

// sampling reads the sampling parameters. Their domains are checked later, by the sampler.
func (o *object) sampling() sampler.Params {
	p := sampler.Params{
		Temperature:      o.number("temperature", 1),
		TopP:             o.number("top_p", 1),
		MinP:             o.number("min_p", 0),
		FrequencyPenalty: o.number("frequency_penalty", 0),
		PresencePenalty:  o.number("presence_penalty", 0),
		RepeatPenalty:    o.number("repeat_penalty", 1),
		RepeatLastN:      int(o.integer("repeat_last_n", 64)),
		TopK:             int(o.integer("top_k", 0)),
		Bias:             o.bias(),
	}
	if p.TopP == 0 { // only the best; to the sampler 0 is off
		p.TopP = math.SmallestNonzeroFloat64
	}
	if p.TopK == -1 { // off, as in other servers
		p.TopK = 0
	}
	return p
}

// bias reads logit_bias: an object from token ids, which JSON makes strings, to what is added to their logits.
func (o *object) bias() map[sampler.Token]float64 {
	fields := o.object("logit_bias")
	if fields == nil {
		return nil
	}
	bias := make(map[sampler.Token]float64, len(fields.fields))
	for name := range fields.fields {
		id, ok := wholeNumber(json.RawMessage(name))
		if !ok || id < 0 || id > math.MaxInt32 {
			fields.failValue(clip(name), "is not the id of a token")
			continue
		}
		if fields.has(name) {
			bias[sampler.Token(id)] = fields.number(name, 0)
		}
	}
	return bias
}

func (o *object) choices() int {
	n := o.integer("n", 1)
	if n < 1 || n > maxChoices {
		o.failValue("n", "is %d, must be in [1, %d]", n, maxChoices)
		return 1
	}
	return int(n)
}

// stop reads a string or a list of strings.
func (o *object) stop() []string {
	raw := o.take("stop")
	if raw == nil {
		return nil
	}
	stops := []string{""}
	if json.Unmarshal(raw, &stops[0]) != nil {
		stops = o.strings("stop", raw, "a string or an array of strings")
	}
	if len(stops) > maxStops {
		o.failValue("stop", "has %d entries, the most is %d", len(stops), maxStops)
	}
	for i, s := range stops {
		switch name := fmt.Sprintf("stop[%d]", i); {
		case s == "":
			o.failValue(name, "is empty, which would stop every answer at once")
		case len(s) > maxStop:
			o.failValue(name, "has %d bytes, the most is %d", len(s), maxStop)
		}
	}
	return stops
}

// strings reads an array of strings, nil where it is none.
func (o *object) strings(name string, raw json.RawMessage, want string) []string {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		o.failType(name, want, raw)
		return nil
	}
	list := make([]string, len(items))
	for i, item := range items {
		if kindOf(item) != "a string" || json.Unmarshal(item, &list[i]) != nil {
			o.failType(fmt.Sprintf("%s[%d]", name, i), "a string", item)
			return nil
		}
	}
	return list
}

// seed reads the caller's seed. As in other servers -1 asks for another one each time.
func (o *object) seed() seed {
	n := o.integer("seed", -1)
	if n == -1 {
		return newSeed()
	}
	return seed{uint64(n), true}
}

// includeUsage reads stream_options, which mean something only in a stream.
func (o *object) includeUsage(stream bool) bool {
	options := o.object("stream_options")
	if options == nil {
		return false
	}
	if !stream {
		o.failValue("stream_options", "is only allowed when stream is true")
	}
	return options.boolean("include_usage")
}

// maxTokens reads a bound on the answer's tokens; -1 and def 0 mean up to the end of the context.
func (o *object) maxTokens(name string, def int64) int {
	n := o.integer(name, def)
	if o.has(name) && n < 1 && n != -1 {
		o.failValue(name, "is %d, must be at least 1", n)
	}
	return int(max(n, 0))
}

// unsupported fails where a field asks for something that Aim does not do and whose absence would make the answer wrong.
func (o *object) unsupported(name string, asks func(raw json.RawMessage) bool) {
	if raw := o.take(name); raw != nil && asks(raw) {
		param := o.param(name)
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
