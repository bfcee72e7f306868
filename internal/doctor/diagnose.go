package doctor

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// Diagnose judges the facts and sets Findings, those that keep something from working first.
func (r *Report) Diagnose() {
	r.Findings = nil
	r.instructions()
	r.outranked()
	r.folders()
	r.gpus()
	r.threads()
	r.model()
	r.mainMemory()
	r.gpuMemory()
	r.state()
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		switch {
		case a.Fatal == b.Fatal:
			return 0
		case a.Fatal:
			return -1
		}
		return 1
	})
}

func (r *Report) fatal(do, what string, args ...any) {
	r.Findings = append(r.Findings, Finding{Fatal: true, What: fmt.Sprintf(what, args...), Do: do})
}

func (r *Report) warn(do, what string, args ...any) {
	r.Findings = append(r.Findings, Finding{What: fmt.Sprintf(what, args...), Do: do})
}

// kernels are the instruction sets that make llama.cpp's kernels several times faster.
var kernels = []string{"AVX2", "FMA", "F16C", "AVX512F", "AVX512-VNNI", "DOTPROD", "I8MM"}

// instructions compares what the program was built for with what there is.
func (r *Report) instructions() {
	var lacks, unused []string
	for _, isa := range r.ISAs {
		switch {
		case isa.Built && !isa.Has:
			lacks = append(lacks, isa.Name)
		case isa.Has && !isa.Built && slices.Contains(kernels, isa.Name):
			unused = append(unused, isa.Name)
		}
	}
	if len(lacks) > 0 {
		r.fatal("build it on this machine (make build), or take one that runs on all (make dist)",
			"the program was built for a processor with %s, which this one lacks", strings.Join(lacks, ", "))
	}
	if len(unused) > 0 && !r.loadedProcessor() {
		r.warn("build it on this machine (make build), or put the libraries of make dist into "+r.libraryFolder(),
			"the program makes no use of this processor's %s: it computes several times slower than it could", strings.Join(unused, ", "))
	}
}

// outranked finds a loaded back end for the processor that makes use of less than the program's own: ggml prefers any that is loaded.
func (r *Report) outranked() {
	var own, used *Backend
	for i := range r.Backends {
		switch b := &r.Backends[i]; {
		case b.Name == "CPU" && b.Library == "":
			own = b
		case b.Name == "CPU" && b.Used:
			used = b
		}
	}
	if own == nil || used == nil {
		return
	}
	var lost []string
	for _, f := range own.Features {
		if !slices.Contains(used.Features, f) {
			lost = append(lost, f)
		}
	}
	if len(lost) > 0 {
		r.warn("take it and its like out of that folder: this program was built for this machine, and needs none of them",
			"%s computes, though the program's own kernels make more of this processor (%s)", used.Library, strings.Join(lost, ", "))
	}
}

// loadedProcessor says that the processor's work is done by a loaded back end, which was chosen for this processor.
func (r *Report) loadedProcessor() bool {
	return slices.ContainsFunc(r.Backends, func(b Backend) bool { return b.Name == "CPU" && b.Used && b.Library != "" })
}

func (r *Report) libraryFolder() string {
	if len(r.Folders) > 0 {
		return r.Folders[0].Path
	}
	return "../lib/ollama as seen from the program"
}

// folders judges where loadable back ends were looked for, and what could not be loaded.
func (r *Report) folders() {
	for _, f := range r.Folders {
		if r.Flags.LibrariesNamed {
			switch {
			case !f.Exists:
				r.fatal("correct it, or unset it", "%s names %s, which does not exist", r.Flags.LibraryVariable, f.Path)
			case f.Skipped:
				r.fatal("put the libraries into a folder lib/ollama", `%s names %s, where nothing is looked for, since "lib/ollama" is not in its path`,
					r.Flags.LibraryVariable, f.Path)
			}
		}
		for _, l := range f.Libraries {
			if l.Problem != "" {
				r.warn(loadAdvice(l), "%s cannot be loaded: %s", filepath.Join(f.Path, l.File), l.Problem)
			}
		}
	}
}

// loadAdvice is what helps against a library that cannot be loaded.
func loadAdvice(l Library) string {
	switch {
	case strings.Contains(l.Problem, "libcuda.so"):
		return "without NVIDIA's driver, whose part it is, there is no GPU to use, and the processor computes; where there is one, install the driver"
	case strings.Contains(l.Problem, "cannot open shared object file"):
		return "put that library beside it, or install it; until then the processor computes"
	}
	return "build it anew from this version (make dist, make cuda); until then the processor computes"
}

// gpus tells of GPU back ends without a device, and of layers for GPUs that are not there.
func (r *Report) gpus() {
	there := slices.ContainsFunc(r.Devices, func(d Device) bool { return d.GPU })
	for _, b := range r.Backends {
		has := slices.ContainsFunc(r.Devices, func(d Device) bool { return d.Backend == b.Name })
		if !has {
			r.warn("check that the system's own tool sees the device (such as nvidia-smi) and that this user may use it",
				"the back end %s has no device; the processor computes", b.Name)
		}
	}
	if !there && r.Flags.GPULayers > 0 {
		r.fatal("leave --gpu-layers away, or build a back end for the GPU (make cuda)",
			"--gpu-layers %d, but there is no GPU to put them on", r.Flags.GPULayers)
	}
}

