// Package doctor says whether a machine, a build and a model go together. It judges facts that its caller has gathered, and
// prints them.
package doctor

import "aim/internal/machine"

// Report is what was looked at and what was found. Sizes are in bytes.
type Report struct {
	Version  string   `json:"version"`
	Platform string   `json:"platform"` // as Go puts it, such as linux/amd64
	Flags    Settings `json:"settings"`

	Processor machine.CPU    `json:"processor"`
	Memory    machine.Memory `json:"memory"`
	ISAs      []ISA          `json:"instruction_sets"`
	Backends  []Backend      `json:"backends"`
	Folders   []Folder       `json:"library_folders"`
	Devices   []Device       `json:"devices"`

	Models Models `json:"models"`
	Model  *Model `json:"model"` // nil where none was found
	State  State  `json:"state"`

	Findings []Finding `json:"findings"`
}

// Settings are the flags that the judgement depends on, as they are given.
type Settings struct {
	Slots   int `json:"slots"`
	Context int `json:"ctx"` // 0 for the default
	Batch   int `json:"batch"`
	Threads int `json:"threads"`
	// GPULayers are those asked for by number, 0 where it was left to the program.
	GPULayers int `json:"gpu_layers,omitempty"`
	// LibraryVariable is the name of the environment variable of the library folders, LibrariesNamed whether it is set.
	LibraryVariable string `json:"-"`
	LibrariesNamed  bool   `json:"libraries_named"`
}

// ISA is an instruction set, whether the program itself was built for it and whether the machine has it.
type ISA struct {
	Name  string `json:"name"`
	Built bool   `json:"built"`
	Has   bool   `json:"has"`
}

// Backend is a way to compute.
type Backend struct {
	Name     string   `json:"name"`
	Library  string   `json:"library"` // "" where it is part of the program
	Features []string `json:"features"`
	// Used says that the processor's work, or a GPU's, is done by it.
	Used bool `json:"used"`
}

// Folder is one in which loadable back ends were looked for.
type Folder struct {
	Path      string    `json:"path"`
	Exists    bool      `json:"exists"`
	Skipped   bool      `json:"skipped"`
	Libraries []Library `json:"libraries"`
}

// Library is a file of a back end.
type Library struct {
	File    string `json:"file"`
	Loaded  bool   `json:"loaded"`
	Unfit   bool   `json:"unfit"`   // for other processors
	Problem string `json:"problem"` // why it cannot be loaded
}

// Device is something to compute on.
type Device struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Backend     string `json:"backend"`
	Kind        string `json:"kind"`
	GPU         bool   `json:"gpu"` // layers can be moved to it
	Free        int64  `json:"free"`
	Total       int64  `json:"total"`
}

// Models is the models folder.
type Models struct {
	Folder string `json:"folder"`
	Count  int    `json:"count"`
	// Broken are the files that cannot be used, and why.
	Broken map[string]string `json:"broken"`
	// Problem is why there is no Model.
	Problem string `json:"problem"`
}

// Model is the one to run, and what it takes under the settings.
type Model struct {
	Name         string `json:"name"`
	Path         string `json:"path"`
	Architecture string `json:"architecture"`
	Quantization string `json:"quantization"`
	Parameters   uint64 `json:"parameters"`
	Trained      int    `json:"trained_context"` // tokens, 0 where the file does not say
	Context      int    `json:"context"`         // tokens of a slot
	// Template says that there is a chat template, TemplateProblem why it cannot be used.
	Template        bool   `json:"chat_template"`
	TemplateProblem string `json:"chat_template_problem"`

	Layers    int    `json:"layers"`     // that can be offloaded, the output layer included
	GPULayers int    `json:"gpu_layers"` // that will be
	Main      Need   `json:"main"`
	GPUs      []Need `json:"gpus"`
	// NeedsProblem is why the needs are not known.
	NeedsProblem string `json:"needs_problem"`
}

// Need is memory that the model takes in one place.
type Need struct {
	Weights int64 `json:"weights"`
	KV      int64 `json:"kv"` // of all slots
	Compute int64 `json:"compute"`
}

// Total is all of it.
func (n Need) Total() int64 { return n.Weights + n.KV + n.Compute }

// State is where secret and calibrations are.
type State struct {
	Folder string `json:"folder"`
	// Problem is why it cannot be written to.
	Problem string `json:"problem"`
	// Secret is the path of the owner's secret, SecretMode its permissions ("" where there is none yet) and SecretProblem why it
	// cannot be used.
	Secret        string `json:"secret"`
	SecretMode    string `json:"secret_mode"`
	SecretProblem string `json:"secret_problem"`
}

// Finding is something that is not as it should be.
type Finding struct {
	// Fatal findings keep something from working that was asked for; the others make it slower, or may surprise.
	Fatal bool   `json:"fatal"`
	What  string `json:"what"`
	Do    string `json:"do"`
}

// Well says that everything will work.
func (r *Report) Well() bool {
	for _, f := range r.Findings {
		if f.Fatal {
			return false
		}
	}
	return true
}
