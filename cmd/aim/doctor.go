package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"aim/internal/chat"
	"aim/internal/doctor"
	"aim/internal/machine"
	"aim/internal/state"
	"aim/llama/cpp"
	"aim/models"
)

func newDoctor() *cobra.Command {
	var o engineOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [MODEL]",
		Short: "Say whether machine, build and model go together",
		Long: `Prints the processor's features and which of them are used, the back ends and devices that were found and where they were
looked for, memory and its limits, what a model needs under the given flags, and the folders of models and state. Below it
says what is wrong, and what to do.

It takes the flags of serve, to judge what serve would do, and reads of the model only the header: it is quick, and what the
model takes to compute is an estimate. The exit status is 1 where something will not work.`,
		Example: `  aim doctor
  aim doctor SmolLM2-135M-Instruct.Q4_1 --slots 16 --ctx 8192
  aim doctor --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if cmd.Flags().Changed("model") {
					return usageError{fmt.Errorf("the model is named twice, as %s and by --model", args[0])}
				}
				o.model = args[0]
			}
			return runDoctor(o, asJSON, streamsOf(cmd))
		},
		ValidArgsFunction: completeModels,
	}
	o.flags(cmd)
	o.sequenceFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// errUnwell sets the exit status; the report has said why.
var errUnwell = errors.New("something will not work as it is, see above")

func runDoctor(o engineOptions, asJSON bool, std streams) error {
	if err := o.check(); err != nil {
		return err
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil)) // what is wrong is found out here
	slog.SetDefault(quiet)
	cpp.SetLogger(quiet)
	r, err := o.examine()
	if err != nil {
		return err
	}
	r.Diagnose()
	if asJSON {
		encoder := json.NewEncoder(std.out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(r)
	} else {
		err = r.Write(std.out)
	}
	if err == nil && !r.Well() {
		err = errUnwell
	}
	return err
}

// examine gathers the facts.
func (o *engineOptions) examine() (*doctor.Report, error) {
	r := &doctor.Report{
		Version: version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Processor: machine.Processors(), Memory: machine.MainMemory(),
		Flags: doctor.Settings{
			Slots: o.slots, Context: o.context, Batch: o.batch, Threads: o.threads, GPULayers: max(0, o.gpuLayers),
			LibraryVariable: cpp.LibraryPathVariable,
		},
	}
	_, r.Flags.LibrariesNamed = os.LookupEnv(cpp.LibraryPathVariable)
	devices := cpp.Devices()
	examineHardware(r, devices)
	if err := o.examineState(r); err != nil {
		return nil, err
	}
	return r, o.examineModel(r)
}

func examineHardware(r *doctor.Report, devices []cpp.Device) {
	for _, isa := range cpp.ISAs() {
		r.ISAs = append(r.ISAs, doctor.ISA{Name: isa.Name, Built: isa.Built, Has: isa.Has})
	}
	processor := "" // the library of the one that computes
	for _, d := range devices {
		if d.Kind == cpp.Processor {
			processor = d.Library
			break
		}
	}
	for _, b := range cpp.Backends() {
		r.Backends = append(r.Backends, doctor.Backend{
			Name: b.Name, Library: b.Library, Features: b.Features, Used: b.Name != "CPU" || b.Library == processor,
		})
	}
	for _, d := range devices {
		r.Devices = append(r.Devices, doctor.Device{
			Name: d.Name, Description: d.Description, Backend: d.Backend, Kind: d.Kind.String(), GPU: d.Kind.Offloads(),
			Free: d.Free, Total: d.Total,
		})
	}
	for _, f := range cpp.LibraryFolders() {
		folder := doctor.Folder{Path: f.Path, Exists: f.Exists, Skipped: f.Skipped}
		for _, l := range f.Libraries {
			folder.Libraries = append(folder.Libraries, doctor.Library{File: l.File, Loaded: l.Loaded, Unfit: l.Unfit, Problem: l.Problem})
		}
		r.Folders = append(r.Folders, folder)
	}
}

// examineModel finds the model and what it needs.
func (o *engineOptions) examineModel(r *doctor.Report) error {
	dir, err := models.Folder()
	if err != nil {
		return err
	}
	r.Models = doctor.Models{Folder: dir, Broken: map[string]string{}}
	paths, err := models.Files(dir)
	if err != nil {
		r.Models.Problem = err.Error()
	}
	r.Models.Count = len(paths)
	for _, p := range paths {
		if _, err := models.Read(p); err != nil {
			r.Models.Broken[models.Name(p)] = err.Error()
		}
	}
	path, err := models.Find(dir, o.model)
	if err != nil {
		r.Models.Problem = err.Error()
		return nil //nolint:nilerr // it is part of the report
	}
	facts, err := models.Read(path)
	if err != nil {
		r.Models.Problem = fmt.Sprintf("%s cannot be used: %v", path, err)
		return nil //nolint:nilerr // as above
	}
	r.Model = &doctor.Model{
		Name: models.Name(path), Path: path, Architecture: facts.Architecture, Quantization: facts.Quantization,
		Parameters: facts.Parameters, Trained: facts.Context,
	}
	e, err := models.NewEstimator(path)
	if err != nil {
		r.Model.NeedsProblem = err.Error()
		return nil //nolint:nilerr // as above
	}
	o.examineTemplate(r.Model, e.ChatTemplate())
	return o.examineNeeds(r.Model, e)
}

func (o *engineOptions) examineTemplate(m *doctor.Model, source string) {
	if o.template != "" {
		text, err := os.ReadFile(o.template)
		if err != nil {
			m.TemplateProblem = err.Error()
			return
		}
		source = string(text)
	}
	m.Template = source != ""
	if _, err := chat.Compile(source, chat.Options{}); m.Template && err != nil {
		m.TemplateProblem = err.Error()
	}
}

// examineNeeds places the model as openEngine would. It fails where GPUs are named that are not there.
func (o *engineOptions) examineNeeds(m *doctor.Model, e *models.Estimator) error {
	devices := gpus()
	if _, err := o.gpu.split(devices); err != nil {
		return err
	}
	setup := o.setup(e)
	m.Context, m.Layers = setup.Context, e.Layers()
	setup, free := o.gpu.setup(setup, devices)
	switch {
	case len(devices) == 0:
	case o.gpuLayers == autoLayers:
		setup.GPULayers, _ = e.Fit(setup, free) // Needs fails the same way
	case o.gpuLayers == allLayers:
		setup.GPULayers = m.Layers
	default:
		setup.GPULayers = min(o.gpuLayers, m.Layers)
	}
	needs, err := e.Needs(setup)
	if err != nil {
		m.NeedsProblem = err.Error()
		return nil //nolint:nilerr // it is part of the report
	}
	m.GPULayers, m.Main = setup.GPULayers, need(needs.Main)
	m.GPUs = make([]doctor.Need, len(devices))
	for i, n := range needs.GPUs {
		if o.gpu.mode == "none" {
			i = o.gpu.main
		}
		if i < len(m.GPUs) {
			m.GPUs[i] = need(n)
		}
	}
	return nil
}

func need(n models.Need) doctor.Need {
	return doctor.Need{Weights: n.Weights, KV: n.KV, Compute: n.Compute}
}

// examineState looks at the state folder without making anything that stays.
func (o *engineOptions) examineState(r *doctor.Report) error {
	dir, err := stateFolder(o.stateDir)
	if err != nil {
		return err
	}
	r.State = doctor.State{Folder: dir, Secret: filepath.Join(dir, "secret")}
	if err := writable(dir); err != nil {
		r.State.Problem = err.Error()
	}
	named := os.Getenv("AIM_SECRET_FILE")
	if named != "" {
		r.State.Secret = named
	}
	info, err := os.Stat(r.State.Secret)
	switch {
	case err == nil:
		r.State.SecretMode = fmt.Sprintf("%04o", info.Mode().Perm())
	case named == "" && errors.Is(err, fs.ErrNotExist):
		return nil // it is made at the first start
	}
	if _, err := state.Secret(dir); err != nil {
		r.State.SecretProblem = err.Error()
	}
	return nil
}

// writable tries whether files can be made in a folder, or in the nearest one above it that exists, where it would be made.
func writable(dir string) error {
	for {
		f, err := os.CreateTemp(dir, ".aim-doctor-")
		if err == nil {
			return errors.Join(f.Close(), os.Remove(f.Name()))
		}
		above := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || above == dir {
			return err
		}
		dir = above
	}
}
