package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"aim/internal/config"
	"aim/internal/cores"
	"aim/llama/cpp"
	"aim/server"
)

// offer is a model as requests name it: a base model under a set of adapters, what is imposed on it, and what may be asked of it.
type offer struct {
	id, description string
	// base is the name of the base model, and set that of the set of its adapters, "" for its own alone.
	base, set string
	// level and sigma impose utility, at most one of them is set; window and ends are what its noise depends on and acts on.
	level, sigma float64
	window       int
	ends         string
	// policy is nil where requests may ask for everything.
	policy *server.Policy
	// reports shows what tells about raw rows although utility is imposed. vectors is auto, on or off.
	reports bool
	vectors string
}

// imposed is the level that is imposed, 0 where none is, or σ is.
func (o *offer) imposed() float64 {
	if o.level == 1 {
		return 0
	}
	return o.level
}

// key is the offer without what changes nothing that is kept of it.
func (o offer) key() offer {
	o.description, o.policy = "", nil
	return o
}

// rules are what may be asked of the offer.
func (o *offer) rules() server.Policy {
	if o.policy == nil {
		return server.Policy{}
	}
	return *o.policy
}

// source is what gives the offer's rows of logits; offers of one source share their noise where they have one σ.
func (o *offer) source() string {
	if o.set == "" {
		return o.base
	}
	return o.base + " with " + o.set // names have no spaces, so that no two sources are spelled alike
}

// baseModel is a model to load, and when.
type baseModel struct {
	engineOptions
	lazy      bool
	keepAlive time.Duration
}

// setting is what a server serves: its configuration, from which the rest follows.
type setting struct {
	*config.Config
	bases  map[string]*baseModel
	offers []offer
}

