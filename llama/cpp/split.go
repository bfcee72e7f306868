package cpp

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
)

// SplitMode is how several GPUs share a model.
type SplitMode int

// The modes: whole layers on each, everything on one, and rows of each matrix on all. They are llama.cpp's.
const (
	SplitLayers SplitMode = iota
	SplitNone
	SplitRows
)

// Split says how several GPUs share the offloaded layers. The zero value lets each take layers by its free memory.
type Split struct {
	Mode SplitMode
	// Main is the GPU that takes everything under SplitNone, and what cannot be shared under SplitRows; GPUs count from 0 in the
	// order of [Devices].
	Main int
	// Shares are the parts of the GPUs in any unit, one for each; none is by free memory.
	Shares []float64
}

// placement is s in llama.cpp's terms. It refuses what llama.cpp would read past, or ignore.
func (s Split) placement(layers int) (where C.struct_aim_placement, err error) {
	where.gpu_layers, where.split_mode = C.int32_t(layers), C.LLAMA_SPLIT_MODE_LAYER
	gpus := 0
	for _, d := range Devices() {
		if d.Kind.Offloads() {
			gpus++
		}
	}
	if s.Main < 0 || s.Main > 0 && s.Main >= gpus {
		return where, fmt.Errorf("main GPU %d: there are %d, counted from 0", s.Main, gpus)
	}
	if len(s.Shares) > 0 && len(s.Shares) != gpus {
		return where, fmt.Errorf("%d shares for %d GPUs", len(s.Shares), gpus)
	}
	if gpus == 0 {
		return where, nil // also where one GPU is to take everything: llama.cpp would fail
	}
	where.main_gpu = C.int32_t(s.Main)
	where.split_mode = [...]uint32{C.LLAMA_SPLIT_MODE_LAYER, C.LLAMA_SPLIT_MODE_NONE, C.LLAMA_SPLIT_MODE_ROW}[s.Mode]
	if len(s.Shares) > 0 {
		shares, sum := make([]C.float, max(len(s.Shares), int(C.llama_max_devices()))), 0.0
		for i, x := range s.Shares {
			if !(x >= 0) || math.IsInf(x, 1) {
				return where, fmt.Errorf("share %g of GPU %d, want a number of at least 0", x, i)
			}
			shares[i], sum = C.float(x), sum+x
		}
		if sum == 0 {
			return where, errors.New("no GPU has a share above 0")
		}
		where.tensor_split = &shares[0]
	}
	return where, nil
}
