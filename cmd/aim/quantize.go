package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"aim/llama/cpp"
	"aim/models"
)

func newQuantize() *cobra.Command {
	var o cpp.QuantizeOptions
	var tensors []string
	cmd := &cobra.Command{
		Use:   "quantize MODEL TYPE [OUT]",
		Short: "Write a model with its weights stored as another type",
		Long: `Writes the weights of a GGUF file as another type, with llama.cpp's quantizer. Types with fewer bits make smaller files and lose
more; which are fast depends on the processor (see aim optimize). A model that is quantized already may be quantized again, but
what it lost by then is not regained.

OUT is a file or a folder; without it the file goes beside the model. It appears whole or not at all.

Types: ` + strings.Join(cpp.FileTypes(), ", ") + `.
Types of single tensors: ` + strings.Join(cpp.TensorTypes(), ", ") + `.`,
		Example: `  aim quantize SmolLM2-135M-Instruct.Q4_1 Q8_0
  aim quantize model-f16.gguf Q5_K_M model-small.gguf --output-type Q8_0
  aim quantize model-f16.gguf Q4_0 --tensor-type ffn_down=Q8_0,attn_v=Q8_0`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, t := range tensors {
				name, kind, ok := strings.Cut(t, "=")
				if !ok {
					return usageError{fmt.Errorf("--tensor-type: %q is not part of a tensor's name and a type, such as ffn_down=Q8_0", t)}
				}
				o.Tensors = append(o.Tensors, cpp.TensorType{Name: name, Type: kind})
			}
			o.Type = strings.ToUpper(args[1])
			ctx, stop := interruptible(cmd)
			defer stop()
			return runQuantize(ctx, args[0], append(args, "")[2], o, streamsOf(cmd))
		},
		ValidArgsFunction: completeQuantize,
	}
	f := cmd.Flags()
	f.StringVar(&o.Output, "output-type", "", "type of the output matrix, which is the token embeddings where a model has no other (default: llama.cpp's choice)")
	f.StringVar(&o.Embedding, "embedding-type", "", "type of the token embeddings (default: llama.cpp's choice)")
	f.StringSliceVar(&tensors, "tensor-type", nil, "types of single tensors: part of their names, =, and the type")
	intVar(f, &o.Threads, "threads", runtime.GOMAXPROCS(0), 1, 512, "threads that compute")
	f.BoolVar(&o.Replace, "force", false, "replace a file that exists")
	return cmd
}

// completeQuantize completes a model, then a type.
func completeQuantize(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return completeModels(cmd, args, prefix)
	case 1:
		return cpp.FileTypes(), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// runQuantize writes model as o says to the path out, into the folder out, or where that is empty beside the model.
func runQuantize(ctx context.Context, model, out string, o cpp.QuantizeOptions, std streams) error {
	quiet := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slog.SetDefault(quiet)
	cpp.SetLogger(quiet)
	dir, err := models.Folder()
	if err != nil {
		return err
	}
	source, err := models.Find(dir, model)
	if err != nil {
		return err
	}
	target := quantizedPath(source, out, o.Type)
	o.Progress = progressLine(std.err, "quantizing")
	start := time.Now()
	if err := cpp.Quantize(ctx, source, target, o); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w; --force replaces it", err)
		}
		return err
	}
	return printQuantized(std.out, source, target, time.Since(start))
}

// typeInName is a type at the end of a model's name.
var typeInName = regexp.MustCompile(`(?i)[.-]((I?Q|TQ)[0-9][0-9A-Z_]*|B?F16|F32|FP16)$`)

// quantizedPath is where a model of a type goes: the type at the end of its name gives way to the new one.
func quantizedPath(source, out, kind string) string {
	if info, err := os.Stat(out); out != "" && (err != nil || !info.IsDir()) {
		return out
	}
	if out == "" {
		out = filepath.Dir(source)
	}
	name := models.Name(source)
	if bare := typeInName.ReplaceAllString(name, ""); bare != "" {
		name = bare
	}
	return filepath.Join(out, name+"."+kind+".gguf")
}

// printQuantized says what was written.
func printQuantized(w io.Writer, source, target string, took time.Duration) error {
	before, err := models.Read(source)
	if err != nil {
		return err
	}
	after, err := models.Read(target)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s: %s, %s (%s was %s, %s), in %.1f s\n", target, after.Quantization, scaled(float64(after.Size), "B"),
		filepath.Base(source), before.Quantization, scaled(float64(before.Size), "B"), took.Seconds())
	return err
}
