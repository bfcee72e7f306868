package models

import (
	"fmt"
	"math"
	"sort"

	gguf "github.com/gpustack/gguf-parser-go"
)

// Setup is how a model is to be run, as far as its need of memory depends on it.
type Setup struct {
	// Slots sequences of Context tokens each have room, and a pass computes Batch rows. All must be positive.
	Slots, Context, Batch int
	// GPULayers are offloaded, the last first, of [Needs.Layers]; more than that is all.
	GPULayers int
	// Split are the shares of the GPUs in the offloaded layers, in any unit; none is a single GPU.
	Split []float64
	// Rows shares each matrix between the GPUs instead of whole layers; MainGPU then keeps the KV cache.
	Rows    bool
	MainGPU int
	// Unified keeps all slots in one KV cache, of which each pass then looks at all.
	Unified bool
	// CacheType is how the KV cache is stored: "f16", the default, or "q8_0" or "q4_0".
	CacheType string
}

// Needs is the memory that a model takes.
type Needs struct {
	// Layers can be offloaded: those of the network, and the output layer, which is the last.
	Layers int
	// Main is in the main memory, GPUs in that of each GPU.
	Main Need
	GPUs []Need
}

// Need is memory, in bytes.
type Need struct {
	// Layers are how many are kept there, the output layer left out.
	Layers int
	// Weights as in the file, and KV for all slots. Compute is for what passes through the layers and for logits: an estimate, which
	// tends to be some tens of MB too high.
	Weights, KV, Compute int64
}

// Total is all of it.
func (n Need) Total() int64 { return n.Weights + n.KV + n.Compute }

// Estimator tells what a model needs under one [Setup] or another.
type Estimator struct {
	file    *gguf.GGUFFile
	layers  int
	weights int64
}

// NewEstimator reads the header of a GGUF file.
func NewEstimator(path string) (_ *Estimator, err error) {
	defer malformed(&err)
	f, err := parse(path, gguf.SkipLargeMetadata())
	if err != nil {
		return nil, err
	}
	e := &Estimator{file: f, layers: int(f.Architecture().BlockCount) + 1}
	for _, t := range f.TensorInfos {
		e.weights += int64(t.Bytes())
	}
	return e, nil
}

// Layers is [Needs.Layers].
func (e *Estimator) Layers() int { return e.layers }

// TrainContext is the number of tokens the model was trained on at once, 0 where the file does not say.
func (e *Estimator) TrainContext() int { return int(e.file.Architecture().MaximumContextLength) }

// ChatTemplate is the Jinja template of the file, "" without one.
func (e *Estimator) ChatTemplate() string { return text(e.file, "tokenizer.chat_template") }

// cacheTypes are the names of the ways to store the KV cache.
var cacheTypes = map[string]gguf.GGMLType{"": gguf.GGMLTypeF16, "f16": gguf.GGMLTypeF16, "q8_0": gguf.GGMLTypeQ8_0, "q4_0": gguf.GGMLTypeQ4_0}

// Needs estimates the memory under s, with flash attention. It fails where the header lacks what must be known.
func (e *Estimator) Needs(s Setup) (_ Needs, err error) {
	defer malformed(&err)
	cache, ok := cacheTypes[s.CacheType]
	if !ok {
		return Needs{}, fmt.Errorf("cache type %q, want f16, q8_0 or q4_0", s.CacheType)
	}
	const align = 256 // llama.cpp rounds each sequence's cells up to this
	cells := (s.Context + align - 1) / align * align * s.Slots
	if cells > math.MaxInt32 {
		return Needs{}, fmt.Errorf("%d slots of %d tokens are more than the %d that a cache can have", s.Slots, s.Context, math.MaxInt32)
	}
	run := e.run(s, cells, cache)
	compute := run
	if !s.Unified { // a pass looks at one slot's cells at a time
		compute = e.run(s, cells/s.Slots, cache)
	}
	need := func(i int) Need {
		d := run.Devices[i]
		return Need{
			Layers: int(d.HandleLayers), Weights: int64(d.Weight.Sum()), KV: int64(d.KVCache.Sum()),
			Compute: int64(compute.Devices[i].Computation.Sum()),
		}
	}
	n := Needs{Layers: e.layers, Main: need(0)}
	for i := range run.Devices[1:] {
		gpu := need(i + 1)
		if s.GPULayers == 0 {
			gpu = Need{}
		}
		n.GPUs = append(n.GPUs, gpu)
	}
	// The parser counts an output layer that shares its weights with the embedding as if they were there twice.
	n.Main.Weights = min(n.Main.Weights, e.weights)
	return n, nil
}

// run asks the parser, for a cache of so many cells.
func (e *Estimator) run(s Setup, cells int, cache gguf.GGMLType) gguf.LLaMACppRunEstimate {
	shares := cumulated(s.Split)
	mode := gguf.LLaMACppSplitModeLayer
	if s.Rows {
		mode = gguf.LLaMACppSplitModeRow
	}
	return e.file.EstimateLLaMACppRun(
		gguf.WithParallelSize(int32(s.Slots)), gguf.WithLLaMACppContextSize(int32(cells)), gguf.WithFlashAttention(),
		gguf.WithLLaMACppLogicalBatchSize(int32(s.Batch)), gguf.WithLLaMACppPhysicalBatchSize(int32(min(s.Batch, 512))),
		gguf.WithLLaMACppOffloadLayers(uint64(min(s.GPULayers, e.layers))), gguf.WithTensorSplitFraction(shares),
		gguf.WithLLaMACppSplitMode(mode), gguf.WithMainGPUIndex(max(0, min(s.MainGPU, len(shares)-1))),
		gguf.WithLLaMACppCacheKeyType(cache), gguf.WithLLaMACppCacheValueType(cache),
		gguf.WithLLaMACppFullSizeSWACache(), // llama.cpp's default: windows that keep all cells
	)
}

// cumulated turns shares into the ends of their parts of [0, 1], as the parser wants them.
func cumulated(shares []float64) []float64 {
	sum := 0.0
	for _, x := range shares {
		sum += x
	}
	if sum <= 0 {
		return []float64{1}
	}
	ends := make([]float64, len(shares))
	at := 0.0
	for i, x := range shares {
		at += x
		ends[i] = min(1, at/sum)
	}
	ends[len(ends)-1] = 1
	return ends
}

// Fit is the most layers to offload so that each GPU's part is within its free bytes, where s.Split says how they share. A part
// that does not fit anywhere leaves 0.
func (e *Estimator) Fit(s Setup, free []int64) (layers int, err error) {
	fits := func(layers int) bool {
		s.GPULayers = layers
		n, failed := e.Needs(s)
		if failed != nil {
			err = failed
			return false
		}
		for i, gpu := range n.GPUs {
			if i >= len(free) || gpu.Total() > free[i] {
				return false
			}
		}
		return true
	}
	// What is needed grows with the layers.
	layers = sort.Search(e.layers, func(n int) bool { return !fits(n + 1) })
	return layers, err
}
