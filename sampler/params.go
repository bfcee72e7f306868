package sampler

import "fmt"

// Token is an index into the model's vocabulary, 0 ≤ Token < vocab.
type Token int32

// Params says how the tokens of one answer are chosen. The zero value is greedy and unmodulated. What lies outside the
// intervals below, NaN included, is a [DomainError]; see [Params.Validate].
type Params struct {
	// Utility is the owner's modulation. It is applied first, on the raw row.
	Utility Utility

	// Bias is added to the logits of the listed tokens; each value in [-100, 100].
	Bias map[Token]float64
	// FrequencyPenalty in [-2, 2] is subtracted once per earlier occurrence of a token in the answer.
	FrequencyPenalty float64
	// PresencePenalty in [-2, 2] is subtracted once from every token that occurs in the answer.
	PresencePenalty float64
	// RepeatPenalty in [0, 10] divides positive and multiplies negative logits of tokens that occur among the last
	// RepeatLastN tokens, prompt included (Keskar et al., CTRL, 2019). 0 and 1 leave them alone.
	RepeatPenalty float64
	// RepeatLastN ≥ -1 is the window of RepeatPenalty in tokens; 0 means 64, -1 everything so far.
	RepeatLastN int

	// Focus is the caller's modulation; its entries are applied in order.
	Focus []Focus
	// Spans shift attention to parts of the prompt; at most [MaxSpans].
	Spans []Span
	// FocusKey is the key of the noise of Focus and Spans, of which each entry gets its own. It must not be derived from the owner's
	// secret; see [FocusKey].
	FocusKey Key

	// Mask forbids tokens, as a grammar does; nil forbids none. It has a state, so each Sampler needs its own.
	Mask Mask

	// Temperature in [0, 2] divides the logits; 0 takes the largest and stops.
	Temperature float64
	// TopK ≥ 0 keeps the k largest logits; 0 keeps all.
	TopK int
	// TopP in [0, 1] keeps the smallest set of the most probable tokens whose probability reaches TopP; 0 and 1 keep all.
	TopP float64
	// MinP in [0, 1] keeps tokens of at least MinP times the probability of the best one.
	MinP float64
	// TopNSigma in [0, 100] keeps logits of at least the largest less TopNSigma standard deviations of all; 0 keeps all.
	TopNSigma float64
	// TypicalP in [0, 1] keeps the tokens whose surprise is closest to the expected one, until their probability exceeds TypicalP;
	// 0 and 1 keep all.
	TypicalP float64
	// XTCProbability in [0, 1] is how often, of the tokens with a probability of at least XTCThreshold, in [0, 1], all but the least
	// probable are removed.
	XTCProbability, XTCThreshold float64
	// DRY is a penalty on repeated sequences.
	DRY DRY
	// DynatempRange in [0, 2] lets a Temperature above 0 vary by that much either way, but not below 0, with the entropy of the row
	// as a share of the largest possible one, to the power of DynatempExponent, in [0, 100].
	DynatempRange, DynatempExponent float64
	// Mirostat is 0 or 2. Mirostat 2 draws from the tokens whose surprise is at most a bound, which moves after each draw at the rate
	// MirostatEta, in [0, 1], such that the mean surprise comes to MirostatTau, in [0, 100] bits. Other truncations are then off.
	Mirostat                 int
	MirostatTau, MirostatEta float64

	// MinTokens ≥ 0 is how many tokens an answer has at least: before, the tokens of Utility.End are forbidden. IgnoreEnd forbids
	// them throughout. Where the mask allows nothing else, they are allowed.
	MinTokens int
	IgnoreEnd bool
	// Seed starts the generator of the draw, and of nothing else.
	Seed uint64

	// Observer, when set, sees every raw row. It is for those to whom the unmodulated model belongs (calibration,
	// evaluation), never for a caller.
	Observer Observer

	// Report asks for an account of each step; see [Sampler.Step]. It tells about raw rows what Observer does, and costs a
	// copy of the row, a few passes of exponentials and, with utility noise, the integral of [Retention].
	Report bool

	// Logprobs asks for the log-probability of the chosen token, and TopLogprobs in [0, 20] for that many of the most
	// probable ones. Without Logprobs it must be 0; a vocabulary smaller than it gives as many as there are.
	Logprobs    bool
	TopLogprobs int
}

// Utility adds Gaussian noise to every logit: zᵢ ← zᵢ + εᵢ, εᵢ ~ N(0, Sigma²) independent over the vocabulary
// (AIM, WWW'25, arXiv 2603.12755).
type Utility struct {
	// Sigma in [0, 100] is the standard deviation, in logits. 0 leaves the row untouched, bit for bit.
	Sigma float64
	// Key selects the noise; see [UtilityKey] and [Scope.Key].
	Key Key
	// Scope is what the noise depends on beside its key. A window refuses Logprobs: with them a caller would read the
	// difference of two rows under one noise.
	Scope Scope

	// Pinned tokens can never be promoted by noise: theirs is half-normal and lowers them, from below the model's best token, so that none of
	// them comes to rank before it. They are the control tokens other than those of End. Like End, the list is read and kept.
	Pinned []Token
	// End is the tokens that end an answer, and EndNoise what noise may do to them.
	End      []Token
	EndNoise EndNoise
}

// EndNoise says what utility noise does to the tokens that end an answer.
type EndNoise int

