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
func NewEstimator(path string) (e *Estimator, err error) {
	defer func() { // as in Read
		if r := recover(); r != nil {
			e, err = nil, fmt.Errorf("malformed: %v", r)
		}
	}()
	if err := regular(path); err != nil {
		return nil, err
	}
	f, err := gguf.ParseGGUFFile(path, gguf.SkipLargeMetadata())
	if err != nil {
		return nil, err
	}
	e = &Estimator{file: f, layers: int(f.Architecture().BlockCount) + 1}
	for _, t := range f.TensorInfos {
		e.weights += int64(t.Bytes())
	}
	return e, nil
}

// cacheTypes are the names of the ways to store the KV cache.
var cacheTypes = map[string]gguf.GGMLType{"": gguf.GGMLTypeF16, "f16": gguf.GGMLTypeF16, "q8_0": gguf.GGMLTypeQ8_0, "q4_0": gguf.GGMLTypeQ4_0}

// Needs estimates the memory under s, with flash attention. It fails where the header lacks what must be known.
func (e *Estimator) Needs(s Setup) (n Needs, err error) {
	defer func() { // as in Read
		if r := recover(); r != nil {
			n, err = Needs{}, fmt.Errorf("malformed: %v", r)
		}
	}()
	cache, ok := cacheTypes[s.CacheType]
	if !ok {
		return Needs{}, fmt.Errorf("cache type %q, want f16, q8_0 or q4_0", s.CacheType)
	}
	const align = 256 // llama.cpp rounds each sequence's cells up to this
	cells := (s.Context + align - 1) / align * align * s.Slots
	if cells > math.MaxInt32 {
		return Needs{}, fmt.Errorf("%d slots of %d tokens are more than the %d that a cache can have", s.Slots, s.Context, math.MaxInt32)
	}
	run := e.file.EstimateLLaMACppRun(
		gguf.WithParallelSize(int32(s.Slots)), gguf.WithLLaMACppContextSize(int32(cells)), gguf.WithFlashAttention(),
		gguf.WithLLaMACppLogicalBatchSize(int32(s.Batch)), gguf.WithLLaMACppPhysicalBatchSize(int32(min(s.Batch, 512))),
		gguf.WithLLaMACppOffloadLayers(uint64(min(s.GPULayers, e.layers))), gguf.WithTensorSplitFraction(cumulated(s.Split)),
		gguf.WithLLaMACppCacheKeyType(cache), gguf.WithLLaMACppCacheValueType(cache),
		gguf.WithLLaMACppFullSizeSWACache(), // llama.cpp's default: windows that keep all cells
	)
	need := func(d gguf.LLaMACppRunDeviceUsage) Need {
		return Need{
			Layers: int(d.HandleLayers), Weights: int64(d.Weight.Sum()), KV: int64(d.KVCache.Sum()), Compute: int64(d.Computation.Sum()),
		}
	}
	n = Needs{Layers: e.layers, Main: need(run.Devices[0])}
	for _, d := range run.Devices[1:] {
		gpu := need(d)
		if s.GPULayers == 0 {
			gpu = Need{}
		}
		n.GPUs = append(n.GPUs, gpu)
	}
	// The parser counts an output layer that shares its weights with the embedding as if they were there twice.
	n.Main.Weights = min(n.Main.Weights, e.weights)
	return n, nil
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
