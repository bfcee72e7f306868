package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"aim/internal/optimize"
	"aim/models"
)

// optimizeFlags defines whether a model's optimized file is loaded in its place.
func (o *engineOptions) optimizeFlags(f *pflag.FlagSet, usage string) {
	choiceVar(f, &o.optimize, "optimize", usage, "off", "auto")
}

// probeTime is how long serve looks for a format before it serves, probeSize in files up to which size: larger ones would take longer.
var probeTime = 45 * time.Second

const probeSize = 400 << 20

// useWeights finds the file to load in place of the model's own, where --optimize asks for one. With probe it looks for the best format
// if nobody did before. Whatever fails leaves the original, and the log says why; the error is that of ctx or of the model's name.
func (o *engineOptions) useWeights(ctx context.Context, probe bool, log *slog.Logger, stderr io.Writer) error {
	if o.optimize != "auto" {
		return nil
	}
	original, err := o.find()
	if err != nil {
		return err
	}
	key, err := optimizeKey(original)
	if err != nil {
		log.Warn("the original is loaded, because its file cannot be identified", "error", err)
		return nil
	}
	path, record, err := optimize.Use(original, key)
	if err != nil {
		if path, record, err = o.probeOnce(ctx, original, err, probe, log, stderr); err != nil || record == nil {
			return err
		}
	}
	o.weights = path
	logWeights(log, path, record)
	return nil
}

// probeOnce looks for the best format, in bounded time; why says what is wrong with an earlier record. A nil record means that the
// original is to be loaded.
func (o *engineOptions) probeOnce(ctx context.Context, original string, why error, probe bool, log *slog.Logger, stderr io.Writer) (string, *optimize.Record, error) {
	name := models.Name(original)
	facts, err := models.Read(original)
	switch {
	case !probe:
		log.Warn("the original is loaded; aim optimize would look for a faster format", "model", name, "reason", why)
		return "", nil, nil
	case err != nil:
		return "", nil, nil // loading says what is wrong
	case facts.Size > probeSize:
		log.Info("the original is loaded: looking for a faster format of so large a model takes minutes, which aim optimize does",
			"model", name, "size", scaled(float64(facts.Size), "B"), "reason", why)
		return "", nil, nil
	}
	log.Info("looking for the fastest format of the model, once", "model", name, "at_most", probeTime, "reason", why)
	p, err := newProbe(original, optimizeOptions{maxLoss: defaultMaxLoss, rounds: 2, threads: o.threads})
	if err != nil {
		return "", nil, err
	}
	p.Contenders = true
	say := statusLine(stderr)
	p.Report = func(doing string, _ *optimize.Result) { say(doing) }
	limited, cancel := context.WithTimeoutCause(ctx, probeTime, errors.New("it took longer than "+probeTime.String()))
	defer cancel()
	_, err = p.Run(limited)
	say("")
	if ctx.Err() != nil {
		return "", nil, ctx.Err()
	}
	if err != nil && limited.Err() == nil {
		log.Warn("the original is loaded, because no faster format could be made", "model", name, "error", err)
		return "", nil, nil
	}
	path, record, err := optimize.Use(original, p.Key)
	if err != nil {
		log.Warn("the original is loaded, because no faster format could be made", "model", name, "error", err)
		return "", nil, nil
	}
	return path, record, nil
}

// logWeights says what is loaded and what it costs.
func logWeights(log *slog.Logger, path string, r *optimize.Record) {
	for i := range r.Results {
		if x := &r.Results[i]; x.Failed != "" {
			log.Warn("a format could not be tried", "model", r.Name, "format", x.Format, "error", x.Failed)
		}
	}
	if r.Kept == nil {
		log.Info("the original is loaded: no format is faster within the allowed loss", "model", r.Name, "max_loss", share(r.MaxLoss), "stopped", r.Stopped)
		return
	}
	x := r.Result(r.Kept.Format)
	log.Info("an optimized file is loaded in place of the original", "model", r.Name, "format", x.Format, "file", filepath.Base(path),
		"times_as_fast", fmt.Sprintf("%.2f", x.Speedup), "perplexity", share(x.Quality.Loss()), "std_err", share(x.Quality.StdErr),
		"kl_nats", fmt.Sprintf("%.5f", x.Quality.KL), "same_top", share(x.Quality.SameTop), "size", scaled(float64(x.Bytes), "B"))
}

// share writes a share in percent.
func share(v float64) string { return fmt.Sprintf("%.3g%%", 100*v) }
