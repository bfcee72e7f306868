package doctor

import (
	"encoding/json"
	"strings"
	"testing"

	"aim/internal/machine"
)

const gib = 1 << 30

// well is a report of a machine, a build and a model that go together.
func well() *Report {
	return &Report{
		Version: "v1", Platform: "linux/amd64",
		Flags:     Settings{Slots: 4, Context: 0, Batch: 512, Threads: 8, LibraryVariable: "LIBRARIES"},
		Processor: machine.CPU{Name: "Some Processor", Cores: 4, Threads: 8, Parallel: 8},
		Memory:    machine.Memory{Total: 16 * gib, Available: 12 * gib},
		ISAs:      []ISA{{"SSE3", true, true}, {"AVX2", true, true}, {"AVX512F", false, false}},
		Backends:  []Backend{{Name: "CPU", Features: []string{"AVX2"}, Used: true}},
		Folders:   []Folder{{Path: "/opt/aim/lib/ollama"}},
		Devices:   []Device{{Name: "CPU", Backend: "CPU", Kind: "processor", Total: 16 * gib, Free: 12 * gib}},
		Models:    Models{Folder: "/models", Count: 1},
		Model: &Model{
			Name: "tiny", Path: "/models/tiny.gguf", Architecture: "llama", Quantization: "Q4_1", Parameters: 2e9, Trained: 8192, Context: 4096,
			Template: true, Layers: 31, Main: Need{Weights: 1 * gib, KV: 2 * gib, Compute: 1 * gib},
		},
		State: State{Folder: "/state", Secret: "/state/secret", SecretMode: "0600"},
	}
}

func gpu(r *Report) {
	r.Backends = append(r.Backends, Backend{Name: "CUDA", Library: "/opt/aim/lib/ollama/libggml-cuda.so", Used: true})
	r.Devices = append(r.Devices, Device{Name: "CUDA0", Description: "A GPU", Backend: "CUDA", Kind: "GPU", GPU: true, Free: 8 * gib, Total: 8 * gib})
	r.Model.GPULayers, r.Model.GPUs = 31, []Need{{Weights: 1 * gib, KV: 2 * gib, Compute: 1 * gib}}
}

