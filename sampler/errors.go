package sampler

import "errors"

var (
	// ErrNotFinite says that a logit is NaN or +Inf: the model, or the driver under it, is broken.
	ErrNotFinite = errors.New("sampler: a logit is NaN or +Inf")
	// ErrNoCandidate says that every token is forbidden (-Inf).
	ErrNoCandidate = errors.New("sampler: no token has a finite logit")
	// ErrRowLength says that a row does not have one logit per token of the vocabulary.
	ErrRowLength = errors.New("sampler: the row's length differs from the vocabulary's")
	// ErrTwins says that a call of Sample has not one more row for each of Params.Spans.
	ErrTwins = errors.New("sampler: the rows of the spans' twins are missing")
)
