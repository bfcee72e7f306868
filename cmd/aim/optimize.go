package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aim/internal/optimize"
	"aim/llama"
	"aim/llama/cpp"
	"aim/models"
	"aim/sampler"
)

// optimizeOptions are the flags of optimize.
type optimizeOptions struct {
	model, text string
	formats     []string
	maxLoss     percent
	rounds      int
	threads     int
	force       bool
}

// percent is a flag whose value is a share written in percent, with or without the sign.
type percent float64

func (p *percent) String() string { return strconv.FormatFloat(100*float64(*p), 'g', 4, 64) + "%" }
func (p *percent) Type() string   { return "percent" }

// Set parses a value from the command line.
func (p *percent) Set(text string) error {
	x, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(text, "%")), 64)
	if err != nil || !(x >= 0 && x <= 100) {
		return errors.New("want a percentage from 0% to 100%, such as 0.5%")
	}
	*p = percent(x / 100)
	return nil
}

// defaultMaxLoss is how much the perplexity of an optimized model may be above the original's where nothing else is said.
const defaultMaxLoss = 0.005

func maxLossVar(f *pflag.FlagSet, p *percent) {
	*p = defaultMaxLoss
	f.Var(p, "max-loss", "how much higher the perplexity may be than the original's")
}

func newOptimize() *cobra.Command {
	var o optimizeOptions
	cmd := &cobra.Command{
		Use:   "optimize [MODEL]",
		Short: "Find the format of a model that is fastest on this processor",
		Long: `Writes a model in each of the formats that may be fast on this processor, measures their speed in turns with the original and what
they cost (perplexity, and the divergence of the next-token distributions from the original's), prints the table, and keeps the
fastest format whose perplexity is at most --max-loss above the original's, in the folder "optimized" beside the model. The
original stays as it is. What was measured is kept in a JSON file there; another file or processor makes it void.

aim serve --optimize auto and aim run --optimize auto load what was kept.`,
		Example: `  aim optimize
  aim optimize SmolLM2-135M-Instruct.Q4_1 --max-loss 1% --text my-documents.txt
  aim optimize --format Q8_0 --format Q8_0,ffn_down=BF16,output=BF16`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.model = strings.Join(args, "")
			ctx, stop := interruptible(cmd)
			defer stop()
			return runOptimize(ctx, o, streamsOf(cmd))
		},
		ValidArgsFunction: completeModels,
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.formats, "format", nil, "format to try, instead of the built-in list: a type, then parts of tensors' names with theirs, such as Q8_0,ffn_down=BF16,output=BF16; may be repeated")
	f.StringVar(&o.text, "text", "", "file with text to measure quality on (default: a built-in text of English prose)")
	maxLossVar(f, &o.maxLoss)
	intVar(f, &o.rounds, "rounds", 3, 1, 1000, "how often each format takes turns with the original; more is more exact")
	intVar(f, &o.threads, "threads", runtime.GOMAXPROCS(0), 1, 512, "threads that compute")
	f.BoolVar(&o.force, "force", false, "measure again what was measured")
	return cmd
}

// runOptimize measures, prints the table, and says what was kept.
func runOptimize(ctx context.Context, o optimizeOptions, std streams) error {
	quiet := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	slog.SetDefault(quiet)
	cpp.SetLogger(quiet)
	original, err := (&engineOptions{model: o.model}).find()
	if err != nil {
		return err
	}
	p, err := newProbe(original, o)
	if err != nil {
		return err
	}
	if o.force {
		if err := os.Remove(optimize.RecordPath(original)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	say := statusLine(std.err)
	p.Report = func(doing string, _ *optimize.Result) { say(doing) }
	r, err := p.Run(ctx)
	say("")
	if r == nil {
		return err
	}
	if err := printRecord(std.out, r, filepath.Dir(optimize.RecordPath(original))); err != nil {
		return err
	}
	return err
}

// newProbe prepares the search for a format of a model. Its text is a file, or the built-in one.
func newProbe(original string, o optimizeOptions) (*optimize.Probe, error) {
	key, err := optimizeKey(original)
	if err != nil {
		return nil, err
	}
	text := optimize.Text
	if o.text != "" {
		content, err := os.ReadFile(o.text)
		if err != nil {
			return nil, fmt.Errorf("--text: %w", err)
		}
		text = string(content)
	}
	facts, err := models.Read(original)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", original, err)
	}
	tensors, err := models.Tensors(original)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", original, err)
	}
	formats := optimize.Candidates(facts.Quantization, models.OutputType(tensors))
	if o.formats != nil {
		formats = nil
		for _, s := range o.formats {
			f, err := optimize.ParseFormat(s)
			if err != nil {
				return nil, usageError{fmt.Errorf("--format: %w", err)}
			}
			formats = append(formats, f)
		}
	}
	lab := &lab{original: original, threads: o.threads}
	tokens, err := lab.tokenize(text, optimize.Text)
	if err != nil {
		return nil, err
	}
	if len(tokens[0]) < optimize.LeastText {
		return nil, fmt.Errorf("--text %s: %d tokens are too few to compare on, want at least %d", o.text, len(tokens[0]), optimize.LeastText)
	}
	return &optimize.Probe{
		Lab: lab, Original: original, Key: key, Formats: formats, Text: tokens[0], SpeedText: tokens[1],
		TextID: fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:32], MaxLoss: float64(o.maxLoss), Rounds: o.rounds, Threads: o.threads,
	}, nil
}

