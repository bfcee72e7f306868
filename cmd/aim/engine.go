package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aim/internal/chat"
	"aim/internal/cores"
	"aim/internal/state"
	"aim/llama"
	"aim/llama/cpp"
	"aim/models"
)

// defaultContext is the context of a sequence where neither --ctx nor the model says less.
const defaultContext = 4096

// engineOptions say which model to load and how to run it.
type engineOptions struct {
	// name is what the model is called, "" for its file's name.
	name, model, template, stateDir, secretFile      string
	slots, context, batch, threads, queue, gpuLayers int
	unified                                          bool
	prefixes                                         prefixOptions
	gpu                                              gpuOptions
	adapters                                         adapterOptions
	// optimize says whether an optimized file is loaded in the model's place; weights is its path, "" for the model's own.
	optimize, weights string
	speculation       speculation
	tuning
	shifting
}

// flags defines those that serve and run have in common.
func (o *engineOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.model, "model", "", "path of a GGUF file, or name of a model in the models folder (default: the only one there)")
	f.StringVar(&o.template, "chat-template", "", "file with a Jinja chat template, instead of the model's own")
	f.StringVar(&o.stateDir, "state-dir", "", "folder of the owner's secret and of calibrations (default: $XDG_STATE_HOME/aim, ~/.local/state/aim)")
	intVar(f, &o.context, "ctx", 0, 0, math.MaxInt32, fmt.Sprintf("tokens of one conversation, prompt and answer; 0 is %d, or what the model was trained on if that is less", defaultContext))
	intVar(f, &o.batch, "batch", 512, 1, 1<<16, "most tokens of one decode")
	intVar(f, &o.threads, "threads", cores.Count(), 1, 512, "threads that compute; fewer do while other processes need the cores")
	o.gpuFlags(f)
	o.tuning.flags(f)
	o.shifting.flags(cmd)
	o.adapters.flags(cmd)
	complete(cmd, "model", completeModels)
}

// sequenceFlags defines those that only matter for several conversations at once.
func (o *engineOptions) sequenceFlags(f *pflag.FlagSet) {
	intVar(f, &o.slots, "slots", 4, 1, 256, "conversations to answer at once")
	intVar(f, &o.queue, "queue", 64, 0, 1<<16, "requests that may wait for a slot; beyond it they are refused with status 429")
	f.BoolVar(&o.unified, "unified-kv", false, "keep all conversations in one KV cache, to share prefixes without a copy")
	o.prefixes.flags(f)
}

// engine is a loaded model, ready to answer.
type engine struct {
	*llama.Engine
	// name is the model's name, which the wire calls id, and path the file that is loaded: its own, or one optimized from it.
	name, path string
	// template is nil where neither the model nor the user has one.
	template *chat.Template
	// templateSource is its text, "" without one.
	templateSource string
	secret         []byte

	model   *cpp.Model
	decoder *cpp.Decoder
	// draft is nil without a draft model.
	draft *draft
	// variants are the model itself, and the model under each set of adapters that has a name.
	variants []variant
	// vectors are those of the variants, none where nobody may ask for any.
	vectors []*embedder
}

// openEngine loads the model and makes room for its sequences. progress, when set, hears how much is loaded.
func openEngine(o engineOptions, progress func(fraction float64)) (e *engine, err error) {
	path, err := o.find()
	if err != nil {
		return nil, err
	}
	e = &engine{name: cmp.Or(o.name, models.Name(path)), path: cmp.Or(o.weights, path)}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if e.secret, err = o.secret(); err != nil {
		return e, err
	}
	layers, split, err := o.placement(e.path)
	if err != nil {
		return e, err
	}
	load := o.modelOptions(progress)
	load.GPULayers, load.Split = driverLayers(layers), split
	if e.model, err = cpp.Load(e.path, load); err != nil {
		return e, err
	}
	if o.context, err = o.boundedContext(e); err != nil {
		return e, err
	}
	if e.template, e.templateSource, err = o.compile(e.model); err != nil {
		return e, err
	}
	if err := e.loadAdapters(&o.adapters); err != nil {
		return e, err
	}
	if o.unified && !o.prefixes.off {
		o.prefixes.parked = min(maxParked, 256-o.slots)
	}
	if err := o.shifting.check(o.context); err != nil {
		return e, err
	}
	if e.decoder, err = e.model.NewDecoder(o.decoderOptions()); err != nil {
		return e, err
	}
	cfg := o.config(e)
	if warning := o.apply(&cfg, e.decoder); warning != "" {
		slog.Warn(warning)
	}
	if err := o.speculate(e, &cfg); err != nil {
		return e, err
	}
	e.Engine = llama.New(e.model, e.decoder, cfg)
	o.importPrefixes(e)
	return e, nil
}

