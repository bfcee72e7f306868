package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"aim/internal/pull"
	"aim/models"
)

func newPull() *cobra.Command {
	var o pull.Options
	var quiet bool
	cmd := &cobra.Command{
		Use:   "pull SOURCE",
		Short: "Fetch a model into the models folder",
		Long: `Fetches a model into the models folder. SOURCE is

  hf:OWNER/REPO/FILE.gguf   a file in a repository of a hub; of a model in several files any one, all come
  hf:OWNER/REPO:Q4_K_M      the one model there that is quantized so
  hf:OWNER/REPO             lists the models that are there
  https://HOST/FILE.gguf    any URL, http too
  FILE.gguf                 a file of this machine, which is copied

Cut connections are taken up again, by the next run too, and a file that changed meanwhile is fetched anew. The model appears under
its name when it is whole, its checksum is that of --sha256 and of the hub, where one is known, and its header can be read.

$HF_ENDPOINT is the hub, by default ` + pull.DefaultEndpoint + `; $HF_TOKEN lets in to repositories that are private or gated, and is told
to no other host.`,
		Example: `  aim pull hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M
  aim pull https://example.com/model.gguf --name mine --sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  aim pull ~/Downloads/model.gguf --link`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := models.Folder()
			if err != nil {
				return err
			}
			o.Dir = dir
			o.Endpoint, o.Token = os.Getenv("HF_ENDPOINT"), strings.TrimSpace(os.Getenv("HF_TOKEN"))
			return runPull(cmd, args[0], o, quiet)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "name of the model (default: that of the file)")
	f.StringVar(&o.SHA256, "sha256", "", "checksum that the file must have, 64 hexadecimal digits")
	f.StringVar(&o.Revision, "revision", "", "branch, tag or commit of the repository (default: main)")
	f.BoolVar(&o.Link, "link", false, "make a hard link of a file of this machine, in place of a copy")
	f.BoolVar(&o.Replace, "replace", false, "take the place of another model of this name")
	f.BoolVar(&quiet, "quiet", false, "print nothing but errors")
	return cmd
}

func runPull(cmd *cobra.Command, source string, o pull.Options, quiet bool) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	std := streamsOf(cmd)
	if quiet {
		std.out, std.err = io.Discard, io.Discard
	}
	if pull.Repository(source) {
		list, err := pull.List(ctx, source, o)
		if err != nil {
			return err
		}
		return printListed(cmd.OutOrStdout(), source, list)
	}
	progress, end := newDownloadBar(std.err)
	o.Progress = progress
	o.Report = func(text string) {
		end()
		fmt.Fprintln(std.err, text)
	}
	r, err := pull.Pull(ctx, source, o)
	end()
	if err != nil {
		if remote := strings.Contains(source, ":"); remote && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return errors.New("stopped; the same command goes on with what there is")
		}
		return err
	}
	what := "is there"
	if r.Already {
		what = "was there already"
	}
	fmt.Fprintf(std.out, "%s %s: %s in %s\n", r.Name, what, scaled(float64(r.Bytes), "B"), r.Path)
	return nil
}

// newDownloadBar shows a bar on a terminal, and nothing elsewhere. end clears it, so that something else can be printed.
func newDownloadBar(w io.Writer) (progress func(file string, done, total int64), end func()) {
	if !isTerminal(w) {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	of := ""
	end = func() {
		if bar != nil {
			_ = bar.Clear() // a bar that cannot be drawn stops nothing
		}
		bar = nil
	}
	return func(file string, done, total int64) {
		if total == 0 {
			total = -1 // a spinner
		}
		if bar == nil || file != of || bar.GetMax64() != total {
			end()
			of = file
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(file),
				progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
		}
		_ = bar.Set64(done)
	}, end
}

// printListed writes a table of what a repository has.
func printListed(w io.Writer, source string, list []pull.Listed) error {
	if len(list) == 0 {
		return fmt.Errorf("%s has no GGUF files", source)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SOURCE\tSIZE\tFILES")
	for _, l := range list {
		fmt.Fprintf(table, "%s\t%s\t%d\n", l.Source, scaled(float64(l.Bytes), "B"), l.Files)
	}
	return table.Flush()
}
