package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"aim/llama"
	"aim/llama/cpp"
)

// speculation says how answers are guessed ahead; the zero value guesses nothing.
type speculation struct {
	// mode is auto or off.
	mode string
	// model is the path or name of a draft model, "" for none.
	model string
	// most is the most tokens to guess at a time.
	most int
}

// defaultDraft is the most tokens to guess ahead. A draft as long as it pays is chosen by measurement; more would come in lumps.
const defaultDraft = 32

// flags defines the one that serve and run have in common.
func (s *speculation) flags(cmd *cobra.Command) {
	choiceVar(cmd.Flags(), &s.mode, "speculate",
		"whether to guess ahead what an answer repeats of its prompt or of itself, where that makes it faster; answers stay the same", "auto", "off")
	s.most = defaultDraft
}

// modelFlags defines those that only serve has.
func (s *speculation) modelFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.model, "draft-model", "", "path or name of a smaller model of the same vocabulary that guesses ahead where nothing is repeated")
	intVar(f, &s.most, "draft-max", defaultDraft, 1, 64, "most tokens to guess ahead")
	complete(cmd, "draft-model", completeModels)
}

// draft is a loaded draft model.
type draft struct {
	model   *cpp.Model
	decoder *cpp.Decoder
}

func (d *draft) close() {
	if d.decoder != nil {
		d.decoder.Close()
	}
	if d.model != nil {
		d.model.Close()
	}
}

// speculate adds to an engine's configuration what it guesses with.
func (o *engineOptions) speculate(e *engine, cfg *llama.Config) error {
	s := o.speculation
	if s.mode == "auto" || s.model != "" {
		cfg.Draft = s.most
	}
	cfg.NoLookup = s.mode != "auto"
	if s.model == "" {
		return nil
	}
	drafter, err := o.openDraft(e, s.model)
	if err != nil {
		return fmt.Errorf("--draft-model: %w", err)
	}
	cfg.Drafter = drafter
	return nil
}

// openDraft loads a draft model beside an engine's model.
func (o *engineOptions) openDraft(e *engine, name string) (llama.Drafter, error) {
	path, err := modelPath(name)
	if err != nil {
		return nil, err
	}
	layers, split, err := o.placement(path)
	if err != nil {
		return nil, err
	}
	e.draft = &draft{}
	if e.draft.model, err = cpp.Load(path, cpp.ModelOptions{GPULayers: driverLayers(layers), Split: split}); err != nil {
		return nil, err
	}
	// What is longer than it was trained on gets no guesses.
	context := min(o.context, e.draft.model.TrainContext())
	e.draft.decoder, err = e.draft.model.NewDecoder(cpp.DecoderOptions{Slots: o.slots, Context: context, Batch: o.batch, Threads: o.threads})
	if err != nil {
		return nil, err
	}
	return llama.NewModelDrafter(e.model, e.draft.model, e.draft.decoder, o.slots, context, o.batch)
}