// close frees everything. The engine must not be running.
func (e *engine) close() {
	for _, v := range e.vectors {
		v.close()
	}
	if e.draft != nil {
		e.draft.close()
	}
	if e.decoder != nil {
		e.decoder.Close()
	}
	if e.model != nil {
		e.model.Close()
	}
}

// idle says that the engine has nothing to do.
func (e *engine) idle() bool {
	stats := e.Stats()
	computing := func(v *embedder) bool { return v.running.Load() > 0 }
	return stats.Busy+stats.Queued == 0 && !slices.ContainsFunc(e.vectors, computing)
}

// start runs the engine until the function that it returns is called, which waits for its end.
func (e *engine) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.Run(ctx) // always nil
	}()
	return func() {
		cancel()
		<-ended
	}
}

// check tells what cannot be right whatever the model.
func (o *engineOptions) check() error {
	if _, err := o.adapters.parse(); err != nil {
		return err
	}
	if o.batch < o.slots {
		return usageError{fmt.Errorf("--batch %d is less than --slots %d: every conversation needs a place in a decode", o.batch, o.slots)}
	}
	if err := o.tuning.check(o.batch); err != nil {
		return err
	}
	return o.gpu.check()
}

func (o *engineOptions) find() (string, error) {
	path, err := modelPath(o.model)
	var missing *models.NotFoundError
	if errors.As(err, &missing) && len(missing.Have) == 0 {
		return "", fmt.Errorf("%w; `make model` fetches a small one", err)
	}
	return path, err
}

func (o *engineOptions) secret() ([]byte, error) {
	if o.secretFile != "" {
		return state.SecretFile(o.secretFile)
	}
	dir, err := stateFolder(o.stateDir)
	if err != nil {
		return nil, err
	}
	return state.Secret(dir)
}

// boundedContext is the context in force. More than the model was trained on would only give nonsense.
func (o *engineOptions) boundedContext(e *engine) (int, error) {
	trained := e.model.TrainContext()
	switch {
	case o.context == 0:
		return min(defaultContext, trained), nil
	case o.context > trained:
		return 0, usageError{fmt.Errorf("--ctx %d is more than the %d tokens that %s was trained on", o.context, trained, e.name)}
	}
	return o.context, nil
}

// compile returns the chat template and its source, nil and "" where there is none.
func (o *engineOptions) compile(m *cpp.Model) (template *chat.Template, source string, err error) {
	source = m.ChatTemplate()
	if o.template != "" {
		text, err := os.ReadFile(o.template)
		if err != nil {
			return nil, "", fmt.Errorf("--chat-template: %w", err)
		}
		source = string(text)
	}
	if source == "" {
		return nil, "", nil
	}
	template, err = chat.Compile(source, chat.Options{BOS: m.BOS(), EOS: m.EOS(), Specials: m.Specials()})
	return template, source, err
}

// driverLayers translates the number of layers to offload: the driver's zero value is all of them.
func driverLayers(flag int) int {
	switch flag {
	case autoLayers, allLayers:
		return 0
	case 0:
		return -1
	}
	return flag
}

// progressLine shows on a terminal how much of some work is done, and nothing elsewhere.
func progressLine(w io.Writer, doing string) (show func(fraction float64)) {
	if !isTerminal(w) {
		return nil
	}
	last := -1
	return func(fraction float64) {
		percent := int(100 * fraction)
		if percent == last {
			return
		}
		last = percent
		if percent < 100 {
			fmt.Fprintf(w, "\r%s %3d %%", doing, percent)
		} else {
			fmt.Fprintf(w, "\r\x1b[K") // the line has done its duty
		}
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
