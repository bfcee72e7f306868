package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/peterh/liner"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aim/internal/calibrate"
	"aim/internal/session"
	"aim/internal/state"
	"aim/llama/cpp"
)

// runOptions are the flags of run.
type runOptions struct {
	engineOptions
	session.Settings
	seed  uint64
	focus []string
}

func newRun() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [PROMPT...]",
		Short: "Chat with a model in the terminal",
		Long: `Chats with a model in the terminal. With a prompt on the command line, or on standard input where that is not a
terminal, it prints just the answer.

In a chat, Ctrl-C stops an answer, Ctrl-D leaves, and /help lists commands such as /set level 0.9 and
/set focus water 50% (a negative number takes a word out).`,
		Example: `  aim run
  aim run --focus water=50% --focus sun=-100% "Describe a summer day."
  echo "What is Go?" | aim run --temperature 0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneUtility(cmd.Flags()); err != nil {
				return err
			}
			if cmd.Flags().Changed("seed") {
				o.Seed = &o.seed
			}
			if err := o.parseFocus(); err != nil {
				return err
			}
			return converse(cmd.Context(), o, strings.Join(args, " "), streamsOf(cmd))
		},
	}
	o.flags(cmd)
	o.optimizeFlags(cmd.Flags(), "load the file that aim optimize kept in place of the model's own")
	o.speculation.flags(cmd)
	o.settingFlags(cmd.Flags())
	// One conversation. The queue bridges the moment until a stopped answer has left its slot.
	o.slots, o.queue = 1, 1
	return cmd
}

func (o *runOptions) settingFlags(f *pflag.FlagSet) {
	f.StringVar(&o.System, "system", "", "instruction before the first turn")
	f.StringArrayVar(&o.focus, "focus", nil, "word to bring in, and by how much: water=50%; a negative number takes it out; water=4 raises it by noise of that σ; may be repeated")
	floatVar(f, &o.Utility, "sigma", 0, "utility modulation: standard deviation of the noise on all logits", sigmaParams)
	levelVar(f, &o.Level, "utility modulation by its effect: the share of steps at which the model's best token stays best, 1 is all")
	floatVar(f, &o.Temperature, "temperature", 0.7, "0 takes the likeliest token", temperatureParams)
	floatVar(f, &o.TopP, "top-p", 0.95, "draw from the likeliest tokens that make up this much; 1 from all", topPParams)
	intVar(f, &o.MaxTokens, "max-tokens", 0, 0, 1<<30, "longest answer; 0 is no limit")
	f.Uint64Var(&o.seed, "seed", 0, "make answers repeatable (default: by chance)")
}

func (o *runOptions) parseFocus() error {
	for _, text := range o.focus {
		f, err := session.ParseFocus(text)
		if err != nil {
			return usageError{fmt.Errorf("--focus: %w", err)}
		}
		o.Focus = append(o.Focus, f)
	}
	return nil
}

// converse loads the model and answers the prompt, or standard input, or whoever sits at the terminal.
func converse(ctx context.Context, o runOptions, prompt string, std streams) error {
	if err := o.check(); err != nil {
		return err
	}
	quiet := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slog.SetDefault(quiet)
	cpp.SetLogger(quiet)

	interactive := prompt == "" && isTerminal(std.in) && isTerminal(std.out)
	if prompt == "" && !isTerminal(std.in) { // before the model, which takes longer
		text, err := io.ReadAll(std.in)
		if err != nil {
			return err
		}
		prompt = strings.TrimSpace(string(text))
	}
	if !interactive && prompt == "" {
		return usageError{errors.New("nothing to answer: give a prompt, or text on standard input")}
	}
	if err := o.useWeights(ctx, false, quiet, std.err); err != nil {
		return err
	}
	e, err := openEngine(o.engineOptions, progressLine(std.err, "loading the model"))
	if err != nil {
		return err
	}
	defer e.close()
	if e.template == nil {
		return errNoTemplate
	}
	stop := e.start()
	defer stop()
	g, err := newGauge(e, o.engineOptions, quiet, calibratingLine(std.err))
	if err != nil {
		return err
	}
	dial := calibrate.Dial{Obtain: g.obtain, Context: ctx}
	s, err := session.New(session.Config{
		Engine: e.Engine, Template: e.template, Name: e.name, Secret: e.secret, Settings: o.Settings, Terminal: isTerminal(std.out),
		Sigma: func(level float64) (float64, error) { return dial.Sigma(ctx, level) },
	})
	if err != nil {
		return usageError{err}
	}
	if interactive {
		return chatLoop(ctx, s, o, e.name, std.out)
	}
	return answer(ctx, s, prompt, std.out)
}

// answer prints the answer to one prompt. Ctrl-C ends it.
func answer(ctx context.Context, s *session.Session, prompt string, w io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := s.Answer(ctx, prompt, w)
	fmt.Fprintln(w)
	return err
}

// chatLoop chats with whoever sits at the terminal.
func chatLoop(ctx context.Context, s *session.Session, o runOptions, name string, w io.Writer) error {
	fmt.Fprintf(w, "%s. /help lists commands, Ctrl-D leaves.\n", name)
	// While liner waits for a line, Ctrl-C is a key to it. At all other times it is a signal, which must stop an answer
	// and must never end the program with the terminal in liner's mode.
	interrupts := make(chan os.Signal, 1) // a second Ctrl-C during one answer may get lost
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)

	line := openLine(o.stateDir)
	defer line.close()
	// Nothing else can end a read from a terminal.
	ended, release := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP)
	defer release()
	defer context.AfterFunc(ended, func() {
		line.close()
		os.Exit(1)
	})()
	return s.Loop(line, w, func() (context.Context, context.CancelFunc) { return until(ctx, interrupts) })
}

// until returns a context that the next interrupt cancels.
func until(ctx context.Context, interrupts <-chan os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	select {
	case <-interrupts: // from before
	default:
	}
	go func() {
		select {
		case <-interrupts:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// lineReader reads lines from the terminal, with editing, history and completion.
type lineReader struct {
	*liner.State
	history string // file; empty for none
}

func openLine(stateDir string) *lineReader {
	r := &lineReader{State: liner.NewLiner()}
	r.SetCtrlCAborts(true)
	r.SetMultiLineMode(true)
	r.SetCompleter(session.Complete)
	if stateDir == "" {
		stateDir, _ = state.Dir() // without a folder there is no history
	}
	if stateDir == "" {
		return r
	}
	r.history = filepath.Join(stateDir, "history")
	if f, err := os.Open(r.history); err == nil {
		_, _ = r.ReadHistory(f) // as much as can be read
		_ = f.Close()
	}
	return r
}

// Prompt implements [session.Reader].
func (r *lineReader) Prompt(prompt string) (string, error) {
	line, err := r.State.Prompt(prompt)
	if errors.Is(err, liner.ErrPromptAborted) {
		return "", session.ErrInterrupted
	}
	return line, err
}

// close gives the terminal back and keeps the history, which is as private as what was said.
func (r *lineReader) close() {
	_ = r.Close() // there is nothing left to do about it
	if r.history == "" {
		return
	}
	if f, err := os.OpenFile(r.history, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err == nil {
		_, _ = r.WriteHistory(f)
		_ = f.Close()
	}
}