// configured reads a setting from a configuration with models.
func configured(c *config.Config) (*setting, error) {
	s := &setting{Config: c, bases: map[string]*baseModel{}}
	for _, name := range slices.Sorted(maps.Keys(c.Models)) {
		m := c.Models[name]
		b := &baseModel{engineOptions: engineOptionsOf(c, name, m), lazy: m.Load == "lazy", keepAlive: m.KeepAlive}
		if b.keepAlive == 0 {
			b.keepAlive = -1
		}
		if err := b.check(); err != nil {
			return nil, fmt.Errorf("models.%s: %w", name, err)
		}
		s.bases[name] = b
		if c.Listed(name) {
			s.offers = append(s.offers, offer{id: name, base: name, ends: endNoises()[0], vectors: "auto"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.VirtualModels)) {
		s.offers = append(s.offers, offerOf(name, c.VirtualModels[name]))
	}
	for i := range s.offers {
		if p := s.offers[i].policy; p != nil {
			if err := p.Check(); err != nil {
				return nil, fmt.Errorf("virtual_models.%s: %w", s.offers[i].id, err)
			}
		}
	}
	return s, nil
}

// offerOf is the offer of a virtual model.
func offerOf(name string, v *config.VirtualModel) offer {
	o := offer{
		id: name, description: v.Description, base: v.Base, set: v.Adapters,
		level: v.Utility.Level, sigma: v.Utility.Sigma, window: v.Utility.NoiseWindow, ends: v.Utility.NoiseEnd,
		reports: v.Show.Reports == config.On,
		vectors: map[config.Toggle]string{config.Auto: "auto", config.On: "on", config.Off: "off"}[v.Show.Embeddings],
	}
	focus := v.Focus.MaxStrength
	o.policy = &server.Policy{
		Context: v.Context, MaxTokens: v.MaxTokens, MaxFocus: &focus, NoSpans: !v.Focus.Spans, NoFocusNoise: !v.Focus.Sigma,
		NoLogprobs: v.Show.Logprobs == config.Off, NoReports: v.Show.Reports == config.Off, NoPreviews: v.Show.Previews == config.Off,
		NoTemplate: !v.Show.Template,
		Defaults:   map[string]json.RawMessage{}, Bounds: map[string]server.Bound{},
	}
	for field, value := range v.Defaults {
		if raw, err := json.Marshal(value.Any); err == nil { // values of YAML that JSON lacks were refused
			o.policy.Defaults[field] = raw
		}
	}
	for field, b := range v.Bounds {
		if b != nil {
			o.policy.Bounds[field] = server.Bound{Min: b.Min, Max: b.Max, Never: !b.Allowed}
		}
	}
	return o
}

// engineOptionsOf are the options of a base model in a configuration.
func engineOptionsOf(c *config.Config, name string, m *config.Model) engineOptions {
	o := engineOptions{
		name: name, model: m.File, template: m.ChatTemplate, stateDir: c.StateDir, secretFile: c.SecretFile,
		slots: m.Slots, context: m.Context, batch: m.Compute.Batch, threads: cmp.Or(m.Compute.Threads, cores.Count()), queue: m.Queue,
		gpuLayers: int(m.GPU.Layers), unified: m.Cache.Unified, optimize: m.Optimize,
		gpu:         gpuOptions{mode: m.GPU.Split, main: m.GPU.Main, shares: m.GPU.Shares},
		prefixes:    prefixOptions{off: !m.Cache.Prefixes, file: m.Cache.File, pause: m.Compute.PromptPause, ram: -1},
		speculation: speculation{mode: m.Speculate.Mode, model: m.Speculate.DraftModel, most: m.Speculate.DraftMax},
		shifting:    shifting{shift: m.ContextShift.Enabled, keep: m.ContextShift.Keep},
		tuning: tuning{
			flash:  cpp.FlashAttention(slices.Index(cpp.FlashAttentions(), m.Compute.FlashAttention)),
			cacheK: cpp.CacheType(slices.Index(cpp.CacheTypes(), m.Cache.TypeK)), cacheV: cpp.CacheType(slices.Index(cpp.CacheTypes(), m.Cache.TypeV)),
			ubatch: m.Compute.Ubatch, threadsBatch: m.Compute.ThreadsBatch, keepThreads: m.Compute.KeepThreads,
			noMmap: !m.Compute.Mmap, mlock: m.Compute.Mlock, numa: cpp.NUMA(slices.Index(cpp.NUMAs(), m.Compute.NUMA)),
		},
	}
	if m.Cache.RAM >= 0 {
		o.prefixes.ram = int(m.Cache.RAM >> 20)
	}
	sets := []namedAdapters{{Adapters: adaptersOf(&m.Adapters)}}
	for _, set := range slices.Sorted(maps.Keys(m.AdapterSets)) {
		one := namedAdapters{name: set, Adapters: adaptersOf(m.AdapterSets[set])}
		one.inherit(&sets[0])
		sets = append(sets, one)
	}
	o.adapters.sets = sets
	return o
}

// adaptersOf are the adapters of a configuration, whose layers were checked.
func adaptersOf(a *config.Adapters) (list cpp.Adapters) {
	files := func(from []config.AdapterFile) (to []cpp.AdapterFile) {
		for _, f := range from {
			to = append(to, cpp.AdapterFile{Path: f.File, Scale: f.Scale})
		}
		return to
	}
	list.LoRA, list.ControlVectors = files(a.LoRA), files(a.ControlVectors)
	if a.Layers != "" {
		if _, err := fmt.Sscanf(a.Layers, "%d-%d", &list.FirstLayer, &list.LastLayer); err != nil {
			list.FirstLayer, list.LastLayer = 0, 0
		}
	}
	return list
}

// flagged is the setting of the flags alone: one model, and the model under each set of adapters that has a name.
func (o *serveOptions) flagged(c *config.Config, name string) (*setting, error) {
	sets, err := o.adapters.parse()
	if err != nil {
		return nil, err
	}
	s := &setting{Config: c, bases: map[string]*baseModel{name: {engineOptions: o.engineOptions, keepAlive: -1}}}
	for _, set := range sets {
		of := offer{
			id: cmp.Or(set.name, name), base: name, set: set.name, level: o.level, sigma: o.sigma, window: o.window, ends: o.noiseEnd,
			reports: o.reports, vectors: o.embed,
		}
		s.offers = append(s.offers, of)
	}
	return s, nil
}