// TestDiagnose holds that each thing that can be wrong is found, alone, with what to do.
func TestDiagnose(t *testing.T) {
	for _, c := range []struct {
		name     string
		spoil    func(r *Report)
		fatal    bool
		what, do string
	}{
		{"nothing", func(*Report) {}, false, "", ""},
		{"a GPU", gpu, false, "", ""},
		{
			"built for another processor", func(r *Report) { r.ISAs[1].Has = false },
			true, "built for a processor with AVX2, which this one lacks", "make dist",
		},
		{
			"a baseline build", func(r *Report) { r.ISAs[1].Built = false },
			false, "no use of this processor's AVX2", "make dist into /opt/aim/lib/ollama",
		},
		{"a baseline build with the best variant", func(r *Report) {
			r.ISAs[1].Built, r.Backends[0].Used = false, false
			r.Backends = append(r.Backends, Backend{
				Name: "CPU", Library: "/opt/aim/lib/ollama/libggml-cpu-haswell.so", Used: true, Features: []string{"AVX2", "FMA"},
			})
		}, false, "", ""},
		{"a build for this machine beside older kernels", func(r *Report) {
			r.Backends[0].Used, r.Backends[0].Features = false, []string{"AVX2", "AVX512_VNNI"}
			r.Backends = append(r.Backends, Backend{Name: "CPU", Library: "/l/libggml-cpu-haswell.so", Used: true, Features: []string{"AVX2"}})
		}, false, "/l/libggml-cpu-haswell.so computes, though the program's own kernels make more of this processor (AVX512_VNNI)", "out of that folder"},
		{
			"folders named that are not there", func(r *Report) { r.Flags.LibrariesNamed = true },
			true, "LIBRARIES names /opt/aim/lib/ollama, which does not exist", "unset",
		},
		{"a folder named that is passed over", func(r *Report) {
			r.Flags.LibrariesNamed, r.Folders = true, []Folder{{Path: "/usr/lib", Exists: true, Skipped: true}}
		}, true, `"lib/ollama" is not in its path`, "lib/ollama"},
		{"CUDA without a driver", func(r *Report) {
			r.Folders[0] = Folder{Path: "/l", Exists: true, Libraries: []Library{{
				File: "libggml-cuda.so", Problem: "libcuda.so.1: cannot open shared object file: No such file or directory",
			}}}
		}, false, "/l/libggml-cuda.so cannot be loaded: libcuda.so.1", "the processor computes"},
		{"a back end without a device", func(r *Report) {
			r.Backends = append(r.Backends, Backend{Name: "CUDA", Used: true})
		}, false, "CUDA has no device", "nvidia-smi"},
		{
			"layers for no GPU", func(r *Report) { r.Flags.GPULayers = 7 },
			true, "--gpu-layers 7, but there is no GPU", "make cuda",
		},
		{"layers that do not fit the GPU", func(r *Report) {
			gpu(r)
			r.Devices[1].Free = 3 * gib
		}, true, "31 layers need 4 GiB of CUDA0, of which 3 GiB", "auto"},
		{"too many threads", func(r *Report) { r.Flags.Threads = 9 }, false, "9 threads have to share 8", "--threads 8"},
		{"a quota", func(r *Report) { r.Processor.Quota = 1.5 }, false, "8 threads have to share 1.5", "--threads 2"},
		{
			"no model", func(r *Report) { r.Model, r.Models = nil, Models{Folder: "/models", Problem: "there is none"} },
			true, "there is none", "make model",
		},
		{
			"several models", func(r *Report) { r.Model, r.Models = nil, Models{Folder: "/models", Count: 2, Problem: "which?"} },
			true, "which?", "aim doctor MODEL",
		},
		{
			"a broken model beside it", func(r *Report) { r.Models.Broken = map[string]string{"half": "it is cut off"} },
			false, "half in the models folder cannot be used: it is cut off", "fetch",
		},
		{
			"a long context", func(r *Report) { r.Model.Context = 8193 },
			true, "--ctx 8193 is more than the 8192", "--ctx 8192",
		},
		{"no template", func(r *Report) { r.Model.Template = false }, false, "no chat template", "--chat-template"},
		{
			"a template that is none", func(r *Report) { r.Model.TemplateProblem = "line 1: what?" },
			true, "line 1: what?", "--chat-template",
		},
		{
			"unknown needs", func(r *Report) { r.Model.Main, r.Model.NeedsProblem = Need{}, "strange" },
			false, "is not known: strange", "watch",
		},
		{
			"more than the machine has", func(r *Report) { r.Model.Main.KV = 20 * gib },
			true, "needs 22 GiB of memory (weights 1 GiB, KV cache 20 GiB for 4 × 4096 tokens, computing about 1 GiB), and the machine's memory is 16 GiB",
			"--slots 2, or --ctx 2816",
		},
		{
			"one slot is too long", func(r *Report) { r.Model.Main.KV = 80 * gib },
			true, "needs 82 GiB", "--slots 1 --ctx 2816",
		},
		{"more than the control group may", func(r *Report) {
			r.Memory.Limit, r.Memory.Used = 3*gib, 0
		}, true, "the control group's limit is 3 GiB", "--slots 2, or --ctx 2048"},
		{
			"too large a model", func(r *Report) { r.Model.Main.Weights = 40 * gib },
			true, "needs 43 GiB", "smaller model",
		},
		{
			"a busy machine", func(r *Report) { r.Memory.Available = 2 * gib },
			false, "of which only 2 GiB is free now", "end other programs; or --slots 2, or --ctx 2048",
		},
		{"a state folder of others", func(r *Report) { r.State.Problem = "permission denied" }, true, "permission denied", "--state-dir"},
		{"an open secret", func(r *Report) { r.State.SecretProblem = "open to other users" }, true, "open to other users", "secret"},
	} {
		r := well()
		c.spoil(r)
		r.Diagnose()
		var text strings.Builder
		if err := r.Write(&text); err != nil {
			t.Fatal(err)
		}
		if c.what == "" {
			if len(r.Findings) != 0 || !r.Well() || !strings.Contains(text.String(), "Nothing is wrong.") {
				t.Errorf("%s: found %+v", c.name, r.Findings)
			}
			continue
		}
		if len(r.Findings) != 1 {
			t.Errorf("%s: found %+v", c.name, r.Findings)
			continue
		}
		f := r.Findings[0]
		if f.Fatal != c.fatal || r.Well() == c.fatal || !strings.Contains(f.What, c.what) || !strings.Contains(f.Do, c.do) {
			t.Errorf("%s: found %+v, want fatal %v, %q and %q", c.name, f, c.fatal, c.what, c.do)
		}
		if !strings.Contains(text.String(), f.What) || !strings.Contains(text.String(), f.Do) {
			t.Errorf("%s is not printed:\n%s", c.name, text.String())
		}
	}
}

// TestWorstFirst holds the order of findings, and that diagnosing again finds the same.
func TestWorstFirst(t *testing.T) {
	r := well()
	r.Model.Template, r.State.Problem, r.Flags.Threads = false, "no", 100
	for range 2 {
		r.Diagnose()
		if len(r.Findings) != 3 || !r.Findings[0].Fatal || r.Findings[1].Fatal || r.Findings[2].Fatal {
			t.Errorf("%+v", r.Findings)
		}
	}
}

// TestWrite prints what a healthy report has, and JSON that reads back.
func TestWrite(t *testing.T) {
	r := well()
	gpu(r)
	r.Folders[0] = Folder{Path: "/l", Exists: true, Libraries: []Library{
		{File: "libggml-cpu-haswell.so", Loaded: true}, {File: "libggml-cpu-icelake.so", Unfit: true}, {File: "libggml-cpu-x64.so"},
	}}
	r.Memory.Limit, r.Memory.Used = 8*gib, 1*gib
	r.Diagnose()
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Some Processor: 4 cores, 8 threads to use", "SSE3 AVX2", "the control group may use 8 GiB and uses 1 GiB",
		"cpu-haswell (loaded), cpu-icelake (for other processors), cpu-x64", "A GPU, GPU: 8 GiB, 8 GiB free",
		"KV cache 2 GiB (512 MiB a slot)", "31 of 31", "/state/secret, mode 0600",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	content, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(content, &back); err != nil || back.Model.Main != r.Model.Main || back.Memory != r.Memory {
		t.Errorf("%v\n%s", err, content)
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "0.977 KiB", 1 << 20: "1 MiB", 96_573_849: "92.1 MiB", 1 << 40: "1 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
