package cpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"aim/llama"
	"aim/models"
	"aim/sampler"
)

// AdapterFile is a GGUF file with a LoRA adapter or a control vector.
type AdapterFile struct {
	Path string
	// Scale is how strongly it acts: 1 as it was made, 0 not at all, negative the other way round. It must be finite.
	Scale float64
}

// Adapters is a set of adapters that act together.
type Adapters struct {
	// Name is what errors call it.
	Name string
	LoRA []AdapterFile
	// ControlVectors are added up.
	ControlVectors []AdapterFile
	// FirstLayer and LastLayer bound the layers whose output control vectors are added to, counted from 0. Layer 0 takes none. Zero
	// fields stand for layer 1 and for the last one.
	FirstLayer, LastLayer int
}

// adapterSet is a loaded set.
type adapterSet struct {
	name   string
	loras  []*C.struct_llama_adapter_lora
	scales []C.float
	pairs  int // tensors that the adapters change, counted for each of them
	// vector is the sum of the control vectors, Layers-1 times the width of a layer; nil without any.
	vector      []C.float
	first, last int
}

// lora is a loaded file.
type lora struct {
	c     *C.struct_llama_adapter_lora
	pairs int
}

// Layers is the number of the model's layers.
func (m *Model) Layers() int { return int(C.llama_model_n_layer(m.c)) }

// Width is the number of entries of a layer's output.
func (m *Model) Width() int { return int(C.llama_model_n_embd(m.c)) }

// LoadAdapters loads sets of adapters, of which the first is [llama.AdapterSet] 0. A file is loaded once, in however many sets it is.
// Call it at most once, and before there is a Decoder or Embedder; without it there is one set, which is empty.
func (m *Model) LoadAdapters(sets []Adapters) error {
	if len(sets) == 0 {
		return nil
	}
	loading.Lock()
	defer loading.Unlock()
	loaded := make([]adapterSet, len(sets))
	for i := range sets {
		loaded[i].name = cmp.Or(sets[i].Name, fmt.Sprintf("set %d", i))
		if err := m.loadSet(&loaded[i], &sets[i]); err != nil {
			return fmt.Errorf("load the adapters of %s: %w", loaded[i].name, err)
		}
	}
	m.sets = loaded
	return nil
}

func (m *Model) loadSet(to *adapterSet, set *Adapters) error {
	for _, f := range set.LoRA {
		if err := checkScale(f); err != nil {
			return err
		}
		l, err := m.lora(f.Path)
		if err != nil {
			return fmt.Errorf("LoRA %s: %w", f.Path, err)
		}
		to.add(l, f.Scale)
	}
	last := m.Layers() - 1
	to.first, to.last = max(1, set.FirstLayer), set.LastLayer
	if to.last == 0 {
		to.last = last
	}
	if set.FirstLayer < 0 || len(set.ControlVectors) > 0 && (to.first > to.last || to.last > last) {
		return &sampler.DomainError{
			Param: "layers", Value: fmt.Sprintf("%d to %d", set.FirstLayer, set.LastLayer), Want: fmt.Sprintf("within 1 to %d", last),
		}
	}
	width := m.Width()
	for _, f := range set.ControlVectors {
		if err := checkScale(f); err != nil {
			return err
		}
		if to.vector == nil {
			to.vector = make([]C.float, max(1, last)*width)
		}
		if err := m.addVector(to.vector, f, width); err != nil {
			return fmt.Errorf("control vector %s: %w", f.Path, err)
		}
	}
	return nil
}

func checkScale(f AdapterFile) error {
	if math.IsNaN(f.Scale) || math.Abs(f.Scale) > math.MaxFloat32 {
		return &sampler.DomainError{Param: "scale of " + f.Path, Value: f.Scale, Want: "a finite number of 32 bits"}
	}
	return nil
}

// checkAdapterFile answers the plain mistakes, and those at which llama.cpp ends the process.
func checkAdapterFile(path string) error {
	if err := checkFile(path); err != nil {
		return err
	}
	return models.CheckShapes(path)
}

// add puts an adapter into a set. llama.cpp knows each once, so that the scales of one that is there twice add up.
func (s *adapterSet) add(l lora, scale float64) {
	for i, c := range s.loras {
		if c == l.c {
			s.scales[i] += C.float(scale)
			return
		}
	}
	s.loras, s.scales, s.pairs = append(s.loras, l.c), append(s.scales, C.float(scale)), s.pairs+l.pairs
}