func (r *Report) threads() {
	have := float64(r.Processor.Threads)
	if r.Processor.Quota > 0 {
		have = min(have, r.Processor.Quota)
	}
	if n := r.Flags.Threads; float64(n) > math.Ceil(have) {
		r.warn(fmt.Sprintf("--threads %d", int(math.Ceil(have))), "%d threads have to share %g processors, and wait for each other most of the time", n, have)
	}
}

// model judges the files, and what the header of the model's says.
func (r *Report) model() {
	for _, name := range slices.Sorted(maps.Keys(r.Models.Broken)) {
		r.warn("fetch it again, or delete it", "%s in the models folder cannot be used: %s", name, r.Models.Broken[name])
	}
	m := r.Model
	if m == nil {
		do := "name one: aim doctor MODEL"
		if r.Models.Count == 0 {
			do = "fetch a small one (make model), or put a GGUF file into the folder"
		}
		r.fatal(do, "%s", r.Models.Problem)
		return
	}
	if m.Trained > 0 && m.Context > m.Trained {
		r.fatal(fmt.Sprintf("--ctx %d or less", m.Trained), "--ctx %d is more than the %d tokens that %s was trained on", m.Context, m.Trained, m.Name)
	}
	switch {
	case m.TemplateProblem != "":
		r.fatal("give another one with --chat-template", "the chat template cannot be used: %s", m.TemplateProblem)
	case !m.Template:
		r.warn("give one with --chat-template, or take the model's variant for chats",
			"%s has no chat template: completions work, chats are refused", m.Name)
	}
	if m.NeedsProblem != "" {
		r.warn("watch the memory when it is loaded", "what %s needs is not known: %s", m.Name, m.NeedsProblem)
	}
}

// mainMemory compares what the model needs with what there is.
func (r *Report) mainMemory() {
	if r.Model == nil || r.Model.Main.Total() == 0 {
		return
	}
	need, usable, free := r.Model.Main, r.Memory.Usable(), r.Memory.Free()
	parts := fmt.Sprintf("weights %s, KV cache %s for %d × %d tokens, computing about %s", Bytes(need.Weights), Bytes(need.KV),
		r.Flags.Slots, r.Model.Context, Bytes(need.Compute))
	switch {
	case usable > 0 && need.Total() > usable:
		r.fatal(r.smaller(need, usable), "%s needs %s of memory (%s), and the %s is %s", r.Model.Name, Bytes(need.Total()), parts, r.bound(), Bytes(usable))
	// Weights are mapped from the file: they push others out, but need not be free.
	case free > 0 && need.KV+need.Compute > free:
		r.warn("end other programs; or "+r.smaller(need, need.Weights+free), "%s needs %s of memory (%s), of which only %s is free now",
			r.Model.Name, Bytes(need.Total()), parts, Bytes(free))
	}
}

// bound names what limits the memory.
func (r *Report) bound() string {
	if r.Memory.Usable() == r.Memory.Limit && r.Memory.Limit > 0 {
		return "control group's limit"
	}
	return "machine's memory"
}

// smaller is the advice that makes a need fit: fewer slots, or else a shorter context, or else another model.
func (r *Report) smaller(need Need, room int64) string {
	left := room - need.Weights - need.Compute
	slots, tokens := int64(r.Flags.Slots), int64(r.Model.Context)
	if need.KV == 0 || left <= 0 {
		return "take a smaller model, or one quantized to fewer bits"
	}
	if fit := left * slots / need.KV; fit >= 1 {
		return fmt.Sprintf("--slots %d, or --ctx %d", fit, max(1, left*tokens/need.KV/256*256))
	}
	if fit := left * tokens * slots / need.KV / 256 * 256; fit >= 256 {
		return fmt.Sprintf("--slots 1 --ctx %d", fit)
	}
	return "take a smaller model, or one quantized to fewer bits"
}

// gpuMemory compares each GPU's part with its free memory.
func (r *Report) gpuMemory() {
	if r.Model == nil {
		return
	}
	gpu := 0
	for _, d := range r.Devices {
		if !d.GPU {
			continue
		}
		if gpu < len(r.Model.GPUs) {
			if need := r.Model.GPUs[gpu].Total(); need > d.Free {
				r.fatal("--gpu-layers auto takes as many as fit", "%d layers need %s of %s, of which %s is free", r.Model.GPULayers, Bytes(need), d.Name, Bytes(d.Free))
			}
		}
		gpu++
	}
}

func (r *Report) state() {
	if r.State.Problem != "" {
		r.fatal("give another folder with --state-dir, or the right to write there", "the state folder %s cannot be written to: %s", r.State.Folder, r.State.Problem)
	}
	if r.State.SecretProblem != "" {
		r.fatal("see docs/modulation.md for what the secret is for", "the owner's secret cannot be used: %s", r.State.SecretProblem)
	}
}
