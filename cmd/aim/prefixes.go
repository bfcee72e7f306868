package main

import (
	"fmt"
	"iter"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/spf13/pflag"

	"aim/internal/snapshot"
	"aim/llama"
)

// maxParked is how many prefixes of former prompts stay in a unified KV cache. Each is a sequence, and llama.cpp makes room for a row of
// logits for each.
const maxParked = 32

// prefixOptions say how prompts share what is computed.
type prefixOptions struct {
	off    bool
	ram    int
	file   string
	pause  time.Duration
	parked int
}

func (o *prefixOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.off, "no-prefix-cache", false, "compute every prompt anew, instead of taking over what was computed for others that begin alike")
	intVar(f, &o.ram, "cache-ram", -1, -1, math.MaxInt32, "MiB of memory for prefixes that had to leave the KV cache; -1 is half of what that cache takes")
	f.StringVar(&o.file, "cache-file", "", "file that keeps the prefixes over a restart (default: none)")
	f.DurationVar(&o.pause, "prompt-pause", 200*time.Millisecond, "how long a decode with a part of a prompt may hold up running answers")
}

// check tells what cannot be right whatever the model.
func (o *prefixOptions) check() error {
	if o.pause <= 0 {
		return usageError{fmt.Errorf("--prompt-pause %v: want more than 0", o.pause)}
	}
	if o.file != "" && (o.off || o.ram == 0) {
		return usageError{fmt.Errorf("--cache-file %s: there are no prefixes to keep with --no-prefix-cache or --cache-ram 0", o.file)}
	}
	return nil
}

// config sizes the engine.
func (o *engineOptions) config(e *engine) llama.Config {
	cfg := llama.Config{
		Slots: o.slots, Context: o.context, Batch: o.batch, Queue: o.queue, Parked: o.prefixes.parked, NoCache: o.prefixes.off,
		Pause: o.prefixes.pause,
	}
	switch {
	case o.prefixes.ram == 0:
		cfg.CacheBytes = -1
	case o.prefixes.ram > 0:
		cfg.CacheBytes = int64(o.prefixes.ram) << 20
	}
	if o.prefixes.file != "" {
		cfg.Export = func(prefixes iter.Seq[llama.Cached]) { o.exportPrefixes(e, prefixes) }
	}
	return cfg
}

// fingerprint tells what prefixes are bound to: the weights, the adapters in the order of their sets, the shape of the KV cache, and the
// program.
func (o *engineOptions) fingerprint(e *engine) (string, error) {
	info, err := os.Stat(e.path)
	if err != nil {
		return "", err
	}
	var adapters []string
	for _, v := range e.variants {
		adapters = append(adapters, fmt.Sprintf("%q", v.identity))
	}
	return fmt.Sprintf("%s %d %s %v %d×%d %v %d %+v %s", e.name, info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano), adapters, o.slots, o.context,
		o.unified, o.prefixes.parked, o.tuning, version()), nil
}

// importPrefixes takes over what the server before this one kept. What cannot be used is told, and no reason not to serve.
func (o *engineOptions) importPrefixes(e *engine) {
	if o.prefixes.file == "" {
		return
	}
	fingerprint, err := o.fingerprint(e)
	var list []llama.Cached
	if err == nil {
		list, err = snapshot.Read(o.prefixes.file, e.secret, fingerprint)
	}
	switch {
	case err == nil:
		slog.Info("prefixes of former prompts are there again", "prefixes", e.Import(list), "file", o.prefixes.file)
	case snapshot.Missing(err):
		slog.Info("no prefixes of former prompts", "reason", err)
	default:
		slog.Warn("the prefixes of former prompts cannot be used", "error", err)
	}
}

// exportPrefixes keeps what is there for the next server.
func (o *engineOptions) exportPrefixes(e *engine, prefixes iter.Seq[llama.Cached]) {
	fingerprint, err := o.fingerprint(e)
	n := 0
	if err == nil {
		n, err = snapshot.Write(o.prefixes.file, e.secret, fingerprint, prefixes)
	}
	if err != nil {
		slog.Error("the prefixes of prompts could not be kept", "error", err)
		return
	}
	slog.Info("prefixes of prompts are kept", "prefixes", n, "file", o.prefixes.file)
}
