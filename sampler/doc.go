// Package sampler turns a row of logits into a token: modulation, penalties, truncation, the draw and log-probabilities.
//
// It implements AIM ("AI Model Modulation with Logits Redistribution", WWW'25, arXiv 2603.12755) together with the
// usual sampling parameters. It knows rows of numbers only: no model, no text, no clock, no transport.
//
// # The pipeline
//
// One call of [Sampler.Sample] runs these stages on one row z, in this order and no other:
//
//  1. utility noise, on the row as it left the model (see [Utility])
//  2. logit bias
//  3. frequency and presence penalties over the answer, the repeat penalty over the last tokens, prompt included, then DRY over those
//     (see [DRY])
//  4. focus: on spans, against the rows of their twins, which passed stages 1 to 3 as well (see [Span]), then entry by entry (see
//     [Focus])
//  5. mask; besides, before MinTokens and under IgnoreEnd, the tokens that end an answer, unless nothing else is left
//  6. temperature 0 takes the largest logit, of equal ones the lowest id, and goes to 16
//  7. temperature, with DynatempRange one that follows the entropy of the row
//  8. top-n-sigma, over all logits
//  9. top-k
//  10. typical
//  11. top-p
//  12. min-p
//  13. XTC
//  14. Mirostat 2, which takes the place of 8 to 13
//  15. one draw
//  16. log-probabilities
//
// Utility comes first so that nothing a caller controls ever sees a raw row: a penalty applied before it could scale
// the signal against the noise and undo it. Stages 7 to 15 read the row and leave it alone; stage 16 therefore describes
// the modulated row as it stands after stage 5, at temperature 1 and before truncation.
//
// Temperature comes before truncation, as at OpenAI, in Hugging Face's transformers and in vLLM; llama.cpp has it last unless told
// otherwise. The truncations follow one another as there. Each of 10 to 13 sees the probabilities among the tokens that the
// one before left.
//
// A row with NaN or +Inf is refused before stage 1, so that no mask can hide it, and what stages 1 to 5 made of it again in
// stage 6: [ErrNotFinite], or [ErrNoCandidate] if no logit is finite.
//
// Wherever tokens are ranked, the larger logit comes first and of equal logits the lower id. A logit of -Inf means
// "forbidden": no stage changes it, and the token is never chosen, counted as a candidate or listed.
//
// # Noise is a function
//
// The noise ε(key, context, token) is a pure function: AES under the key, of a hash of the context and the token's id (see
// noise.go); the context of utility noise is all tokens so far, or what a [Scope] says. It reads nothing else and has no state that
// a draw could advance. Therefore neither the batch in which a row was computed, nor the order of calls, nor a repetition of the request changes it, and the caller's
// seed cannot: it starts the generators of stages 13 and 15, and utility and focus have keys from separate domains, [UtilityKey] and
// [FocusKey].
//
// # Cost
//
// A step makes one pass over the row, which checks it, finds the model's best token and, with utility noise, the first-ranked
// one: where a token cannot win whatever its noise is, none is computed (see view.go and scan.go). On top of that come, where they
// are asked for,
//
//   - bias, penalties, a focus on words: as much as they have distinct tokens, and a second pass where they touch the
//     first-ranked one
//   - a focus by strength: besides, in some steps a few microseconds for σ, and a pass after each raised word
//   - a mask: questions about a few tokens, where those decide: at temperature 0, with top-k, with top-p without typical, with min-p
//     alone and for plain draws. The token is the one that the masked row gives, for plain draws and min-p one of the same
//     distribution (see mask.go). A pass ranks some tokens if the first one is refused. After 64 refusals, and for all else, the
//     mask's whole row and a second pass
//   - DRY: as much as it looks at tokens, and as there are distinct ones that it lowers
//   - a draw from the whole row, and top-p without top-k: a pass that weighs the near tokens exactly and brackets the weight of the
//     others by a table, without their noise (see bracket.go). In some hundredths of the steps that leaves the outcome open, and more where
//     rows are flat or temperatures high; those pay for the whole row as well
//   - the noise of the whole row, about as expensive as a pass of exponentials: for a draw or min-p that keeps many tokens, for
//     typical and XTC without top-k, top-n-sigma, a dynamic temperature, Mirostat, log-probabilities, reports, spans and a focus on all
//   - a dynamic temperature: a pass of exponentials over the whole row; top-n-sigma: two passes without; Mirostat: one of
//     exponentials and one to collect
//   - a span: three passes, and some ten more over both rows at the steps that look at its twin
//   - top-k: its heap, in the first pass where no later stage moves a logit, else in one of its own
//   - top-p over what top-k left, or over the whole row: a pass of exponentials and one to collect; only the bucket of logits in
//     which the nucleus ends is sorted
//   - typical: three passes of exponentials over what top-k left, and two to collect; XTC: two, at the steps where it acts
//   - the draw: a pass of exponentials over what is left
//   - log-probabilities: a pass of exponentials, and one with a heap of the top tokens
//   - a report: a copy of the raw row, three passes of which one has two exponentials per token, all of the noise and, where
//     there is any, the integral of [Retention]
//
// New allocates the scratch that its parameters need, up to about 30 bytes per token, 12 more for a report, and for DRY 8 for each
// token that it looks at; no later call but [Sampler.Candidates] allocates.
package sampler
