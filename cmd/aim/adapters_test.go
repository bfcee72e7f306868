package main

import (
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"aim/internal/testmodel"
	"aim/llama"
	"aim/llama/cpp"
)

func TestParseAdapters(t *testing.T) {
	one := func(path string, scale float64) cpp.AdapterFile { return cpp.AdapterFile{Path: path, Scale: scale} }
	o := adapterOptions{
		named: true,
		loras: []string{
			"own.gguf@0.5", "pirate=a.gguf,b.gguf@-2", "=x=y.gguf", "org/poet:v1=c@home.gguf@1e-1", "pirate=d@2.gguf",
		},
		vectors: []string{"pirate=happy.gguf@1.5", "sad=sad.gguf", "all.gguf"},
		layers:  []string{"2-5", "sad=3-3"},
	}
	got, err := o.parse()
	if err != nil {
		t.Fatal(err)
	}
	own := []cpp.AdapterFile{one("own.gguf", 0.5), one("x=y.gguf", 1)}
	all := one("all.gguf", 1)
	want := []namedAdapters{
		{"", cpp.Adapters{LoRA: own, ControlVectors: []cpp.AdapterFile{all}, FirstLayer: 2, LastLayer: 5}},
		{"pirate", cpp.Adapters{
			LoRA:           slices.Concat(own, []cpp.AdapterFile{one("a.gguf", 1), one("b.gguf", -2), one("d@2.gguf", 1)}),
			ControlVectors: []cpp.AdapterFile{all, one("happy.gguf", 1.5)}, FirstLayer: 2, LastLayer: 5,
		}},
		{"org/poet:v1", cpp.Adapters{
			LoRA: slices.Concat(own, []cpp.AdapterFile{one("c@home.gguf", 0.1)}), ControlVectors: []cpp.AdapterFile{all}, FirstLayer: 2, LastLayer: 5,
		}},
		{"sad", cpp.Adapters{LoRA: own, ControlVectors: []cpp.AdapterFile{all, one("sad.gguf", 1)}, FirstLayer: 3, LastLayer: 3}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestParseAdaptersRefuses(t *testing.T) {
	vector := []string{"v.gguf"}
	for _, c := range []struct {
		o    adapterOptions
		want string
	}{
		{adapterOptions{loras: []string{""}}, `--lora "": want FILE`},
		{adapterOptions{loras: []string{"a.gguf,"}}, "a file is missing"},
		{adapterOptions{loras: []string{"@2"}}, "a file is missing"},
		{adapterOptions{loras: []string{"a@NaN"}}, "scale NaN"},
		{adapterOptions{vectors: []string{"a@1e60"}}, `--control-vector "a@1e60": the scale 1e60`},
		{adapterOptions{loras: []string{"name=a.gguf"}}, "only serve takes a NAME"},
		{adapterOptions{named: true, loras: []string{"my name=a.gguf"}}, `the name "my name"`},
		{adapterOptions{layers: []string{"1-2"}}, "no --control-vector"},
		{adapterOptions{named: true, vectors: []string{"x=v.gguf"}, layers: []string{"y=1-2"}}, "no --control-vector"},
		{adapterOptions{vectors: vector, layers: []string{"0-2"}}, "want FIRST-LAST"},
		{adapterOptions{vectors: vector, layers: []string{"3-2"}}, "want FIRST-LAST"},
		{adapterOptions{vectors: vector, layers: []string{"3"}}, "want FIRST-LAST"},
		{adapterOptions{vectors: vector, layers: []string{"1-99999"}}, "want FIRST-LAST"},
	} {
		_, err := c.o.parse()
		if usage := (usageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}

// Each set is a model of its own, whose calibration is nobody else's.
func TestVariants(t *testing.T) {
	g := testmodel.TinyLlama(1)
	lora, vector := testmodel.LoRA(g, 2, 2, "blk.0.attn_q.weight", "blk.1.ffn_up.weight").Write(t), testmodel.ControlVector(g, 1, 2).Write(t)
	open := func(loras, vectors, layers []string) *engine {
		t.Helper()
		e, err := openEngine(engineOptions{
			model: g.Write(t), stateDir: t.TempDir(), slots: 2, context: 64, batch: 32, threads: 1, gpuLayers: 0,
			adapters: adapterOptions{named: true, loras: loras, vectors: vectors, layers: layers},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.close)
		return e
	}
	plain := open(nil, nil, nil)
	e := open([]string{"a=" + lora, "b=" + lora + "@0.5", "c=" + lora}, []string{"c=" + vector, "d=" + vector, "e=" + vector}, []string{"e=1-1"})
	own := open([]string{lora}, nil, nil)
	var names []string
	keys := map[string]string{}
	for i, v := range e.variants {
		gauge, err := newGauge(e, engineOptions{stateDir: t.TempDir()}, newLogger(t.Output(), new(slog.LevelVar), "warn", "text"), nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := gauge.under(v).key()
		if err != nil || v.set != llama.AdapterSet(i) {
			t.Fatalf("%+v: error %v", v, err)
		}
		if other, ok := keys[key]; ok {
			t.Errorf("%s and %s have the same calibration", other, v.name)
		}
		keys[key] = v.name
		names = append(names, v.name)
	}
	if !slices.Equal(names, []string{"model", "a", "b", "c", "d", "e"}) {
		t.Errorf("variants %q", names)
	}
	key := func(e *engine) string {
		key, err := (&gauge{engine: e, variant: e.variants[0]}).key()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	// The tiny models lie in folders of their own; what is in them is the same.
	if keys[key(plain)] != "model" || keys[key(own)] != "a" {
		t.Errorf("the model's own adapters make another model than the same ones under a name: %q, %q", keys[key(plain)], keys[key(own)])
	}
	if len(plain.variants) != 1 || plain.decoder.Sets() != 1 || e.decoder.Sets() != 6 {
		t.Errorf("%d variants without adapters; %d and %d sets", len(plain.variants), plain.decoder.Sets(), e.decoder.Sets())
	}
}

func TestVariantsRefuse(t *testing.T) {
	g := testmodel.TinyLlama(1)
	lora := testmodel.LoRA(g, 2, 2, "blk.0.attn_q.weight").Write(t)
	for _, c := range []struct{ lora, want string }{
		{"model=" + lora, "as the model is"},
		{"a=none.gguf", "none.gguf"},
		{"a=" + g.Write(t), "adapters of a: LoRA"},
	} {
		e, err := openEngine(engineOptions{
			model: g.Write(t), stateDir: t.TempDir(), slots: 1, context: 64, batch: 32, threads: 1,
			adapters: adapterOptions{named: true, loras: []string{c.lora}},
		}, nil)
		if err == nil {
			e.close()
			t.Errorf("%s was accepted", c.lora)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %q, want %q", c.lora, err, c.want)
		}
	}
}
