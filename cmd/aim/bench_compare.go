package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aim/internal/bench"
)

// noPeer is the word for a comparison of Aim with itself alone.
const noPeer = "none"

// compareOptions are the flags of bench compare.
type compareOptions struct {
	loadOptions
	model, peer, doc, plot                      string
	aim, aimFlags                               string
	otherName, otherAim, otherModel, otherFlags string
	threads, seed                               int
	command                                     string
}

func newBenchCompare() *cobra.Command {
	var o compareOptions
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare Aim with llama-server, side by side on this machine",
		Long: `Starts Aim and llama-server with the same model file, threads, slots and context, and measures them by turns: in each round
every server is started afresh, alone, and gets the same prompts. llama-server takes part with both kinds of its KV cache, and
each ratio is to the one that is better at it. Beside the loads of aim bench, there are

  memory  the most that a server holds with 16 slots of 1024    busy  beside a process that keeps one core busy
  start   process start to first token                          idle  distinct prompts once the cache is full of others

All of it takes 20 to 25 minutes on two cores, --quick 5. With --json a later run adds its loads to the file.
scripts/llama-server builds llama-server; without it, Aim is measured alone. A second Aim, of another build, model file or flags,
can take part as well: --other-aim, --other-model, --other-flags.`,
		Example: `  aim bench compare --quick
  aim bench compare --scenario shared,again --rounds 3 --json bench.json
  aim bench compare --scenario distinct --clients 8 --peer none --other-flags "--unified-kv"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			scenarios, err := o.settle(cmd)
			if err != nil {
				return err
			}
			o.command = commandLine(cmd)
			ctx, stop := interruptible(cmd)
			defer stop()
			return o.run(ctx, scenarios, streamsOf(cmd))
		},
	}
	o.flags(cmd, bench.Names())
	f := cmd.Flags()
	f.StringVar(&o.model, "model", "", "path of a GGUF file, or name of a model in the models folder (default: the only one there)")
	f.StringVar(&o.peer, "peer", "", "path of llama-server (default: what scripts/llama-server built); "+noPeer+" for Aim alone")
	f.StringVar(&o.doc, "doc", "", "Markdown file to write the report into, between its marks, with a plot (SVG) of the same name beside it")
	f.StringVar(&o.plot, "plot", "", "file for the plot: .svg or .png")
	f.StringVar(&o.aim, "aim", "", "path of the aim to measure (default: this one)")
	f.StringVar(&o.aimFlags, "aim-flags", "", "further flags of aim serve")
	f.StringVar(&o.otherName, "other-name", "Aim, other", "what to call a second Aim")
	f.StringVar(&o.otherAim, "other-aim", "", "path of a second aim to measure (default: the first)")
	f.StringVar(&o.otherModel, "other-model", "", "model of the second Aim (default: the same)")
	f.StringVar(&o.otherFlags, "other-flags", "", "further flags of the second aim serve")
	intVar(f, &o.threads, "threads", runtime.GOMAXPROCS(0), 1, 512, "threads that compute in each server")
	intVar(f, &o.Slots, "slots", o.Slots, 1, bench.MaxClients, "conversations that each server answers at once")
	intVar(f, &o.seed, "seed", int(o.Seed), 0, math.MaxInt32, "which prompts")
	complete(cmd, "model", completeModels)
	complete(cmd, "other-model", completeModels)
	return cmd
}

// commandLine is the command with the flags that were given, files by their names alone and without those that say where the
// outcome goes.
func commandLine(cmd *cobra.Command) string {
	words := []string{cmd.CommandPath()}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		switch f.Name {
		case "json", "doc", "plot", "peer":
			return
		case "aim", "other-aim", "model", "other-model":
			value = filepath.Base(value)
		}
		value = strings.Trim(value, "[]") // of lists
		if strings.ContainsAny(value, " ") {
			value = quote(value)
		}
		words = append(words, "--"+f.Name+"="+value)
	})
	return strings.Join(words, " ")
}

// run compares.
func (o *compareOptions) run(ctx context.Context, scenarios []*bench.Scenario, std streams) error {
	o.Seed = uint64(o.seed)
	dir, err := os.MkdirTemp("", "aim-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder for what is over
	model, err := findModel(o.model)
	if err != nil {
		return err
	}
	sides, err := o.sides(ctx, model, dir, std)
	if err != nil {
		return err
	}
	report := &bench.Report{
		Date: time.Now(), Command: o.command, Machine: bench.ThisMachine(), Model: filepath.Base(model),
		Threads: o.threads, Rounds: o.rounds, Options: o.Options,
	}
	for _, s := range sides {
		report.Sides = append(report.Sides, bench.SideInfo{Name: s.Name, Version: s.Version, Aim: s.Aim, Peer: s.Peer})
	}
	if err := o.mergeEarlier(report); err != nil { // before anything is measured
		return err
	}
	if busy := bench.Busy(); busy > 0.5 {
		fmt.Fprintf(std.err, "The machine is busy (load average %.1f): figures will be lower, and ratios less sure.\n", busy)
	}
	c := &bench.Comparison{
		Options: o.Options, Sides: sides, Scenarios: scenarios, Rounds: o.rounds, Model: model, Dir: dir,
		Took: func(s bench.Sample) { tellSample(std.err, s, o.rounds) },
		Refused: func(s *bench.Scenario, side *bench.Side, err error) {
			fmt.Fprintf(std.err, "%s is not measured on %s: %v\n", s.Name, side.Name, err)
		},
		Done: func(s *bench.Scenario, samples []bench.Sample) error {
			report.Samples = slices.DeleteFunc(report.Samples, func(x bench.Sample) bool { return x.Scenario == s.Name })
			report.Samples = append(report.Samples, samples...)
			if o.json == "" {
				return nil
			}
			return report.Save(o.json)
		},
	}
	err = c.Run(ctx)
	switch {
	case err != nil && ctx.Err() != nil && o.json != "":
		return fmt.Errorf("stopped; %s keeps the loads that were done", o.json)
	case err != nil && ctx.Err() != nil:
		return errors.New("stopped")
	case err != nil:
		return err
	}
	return o.write(report, std)
}

// mergeEarlier takes over what the file of --json holds, if it is there.
func (o *compareOptions) mergeEarlier(report *bench.Report) error {
	if o.json == "" {
		return nil
	}
	earlier, err := bench.Load(o.json)
	if err != nil || earlier == nil {
		return err
	}
	if err := report.Merge(earlier); err != nil {
		return fmt.Errorf("--json: %s cannot be added to: %w; give another name or remove it", o.json, err)
	}
	return nil
}

// write prints a report and writes it where it is asked to.
func (o *compareOptions) write(report *bench.Report, std streams) error {
	text := report.Markdown()
	fmt.Fprint(std.out, text)
	if o.plot != "" {
		if err := report.Plot(o.plot); err != nil {
			return err
		}
	}
	if o.doc == "" {
		return nil
	}
	svg := strings.TrimSuffix(o.doc, filepath.Ext(o.doc)) + ".svg"
	if err := report.Plot(svg); err != nil {
		return err
	}
	return bench.WriteInto(o.doc, fmt.Sprintf("%s\n![Tokens/s and time to the first token by the number of clients](%s)\n", text, filepath.Base(svg)))
}

// sides are the servers to compare: Aim, a second one if asked for, and llama-server twice if it is there.
func (o *compareOptions) sides(ctx context.Context, model, dir string, std streams) ([]bench.Side, error) {
	var err error
	binary := o.aim
	if binary == "" {
		if binary, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	state := filepath.Join(dir, "state")
	sides := []bench.Side{bench.AimSide("Aim", binary, model, state, o.threads, strings.Fields(o.aimFlags))}
	if o.otherAim != "" || o.otherModel != "" || o.otherFlags != "" {
		other := model
		if o.otherModel != "" {
			if other, err = findModel(o.otherModel); err != nil {
				return nil, err
			}
		}
		if o.otherAim != "" {
			binary = o.otherAim
		}
		sides = append(sides, bench.AimSide(o.otherName, binary, other, state, o.threads, strings.Fields(o.otherFlags)))
	}
	for i := range sides {
		flags := []string{o.aimFlags, o.otherFlags}[i]
		if sides[i].Version, err = aimVersion(ctx, sides[i].Binary, flags); err != nil {
			return nil, err
		}
	}
	peer, build, err := o.findPeer()
	if err != nil {
		return nil, err
	}
	if peer == "" {
		fmt.Fprintln(std.err, "llama-server takes no part: it is not there. scripts/llama-server builds it.")
		return sides, nil
	}
	if peer == noPeer {
		return sides, nil
	}
	for _, unified := range []bool{false, true} {
		s := bench.LlamaServerSide(peer, model, o.threads, unified)
		s.Version = build
		sides = append(sides, s)
	}
	return sides, nil
}

// aimVersion is what `aim version` says, with the flags of the side.
func aimVersion(ctx context.Context, binary, flags string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", binary, err)
	}
	var parts []string
	for line := range strings.Lines(string(out)) {
		parts = append(parts, strings.Join(strings.Fields(line), " "))
	}
	if flags != "" {
		parts = append(parts, "`"+flags+"`")
	}
	return strings.Join(parts, ", "), nil
}

// findPeer is the path of llama-server and where it is from: --peer, or the newest in the cache folder; "" without.
func (o *compareOptions) findPeer() (path, build string, err error) {
	switch o.peer {
	case noPeer:
		return noPeer, "", nil
	case "":
		cache, err := cacheFolder()
		if err != nil {
			return "", "", err
		}
		found, err := filepath.Glob(filepath.Join(cache, "llama-server-*", "llama-server"))
		if err != nil || len(found) == 0 {
			return "", "", err
		}
		path = found[len(found)-1]
	default:
		if path, err = exec.LookPath(o.peer); err != nil {
			return "", "", usageError{fmt.Errorf("--peer: %w", err)}
		}
	}
	build = "llama.cpp"
	if version, ok := strings.CutPrefix(filepath.Base(filepath.Dir(path)), "llama-server-"); ok {
		build += " of llama-cpp-python " + version + ", Release, for this processor without AMX"
	}
	return path, build, nil
}

// cacheFolder is where scripts/llama-server builds.
func cacheFolder() (string, error) {
	if dir := os.Getenv("AIM_CACHE"); dir != "" {
		return dir, nil
	}
	dir := os.Getenv("XDG_CACHE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".cache")
	}
	return filepath.Join(dir, "aim"), nil
}

// findModel is the path of a model that is named, or of the only one.
func findModel(name string) (string, error) {
	path, err := (&engineOptions{model: name}).find()
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