const (
	// EndModulated treats them like all others.
	EndModulated EndNoise = iota
	// EndExempt leaves their logits alone: their noise is 0.
	EndExempt
	// EndKept ends an answer where the model would: an end that is the model's best token stays the first-ranked one of the
	// noisy row, and one that is not is pinned.
	EndKept
)

func (e EndNoise) String() string {
	switch e {
	case EndModulated:
		return "modulated"
	case EndExempt:
		return "exempt"
	case EndKept:
		return "kept"
	}
	return fmt.Sprintf("EndNoise(%d)", int(e))
}

// Direction is the sign of a [Focus].
type Direction int

const (
	// Raise adds |εᵢ| to the target's logits.
	Raise Direction = iota
	// Lower subtracts |εᵢ| from them.
	Lower
)

func (d Direction) String() string {
	switch d {
	case Raise:
		return "raise"
	case Lower:
		return "lower"
	}
	return fmt.Sprintf("Direction(%d)", int(d))
}

// Focus moves a set of tokens up or down by half-normal noise: zᵢ ← zᵢ ± |εᵢ|, εᵢ ~ N(0, Sigma²)
// (AIM, WWW'25, arXiv 2603.12755).
type Focus struct {
	// All makes every token of the vocabulary a target; Targets is then empty.
	All bool
	// Targets are tokens, or words of several tokens: of each, the first piece that the answer has not just produced is
	// moved. A word whose first k pieces (the most, but not all) end the answer so far has its piece k moved, any other
	// its piece 0. The prompt does not count. A token that several targets ask for is moved once.
	Targets [][]Token
	// Sigma in [0, 100] is the standard deviation of ε, in logits; E|ε| = Sigma·√(2/π).
	Sigma float64
	// Direction is the sign.
	Direction Direction

	// Words are what a Strength applies to, instead of All or Targets, with Sigma 0 and Direction Raise.
	Words Words
	// Strength in [-1, 1] is a dial. Above 0 the noise raises the words' tokens where they are plausible, with a σ found for
	// each step, and the more insistently the longer it is since the last of them; 1 aims at one in some 30 tokens. A word that
	// it began is carried through to its end. Below 0 it takes words from the answer, and -1 keeps them out, however they are
	// cut into tokens. 0 leaves the row untouched. See [Words] and dial.go.
	Strength float64
}

// DRY is a penalty on tokens that would continue a sequence that occurred before (p-e-w, "DRY: A modern repetition penalty",
// 2024): Multiplier·Base^(length - AllowedLength) for one that repeats length ≥ AllowedLength tokens.
type DRY struct {
	// Multiplier in [0, 100]; 0 is off. Base in [1, 100], 0 means 1.75. AllowedLength ≥ 0, 0 means 2.
	Multiplier, Base float64
	AllowedLength    int
	// LastN ≥ -1 is how many tokens are looked at, prompt included; -1 means all, 0 none, and more than 65536 as many.
	LastN int
	// Breakers are sequences of 1 to 64 tokens that no repetition reaches across.
	Breakers [][]Token
}

// Mask forbids tokens at a step. What Apply and Allows say is a matter of the tokens accepted so far alone.
type Mask interface {
	// Apply sets the logits of the forbidden tokens to -Inf, and no other. It must not look at the logits, some of which have
	// no noise yet.
	Apply(logits []float32)
	// Allows reports whether Apply would leave a token alone, without the cost of the whole row.
	Allows(t Token) bool
	// Accept tells which token was chosen.
	Accept(t Token)
}

// Observer looks at the steps of one answer from outside the pipeline. Each Sampler needs its own.
type Observer interface {
	// Observe sees a row as it left the model, before stage 1. It must neither change nor keep it.
	Observe(raw []float32)
	// Accept tells which token was chosen.
	Accept(t Token)
}

// RowObserver is an [Observer] that also sees what the pipeline makes of each row.
type RowObserver interface {
	Observer
	// Modulated sees a row after stage 5, between Observe and Accept. It must neither change nor keep it.
	Modulated(row []float32)
}

// Counts are running totals of one Sampler, for metrics.
type Counts struct {
	// Steps is the number of rows sampled.
	Steps uint64
	// Flips is the number of steps at which utility noise replaced the model's best token.
	Flips uint64
	// Exact is the number of noise values computed to full precision.
	Exact uint64
	// Hits is the number of times the answer completed a target of a focus that raises.
	Hits uint64
	// Forced is the number of steps at which focus changed the best token.
	Forced uint64
}

// Choice is the outcome of one step.
type Choice struct {
	// Token is the chosen one.
	Token Token
	// Logprob is its natural log-probability in the modulated distribution; 0 unless Params.Logprobs.
	Logprob float64
	// Top are the Params.TopLogprobs most probable tokens, most probable first, fewer if the others are forbidden. It is
	// valid until the next call to Sample.
	Top []Candidate
}

// Candidate is a token with its natural log-probability in the modulated distribution.
type Candidate struct {
	Token   Token
	Logprob float64
}

// DomainError says that a parameter lies outside its domain.
type DomainError struct {
	// Param is the name on the wire, e.g. "top_p" or "focus[1].sigma".
	Param string
	// Value is the offending value.
	Value any
	// Want is the domain, e.g. "in [0, 2]".
	Want string
}

func (e *DomainError) Error() string {
	return fmt.Sprintf("%s is %v, must be %s", e.Param, e.Value, e.Want)
}
