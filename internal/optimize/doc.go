// Package optimize finds the format of a model's weights that is fastest on the processor at hand, and says what it costs.
//
// A candidate [Format] is written from the original, raced against it in turns ([Race]), and compared with it row by row on a text
// ([Compare]): perplexity, and Kullback-Leibler divergence of its next-token distributions from the original's. [Record.Choose] is the
// choice, a function of these figures alone; the [Record] of them is kept beside the model, so that nothing is measured twice.
//
// The package knows no C: a [Lab] writes and opens the files.
package optimize