// lora loads a LoRA adapter, once.
func (m *Model) lora(path string) (lora, error) {
	if l, ok := m.loras[path]; ok {
		return l, nil
	}
	if err := checkAdapterFile(path); err != nil {
		return lora{}, err
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var l lora
	var pairs C.size_t
	var thrown errorBuffer
	logged := collectErrors(func() { l.c = C.aim_lora_load(m.c, cpath, &pairs, thrown.ptr(), thrown.len()) })
	if l.c == nil {
		return l, adapterError(thrown, logged)
	}
	l.pairs = int(pairs)
	if m.loras == nil {
		m.loras = map[string]lora{}
	}
	m.loras[path] = l
	return l, nil
}

// addVector adds a control vector to a sum.
func (m *Model) addVector(sum []C.float, f AdapterFile, width int) error {
	if err := checkAdapterFile(f.Path); err != nil {
		return err
	}
	cpath := C.CString(f.Path)
	defer C.free(unsafe.Pointer(cpath))
	var ok C.bool
	var thrown errorBuffer
	logged := collectErrors(func() {
		ok = C.aim_control_vector(cpath, C.float(f.Scale), &sum[0], C.int32_t(width), C.int32_t(m.Layers()), thrown.ptr(), thrown.len())
	})
	if !ok {
		return adapterError(thrown, logged)
	}
	return nil
}

// adapterError is our own reason, where there is one, or llama.cpp's.
func adapterError(thrown errorBuffer, logged []string) error {
	if msg := thrown.String(); msg != "" {
		return errors.New(msg)
	}
	return errors.New(reason(logged))
}

// freeAdapters frees what LoadAdapters loaded.
func (m *Model) freeAdapters() {
	for _, l := range m.loras {
		C.llama_adapter_lora_free(l.c)
	}
	m.loras, m.sets = nil, nil
}

// adapt puts a set in force in a context.
func (m *Model) adapt(ctx *C.struct_llama_context, set *adapterSet) error {
	var thrown errorBuffer
	var loras **C.struct_llama_adapter_lora
	var scales, vector *C.float
	if len(set.loras) > 0 {
		loras, scales = &set.loras[0], &set.scales[0]
	}
	if set.vector != nil {
		vector = &set.vector[0]
	}
	if !C.aim_adapt(ctx, loras, scales, C.size_t(len(set.loras)), vector, C.llama_model_n_embd(m.c), C.llama_model_n_layer(m.c),
		C.int32_t(set.first), C.int32_t(set.last), thrown.ptr(), thrown.len()) {
		return fmt.Errorf("set %s", thrown.String())
	}
	return nil
}

// tryAdapters makes sure that a context can compute under a set, and that this changes what it computes.
func (m *Model) tryAdapters(ctx *C.struct_llama_context, set *adapterSet) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the adapters of %s: %w", set.name, err)
		}
	}()
	layers := 0
	if set.vector != nil {
		layers = set.last - set.first + 1
	}
	if set.pairs+layers == 0 {
		return nil
	}
	var thrown errorBuffer
	if !C.aim_adapters_fit(ctx, C.size_t(set.pairs), C.size_t(layers), thrown.ptr(), thrown.len()) {
		return errors.New(thrown.String())
	}
	const perPair = 4 // operations
	plain, err := m.nodes(ctx, &adapterSet{})
	if err != nil {
		return err
	}
	adapted, err := m.nodes(ctx, &adapterSet{loras: set.loras, scales: set.scales})
	if err != nil {
		return err
	}
	if used := (adapted - plain) / perPair; used < set.pairs {
		return fmt.Errorf("llama.cpp applies the LoRA to %d of the %d tensors that it changes, for this architecture", used, set.pairs)
	}
	whole, err := m.nodes(ctx, set)
	if err != nil {
		return err
	}
	if whole-adapted < layers {
		return fmt.Errorf("llama.cpp adds control vectors in %d of %d layers, for this architecture", whole-adapted, layers)
	}
	_, err = m.nodes(ctx, &adapterSet{}) // none in force
	return err
}

// embedUnder puts a set in force for good in a context of its own.
func (m *Model) embedUnder(ctx *C.struct_llama_context, set llama.AdapterSet) error {
	if len(m.sets) == 0 {
		return nil
	}
	if err := m.tryAdapters(ctx, &m.sets[set]); err != nil {
		return err
	}
	return m.adapt(ctx, &m.sets[set])
}

// nodes is the number of operations of the largest graph under a set, for which the context has room then.
func (m *Model) nodes(ctx *C.struct_llama_context, set *adapterSet) (int, error) {
	if err := m.adapt(ctx, set); err != nil {
		return 0, err
	}
	var thrown errorBuffer
	n := int(C.aim_graph_nodes(ctx, thrown.ptr(), thrown.len()))
	if n < 0 {
		return 0, errors.New(thrown.String())
	}
	return n, nil
}

var _ llama.Adapter = (*Decoder)(nil)

// Sets implements [llama.Adapter].
func (d *Decoder) Sets() int { return max(1, len(d.model.sets)) }

// Adapt implements [llama.Adapter].
func (d *Decoder) Adapt(set llama.AdapterSet) error {
	if set < 0 || int(set) >= d.Sets() {
		return fmt.Errorf("set %d of %d", set, d.Sets())
	}
	if set == d.set {
		return nil
	}
	d.set = -1
	if err := d.model.adapt(d.ctx, &d.model.sets[set]); err != nil {
		return err
	}
	d.set = set
	return nil
}

// tryAdapters tries each set, and leaves the first in force.
func (d *Decoder) tryAdapters() error {
	for i := range d.model.sets {
		if err := d.model.tryAdapters(d.ctx, &d.model.sets[i]); err != nil {
			return err
		}
	}
	if len(d.model.sets) == 0 {
		return nil
	}
	d.set = -1
	return d.Adapt(0)
}
