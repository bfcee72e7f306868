// Package eval measures what modulation does to a model: a task's score over a sweep of the dial, beside what temperature
// alone would do; what focus does to answers; and what it costs a caller to see through the noise.
//
// A [Task] is read from JSON lines. A [Scorer] gives the values of one item under the conditions of a sweep, its [Arm]s:
// [Forced] takes them all from one pass of the model over the right answer, [Generated] lets the model answer under each,
// [Remote] asks a server. [Run] scores what a [Store] does not have yet, so that a run that was stopped goes on, and
// [Summarize] turns the records into means with bootstrap bands.
package eval
