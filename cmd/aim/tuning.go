package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aim/llama"
	"aim/llama/cpp"
)

// tuning says how a model is computed. The zero value is what suits most machines; see docs/tuning.md.
type tuning struct {
	flash                cpp.FlashAttention
	cacheK, cacheV       cpp.CacheType
	ubatch, threadsBatch int
	keepThreads          bool
	noMmap, mlock        bool
	numa                 cpp.NUMA
}

// flags defines those of serve and run.
func (o *tuning) flags(f *pflag.FlagSet) {
	enumVar(f, &o.flash, "flash-attn", "attention in one pass over the cache; auto is on where the model and the back end have it", cpp.FlashAttentions())
	enumVar(f, &o.cacheK, "cache-type-k", "format of the keys in the KV cache", cpp.CacheTypes())
	enumVar(f, &o.cacheV, "cache-type-v", "format of the values in the KV cache; a quantized one needs flash attention", cpp.CacheTypes())
	intVar(f, &o.ubatch, "ubatch", 0, 0, 1<<16, "tokens of a decode that are computed at once; 0 is 512, or --batch if that is less")
	intVar(f, &o.threadsBatch, "threads-batch", 0, 0, 512, "threads for decodes of more than 32 tokens, as prompts are; 0 is as --threads")
	f.BoolVar(&o.keepThreads, "keep-threads", false, "use all threads even while other processes need the processors")
	f.BoolVar(&o.noMmap, "no-mmap", false, "read the model file instead of mapping it into memory")
	f.BoolVar(&o.mlock, "mlock", false, "keep the model in memory; fails where the limit of locked memory is too low")
	enumVar(f, &o.numa, "numa", "how threads are spread over the nodes of a NUMA machine", cpp.NUMAs())
}

// check tells what cannot be right whatever the model.
func (o *tuning) check(batch int) error {
	switch {
	case o.ubatch > batch:
		return usageError{fmt.Errorf("--ubatch %d is more than --batch %d", o.ubatch, batch)}
	case o.flash == cpp.FlashOff && o.cacheV > cpp.CacheBF16:
		return usageError{fmt.Errorf("--cache-type-v %v needs --flash-attn on or auto", o.cacheV)}
	}
	return nil
}

// modelOptions are those of the load, but for GPUs.
func (o *engineOptions) modelOptions(progress func(fraction float64)) cpp.ModelOptions {
	return cpp.ModelOptions{NoMmap: o.noMmap, Mlock: o.mlock, NUMA: o.numa, Progress: progress}
}

// decoderOptions are those of the KV cache.
func (o *engineOptions) decoderOptions() cpp.DecoderOptions {
	return cpp.DecoderOptions{
		Slots: o.slots, Context: o.context, Batch: o.batch, Ubatch: o.ubatch,
		Threads: o.threads, ThreadsBatch: o.threadsBatch, KeepThreads: o.keepThreads,
		Unified: o.unified, Parked: o.prefixes.parked, FlashAttention: o.flash, CacheK: o.cacheK, CacheV: o.cacheV,
	}
}

// shifting says whether answers go on when their context is full.
type shifting struct {
	shift bool
	keep  int
}

func (o *shifting) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.shift, "context-shift", false, "let answers go on when the context is full, by forgetting half of what follows the kept beginning")
	intVar(f, &o.keep, "keep", 0, 0, math.MaxInt32, "tokens of a prompt's beginning that --context-shift keeps, up to half of the context; 0 is the whole prompt")
}

// check tells what cannot be right in a context of so many tokens.
func (o *shifting) check(context int) error {
	if o.keep > context/2 {
		return usageError{fmt.Errorf("--keep %d is more than %d, half of the context", o.keep, context/2)}
	}
	return nil
}

// apply puts the choice into an engine's sizes, and says what is in the way of it, "" for nothing.
func (o *shifting) apply(cfg *llama.Config, d llama.Shifter) (warning string) {
	cfg.Shift, cfg.Keep = o.shift, o.keep
	if o.shift && !d.CanShift() {
		return "--context-shift: the cache of this model cannot be shifted (a sliding window, a recurrent state, or --cache-type-k bf16); " +
			"answers end when the context is full"
	}
	return ""
}

// enumValue is a flag whose value is one of the words of an enumeration.
type enumValue[T ~int] struct {
	p     *T
	words []string
}

// enumVar defines a flag for one of the words, of which the first stands for 0, the default.
func enumVar[T ~int](f *pflag.FlagSet, p *T, name, usage string, words []string) {
	*p = 0
	f.Var(&enumValue[T]{p, words}, name, usage+": "+strings.Join(words, ", "))
}

func (v *enumValue[T]) String() string {
	if v.p == nil || int(*v.p) >= len(v.words) {
		return ""
	}
	return v.words[*v.p]
}
func (v *enumValue[T]) Type() string { return "word" }

// Set parses a value from the command line.
func (v *enumValue[T]) Set(text string) error {
	i := slices.Index(v.words, text)
	if i < 0 {
		return fmt.Errorf("want one of %s", strings.Join(v.words, ", "))
	}
	*v.p = T(i)
	return nil
}