// optimizeKey says what measurements of a model on this machine hold for.
func optimizeKey(original string) (optimize.Key, error) {
	id, err := models.Identity(original)
	if err != nil {
		return optimize.Key{}, fmt.Errorf("%s: %w", original, err)
	}
	return optimize.Key{
		Model: id, Processor: optimize.Processor(), Build: binding + " " + dependency(binding) + "; " + cpp.SystemInfo(),
	}, nil
}

// lab is llama.cpp as package optimize wants it.
type lab struct {
	original string
	threads  int
}

var _ optimize.Lab = (*lab)(nil)

// tokenize opens the original to turn texts into tokens.
func (l *lab) tokenize(texts ...string) (tokens [][]sampler.Token, err error) {
	m, err := cpp.Load(l.original, cpp.ModelOptions{})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	for _, text := range texts {
		t, err := m.Tokenize([]llama.Part{{Text: text}}, true)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// Quantize implements [optimize.Lab].
func (l *lab) Quantize(ctx context.Context, f optimize.Format, path string) error {
	o := cpp.QuantizeOptions{Type: f.Type, Output: f.Output, Threads: l.threads, Replace: true}
	for i, part := range f.Parts {
		o.Tensors = append(o.Tensors, cpp.TensorType{Name: part, Type: f.Types[i]})
	}
	return cpp.Quantize(ctx, l.original, path, o)
}

// Open implements [optimize.Lab].
func (l *lab) Open(path string) (*optimize.Subject, func(), error) {
	m, err := cpp.Load(path, cpp.ModelOptions{})
	if err != nil {
		return nil, nil, err
	}
	d, err := m.NewDecoder(cpp.DecoderOptions{Slots: optimize.Streams, Context: optimize.Window, Threads: l.threads})
	if err != nil {
		m.Close()
		return nil, nil, err
	}
	return &optimize.Subject{Model: m, Decoder: d}, func() { d.Close(); m.Close() }, nil
}

// statusLine shows on a terminal what is being done, and nothing elsewhere.
func statusLine(w io.Writer) func(doing string) {
	if !isTerminal(w) {
		return func(string) {}
	}
	return func(doing string) { fmt.Fprintf(w, "\r\x1b[K%s", doing) }
}

// printRecord writes the table of all formats and what was kept in dir.
func printRecord(w io.Writer, r *optimize.Record, dir string) error {
	fmt.Fprintf(w, "%s, %s, on %s, %d threads\n\n", r.Name, scaled(float64(r.Bytes), "B"), r.Processor, r.Threads)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "FORMAT\tSIZE\tPREFILL\tDECODE 1\tDECODE 8\tSPEED-UP\tPERPLEXITY\tCHANGE\t± 2 S.E.\tKL, NATS\tSAME TOP\t")
	for i := range r.Results {
		x := &r.Results[i]
		if x.Failed != "" {
			fmt.Fprintf(table, "%s\t%s\t\t\t\t\t\t\t\t\t\t\n", x.Format, x.Failed)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.2f\t", x.Format, scaled(float64(x.Bytes), "B"), against(x.Speed.Prefill, x.Original.Prefill),
			against(x.Speed.Decode1, x.Original.Decode1), against(x.Speed.Decode8, x.Original.Decode8), x.Speedup)
		if q := x.Quality; q != nil {
			fmt.Fprintf(table, "%.3f (%.3f)\t%+.2f %%\t%.2f %%\t%.5f\t%.2f %%\t\n", q.Perplexity, q.Original, 100*q.Loss(), 200*q.StdErr, q.KL, 100*q.SameTop)
		} else {
			fmt.Fprint(table, "\t\t\t\t\t\n")
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprint(w, "\nTokens per second, and in parentheses the original's in the same race; speed-up for prompts of 208 tokens with answers of 128.\n")
	_, err := fmt.Fprintln(w, verdict(r, dir))
	return err
}

func against(a, b float64) string { return fmt.Sprintf("%.0f (%.0f)", a, b) }

// verdict says what was kept and what it costs.
func verdict(r *optimize.Record, dir string) string {
	if r.Kept == nil {
		return fmt.Sprintf("Nothing faster keeps perplexity within %.3g %% of the original's: the original stays in use.", 100*r.MaxLoss)
	}
	x := r.Result(r.Kept.Format)
	return fmt.Sprintf("Kept: %s, %.2f times as fast; it takes %s more on disk, took %.1f s to write, and costs %+.2f %% ± %.2f %% perplexity (KL %.5f nats).",
		filepath.Join(dir, r.Kept.File), x.Speedup, scaled(float64(x.Bytes), "B"), x.Seconds, 100*x.Quality.Loss(), 200*x.Quality.StdErr, x.Quality.KL)
}
