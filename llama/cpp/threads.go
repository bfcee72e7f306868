package cpp

// #include <time.h>
// #include "shim.h"
import "C"

import "time"

// Threads is how many threads compute the next decode of answers alone: those of the options, or fewer while other processes
// need the processors.
func (d *Decoder) Threads() int { return d.answers.threads() }

// manyRows is beyond how many rows a decode is no matter of trial: with half of the threads it would take seconds more.
const manyRows = 128

// timed calls compute with as many threads as shall compute n rows, and lets their governor see how it went.
func (d *Decoder) timed(n int, compute func() int) int {
	g := d.answers
	if n > fewRows {
		g = d.batches
	}
	threads, watched := g.threads(), !d.opt.KeepThreads && d.pool != nil && n <= manyRows
	if n > manyRows {
		threads = g.most
	}
	C.llama_set_n_threads(d.ctx, C.int32_t(threads), C.int32_t(threads))
	if !watched {
		return compute()
	}
	cpu, start := processTime(), time.Now()
	code := compute()
	g.observe(n, time.Since(start), processTime()-cpu)
	return code
}

// processTime is the processor time that this process has used, in all its threads.
func processTime() time.Duration {
	var t C.struct_timespec
	C.clock_gettime(C.CLOCK_PROCESS_CPUTIME_ID, &t)
	return time.Duration(t.tv_sec)*time.Second + time.Duration(t.tv_nsec)
}
