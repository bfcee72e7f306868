package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"aim/internal/pull"
	"aim/models"
)

// showOptions say what is told of a model beside its header.
type showOptions struct {
	slots, context int
	hash, json     bool
}

func newShowModel() *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show MODEL",
		Short: "Tell what a model's file says, and how much memory it needs",
		Long: `Prints what the header of a GGUF file says of its model, and an estimate of the memory that it takes on the processors of a
machine, for so many conversations (--slots) of so many tokens each (--ctx).`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeModels,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			path, err := modelPath(args[0])
			if err != nil {
				return err
			}
			return showModel(ctx, cmd.OutOrStdout(), path, o)
		},
	}
	f := cmd.Flags()
	intVar(f, &o.slots, "slots", 4, 1, 256, "conversations answered at once")
	intVar(f, &o.context, "ctx", 4096, 1, math.MaxInt32, "tokens of one conversation")
	f.BoolVar(&o.hash, "hash", false, "read the whole file, and print its SHA-256")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// shown is what is told of a model. Its numbers are in bytes where they are sizes.
type shown struct {
	listed
	Files         []string          `json:"files"`
	Title         string            `json:"title,omitempty"`
	License       string            `json:"license,omitempty"`
	BitsPerWeight float64           `json:"bits_per_weight"`
	Layers        int               `json:"layers"`
	Embedding     int               `json:"embedding"`
	Heads         int               `json:"heads"`
	HeadsKV       int               `json:"heads_kv"`
	Experts       int               `json:"experts,omitempty"`
	ExpertsUsed   int               `json:"experts_used,omitempty"`
	Vocabulary    int               `json:"vocabulary"`
	Tokenizer     string            `json:"tokenizer"`
	Split         string            `json:"pre_tokenizer,omitempty"`
	ChatTemplate  bool              `json:"chat_template"`
	Memory        memory            `json:"memory"`
	SHA256        map[string]string `json:"sha256,omitempty"`
}

// memory is what a model takes, and for what.
type memory struct {
	Slots   int   `json:"slots"`
	Context int   `json:"context"`
	Weights int64 `json:"weights"`
	KV      int64 `json:"kv"`
	Compute int64 `json:"compute"`
	Total   int64 `json:"total"`
	// Error says why it is not known.
	Error string `json:"error,omitempty"`
}

// showModel prints what is known of a file.
func showModel(ctx context.Context, w io.Writer, path string, o showOptions) error {
	d, err := models.Describe(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s := shown{
		listed: newListed(path, d.Facts), Files: d.Files, Title: d.Title, License: d.License, BitsPerWeight: d.BitsPerWeight, Layers: d.Layers,
		Embedding: d.Embedding, Heads: d.Heads, HeadsKV: d.HeadsKV, Experts: d.Experts, ExpertsUsed: d.ExpertsUsed, Vocabulary: d.Vocabulary,
		Tokenizer: d.Tokenizer, Split: d.Split, ChatTemplate: d.ChatTemplate,
		Memory: memory{Slots: o.slots, Context: o.context},
	}
	if d.Context > 0 {
		s.Memory.Context = min(o.context, d.Context)
	}
	if n, err := models.Used(path, o.slots, s.Memory.Context); err != nil {
		s.Memory.Error = err.Error()
	} else {
		s.Memory.Weights, s.Memory.KV, s.Memory.Compute, s.Memory.Total = n.Weights, n.KV, n.Compute, n.Total()
	}
	if o.hash {
		s.SHA256 = map[string]string{}
		for _, f := range d.Files {
			if s.SHA256[filepath.Base(f)], err = pull.Hash(ctx, f); err != nil {
				return err
			}
		}
	}
	if o.json {
		return printJSON(w, s)
	}
	return s.print(w)
}

// print writes what is known, one fact a line.
func (s *shown) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what, value string) {
		if value != "" && value != "0" {
			fmt.Fprintf(table, "%s\t%s\n", what, printable(value))
		}
	}
	number := func(n int) string { return strconv.Itoa(n) }
	row("name", s.Name)
	row("title", s.Title)
	row("architecture", s.Architecture)
	row("parameters", scaled(float64(s.Parameters), ""))
	row("quantization", fmt.Sprintf("%s, %.2f bits per weight", s.Quantization, s.BitsPerWeight))
	row("size", scaled(float64(s.Size), "B"))
	row("context", number(s.Context))
	row("layers", number(s.Layers))
	row("embedding", number(s.Embedding))
	row("heads", fmt.Sprintf("%d, of keys and values %d", s.Heads, s.HeadsKV))
	if s.Experts > 0 {
		row("experts", fmt.Sprintf("%d, of which %d compute a token", s.Experts, s.ExpertsUsed))
	}
	row("vocabulary", number(s.Vocabulary))
	row("tokenizer", strings.TrimSuffix(s.Tokenizer+", "+s.Split, ", "))
	row("chat template", map[bool]string{true: "yes", false: "none"}[s.ChatTemplate])
	row("license", s.License)
	for _, f := range s.Files {
		row("file", f)
		row("sha256", s.SHA256[filepath.Base(f)])
	}
	if m := s.Memory; m.Error != "" {
		row("memory", "not known: "+m.Error)
	} else {
		row("memory", fmt.Sprintf("about %s for %d conversations of %d tokens: weights %s, KV cache %s, computing %s", scaled(float64(m.Total), "B"),
			m.Slots, m.Context, scaled(float64(m.Weights), "B"), scaled(float64(m.KV), "B"), scaled(float64(m.Compute), "B")))
	}
	return table.Flush()
}

// printable is text of a file's maker on one line, without what could command a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// listed is what a list tells of a model.
type listed struct {
	Name         string `json:"name"`
	Path         string `json:"path"`
	Size         int64  `json:"size,omitempty"`
	Parameters   uint64 `json:"parameters,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Quantization string `json:"quantization,omitempty"`
	Context      int    `json:"context,omitempty"`
	// Error says what is wrong with the file.
	Error string `json:"error,omitempty"`
}

func newListed(path string, f models.Facts) listed {
	return listed{
		Name: models.Name(path), Path: path, Size: f.Size, Parameters: f.Parameters, Architecture: f.Architecture, Quantization: f.Quantization,
		Context: f.Context,
	}
}

// listJSON writes the models in a folder as a JSON array.
func listJSON(w io.Writer, dir string) error {
	paths, err := models.Files(dir)
	if err != nil {
		return err
	}
	list := []listed{}
	for _, path := range paths {
		facts, err := models.Read(path)
		l := newListed(path, facts)
		if err != nil {
			l.Error = err.Error()
		}
		list = append(list, l)
	}
	return printJSON(w, list)
}
