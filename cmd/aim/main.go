// Command aim serves language models over the OpenAI API and modulates them. See `aim --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	std := streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	if err := run(context.Background(), os.Args[1:], std); err != nil {
		fmt.Fprintln(os.Stderr, "aim:", err)
		os.Exit(exitCode(err))
	}
}

// streams are the standard streams of a run.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// streamsOf are the streams of a command.
func streamsOf(cmd *cobra.Command) streams {
	return streams{cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()}
}

// interruptible is a command's context, which Ctrl-C and SIGTERM end.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

// run executes a command line until it is done, fails, or ctx ends.
func run(ctx context.Context, args []string, std streams) error {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	// What fails before a command runs is the command line's fault.
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	err := root.ExecuteContext(ctx)
	if err != nil && !started {
		return usageError{err}
	}
	return err
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode is 2 for a mistake in the command line and 1 for every other error.
func exitCode(err error) int {
	if usage := (usageError{}); errors.As(err, &usage) {
		return 2
	}
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "aim",
		Short: "Serve and modulate language models",
		Long: `Aim serves language models over the OpenAI HTTP API and modulates them: noise on the logits sets how well a model
answers (utility) and what its answers attend to (focus), without touching its weights.

Models are GGUF files. Aim looks for them in the models folder, $AIM_MODELS or ~/.local/share/aim/models, and takes
the path of any other. Where the folder holds one model, no command needs to be told which.`,
		Example: `  aim serve                          # the OpenAI API on 127.0.0.1:8080
  aim serve --level 0.9              # a model of lower quality from the same weights
  aim run                            # chat in the terminal
  aim run --focus water=50% "Describe a summer day."
  echo "What is Go?" | aim run       # just the answer
  aim calibrate                      # what the levels of utility mean for a model
  aim pull hf:OWNER/REPO:Q4_K_M      # fetch a model
  aim models                         # what there is to serve
  aim doctor                         # whether machine, build and model go together`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(
		newServe(), newRun(), newCalibrate(), newEval(),
		newBench(), newOptimize(), newQuantize(), newDoctor(), newPull(), newModels(), newKeys(), newUsage(), newSecret(), newConfig(), newHealth(), newVersion(),
	)
	return root
}
