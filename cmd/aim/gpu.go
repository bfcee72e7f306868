package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"

	"github.com/spf13/pflag"

	"aim/llama/cpp"
	"aim/models"
)

// gpuOptions say what goes to which GPU, where there is one.
type gpuOptions struct {
	mode   string
	main   int
	shares []float64
}

// Values of engineOptions.gpuLayers that are no numbers.
const (
	autoLayers = -2 // as many as fit the free memory
	allLayers  = -1
)

// gpuFlags defines them.
func (o *engineOptions) gpuFlags(f *pflag.FlagSet) {
	o.gpuLayers = autoLayers
	f.Var((*layersValue)(&o.gpuLayers), "gpu-layers", "layers to compute on GPUs, where there are any: auto for as many as fit their free memory, all, or a number")
	choiceVar(f, &o.gpu.mode, "split-mode", "how several GPUs share a model: whole layers on each, all on the main one, or rows of each matrix on all", "layer", "none", "row")
	intVar(f, &o.gpu.main, "main-gpu", 0, 0, 255, "GPU that takes everything with --split-mode none, and what cannot be shared with row; counted from 0")
	f.Float64SliceVar(&o.gpu.shares, "tensor-split", nil, "shares of the GPUs in the model, such as 3,1 (default: by free memory)")
}

// layersValue is a flag whose value is auto, all, or a number of layers.
type layersValue int

func (v *layersValue) String() string {
	switch *v {
	case autoLayers:
		return "auto"
	case allLayers:
		return "all"
	}
	return strconv.Itoa(int(*v))
}

// Type implements [pflag.Value].
func (v *layersValue) Type() string { return "auto|all|int" }

// Set parses a value from the command line. -1 is what all was called before.
func (v *layersValue) Set(text string) error {
	switch text {
	case "auto":
		*v = autoLayers
		return nil
	case "all", "-1":
		*v = allLayers
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > math.MaxInt16 {
		return fmt.Errorf("want auto, all, or a whole number from 0 to %d", math.MaxInt16)
	}
	*v = layersValue(n)
	return nil
}

// check tells what cannot be right whatever the machine.
func (o *gpuOptions) check() error {
	sum := 0.0
	for _, x := range o.shares {
		if !(x >= 0) || math.IsInf(x, 1) {
			return usageError{fmt.Errorf("--tensor-split: %g is not a number of at least 0", x)}
		}
		sum += x
	}
	if len(o.shares) > 0 && sum == 0 {
		return usageError{errors.New("--tensor-split: one share at least must be above 0")}
	}
	return nil
}

// gpus are the devices that layers can be moved to, in llama.cpp's order.
func gpus() (list []cpp.Device) {
	for _, d := range cpp.Devices() {
		if d.Kind.Offloads() {
			list = append(list, d)
		}
	}
	return list
}

// split is o for the driver, checked against the GPUs that there are.
func (o *gpuOptions) split(gpus []cpp.Device) (cpp.Split, error) {
	modes := map[string]cpp.SplitMode{"layer": cpp.SplitLayers, "none": cpp.SplitNone, "row": cpp.SplitRows}
	if o.main > 0 && o.main >= len(gpus) {
		return cpp.Split{}, usageError{fmt.Errorf("--main-gpu %d: there are %d GPUs, counted from 0", o.main, len(gpus))}
	}
	if len(o.shares) > 0 && len(o.shares) != len(gpus) {
		return cpp.Split{}, usageError{fmt.Errorf("--tensor-split: %d shares for %d GPUs (aim doctor lists them)", len(o.shares), len(gpus))}
	}
	return cpp.Split{Mode: modes[o.mode], Main: o.main, Shares: o.shares}, nil
}

// gpuReserve is memory of a GPU that is left alone: what the estimate cannot know of, such as the back end's own buffers and
// an embedder's context.
const gpuReserve = 512 << 20

// setup is o in the terms of the estimate, and the memory that it may fill. All layers are of the split.
func (o *gpuOptions) setup(s models.Setup, gpus []cpp.Device) (models.Setup, []int64) {
	free := make([]int64, len(gpus))
	for i, d := range gpus {
		free[i] = max(0, d.Free-gpuReserve)
	}
	switch {
	case len(gpus) == 0:
		return s, nil
	case o.mode == "none":
		s.Split, free = nil, free[o.main:o.main+1]
	case len(o.shares) > 0:
		s.Split = o.shares
	default: // as llama.cpp does by itself
		s.Split = make([]float64, len(gpus))
		for i, d := range gpus {
			s.Split[i] = float64(d.Free)
		}
	}
	s.Rows, s.MainGPU = o.mode == "row", o.main
	return s, free
}

// placement decides what goes where, for a model that is about to be loaded: the layers, as many as fit where the user leaves
// it to us, and how GPUs share them.
func (o *engineOptions) placement(path string) (layers int, split cpp.Split, err error) {
	devices := gpus()
	if split, err = o.gpu.split(devices); err != nil || len(devices) == 0 {
		return o.gpuLayers, split, err
	}
	if o.gpuLayers != autoLayers {
		return o.gpuLayers, split, nil
	}
	e, err := models.NewEstimator(path)
	if err != nil {
		return allLayers, split, nil //nolint:nilerr // loading it says it better, or works
	}
	setup, free := o.gpu.setup(o.setup(e), devices)
	if layers, err = e.Fit(setup, free); err != nil {
		return allLayers, split, nil //nolint:nilerr // as above
	}
	slog.Info("layers on GPUs", "offloaded", layers, "of", e.Layers(), "GPUs", len(devices))
	return layers, split, nil
}

// setup is how the model will be run, in the terms of the estimate.
func (o *engineOptions) setup(e *models.Estimator) models.Setup {
	context := o.context
	if context == 0 {
		context = defaultContext
		if trained := e.TrainContext(); trained > 0 {
			context = min(context, trained)
		}
	}
	return models.Setup{Slots: max(1, o.slots), Context: context, Batch: o.batch, Unified: o.unified}
}
