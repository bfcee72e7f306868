package models

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	gguf "github.com/gpustack/gguf-parser-go"
)

// Details are what more a GGUF file says of its model. Numbers are 0 and texts "" where it does not say.
type Details struct {
	Facts
	// Files are all that the model is split over, or its only one.
	Files []string
	// Title and License are as the model's makers wrote them.
	Title, License string
	// BitsPerWeight is the size of all weights over their number.
	BitsPerWeight float64
	// Layers are those of the network; Embedding is how many numbers pass from one to the next.
	Layers, Embedding int
	// Heads of attention look at the context, and HeadsKV of them keep keys and values of their own; where the layers differ, the most.
	Heads, HeadsKV int
	// Of Experts, ExpertsUsed compute each token; both are 0 in a network without.
	Experts, ExpertsUsed int
	// Vocabulary is the number of tokens, Tokenizer llama.cpp's name for how text becomes some, and Split for how it is cut before that.
	Vocabulary       int
	Tokenizer, Split string
	// ChatTemplate says that there is one.
	ChatTemplate bool
}

// Describe reads more of the header of a GGUF file than [Read] does.
func Describe(path string) (d Details, err error) {
	defer malformed(&err)
	facts, err := Read(path)
	if err != nil {
		return Details{}, err
	}
	f, err := parse(path, gguf.SkipLargeMetadata())
	if err != nil {
		return Details{}, err
	}
	meta, arch, tokens := f.Metadata(), f.Architecture(), f.Tokenizer()
	d = Details{
		Facts: facts, Files: gguf.CompleteShardGGUFFilename(path), Title: meta.Name, License: meta.License,
		Layers: int(arch.BlockCount), Embedding: int(arch.EmbeddingLength),
		Heads: int(arch.AttentionHeadCount), HeadsKV: int(arch.AttentionHeadCountKV),
		Experts: int(arch.ExpertCount), ExpertsUsed: int(arch.ExpertUsedCount),
		Vocabulary: int(tokens.TokensLength), Tokenizer: tokens.Model,
	}
	if len(d.Files) == 0 {
		d.Files = []string{path}
	}
	for _, n := range arch.AttentionHeadCountKVs {
		d.HeadsKV = max(d.HeadsKV, int(n))
	}
	var bits float64
	for _, t := range f.TensorInfos {
		bits += 8 * float64(t.Bytes())
	}
	if facts.Parameters > 0 {
		d.BitsPerWeight = bits / float64(facts.Parameters)
	}
	d.Split = text(f, "tokenizer.ggml.pre")
	d.ChatTemplate = text(f, "tokenizer.chat_template") != ""
	return d, nil
}

// text is a value of the header that is a string, "" where there is none.
func text(f *gguf.GGUFFile, key string) string {
	kv, ok := f.Header.MetadataKV.Get(key)
	if !ok || kv.ValueType != gguf.GGUFMetadataValueTypeString {
		return ""
	}
	return kv.ValueString()
}

// Belonging is a file in the models folder that belongs to a model.
type Belonging struct {
	Path  string
	Bytes int64
	// Unfinished says that it is of a download that did not come to its end.
	Unfinished bool
}

// unfinished are the endings of files under way.
var unfinished = regexp.MustCompile(`\.part(\.json)?$`)

// Belongings are the files of a model in a folder: all parts of a split one, and what is left of downloads. name is the model's, with or
// without .gguf; a path is refused, so that nothing outside the folder is meant. It fails with [NotFoundError] where there is none.
func Belongings(dir, name string) ([]Belonging, error) {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("%s is not the name of a model in %s", strconv.Quote(name), dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the models: %w", err)
	}
	var all []Belonging
	for _, e := range entries {
		file := unfinished.ReplaceAllString(e.Name(), "")
		if e.IsDir() || Name(file) == file || Name(file) != Name(name) || strings.HasPrefix(file, ".") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		all = append(all, Belonging{filepath.Join(dir, e.Name()), info.Size(), file != e.Name()})
	}
	if len(all) > 0 {
		return all, nil
	}
	have, err := Files(dir)
	if err != nil {
		return nil, err
	}
	missing := &NotFoundError{Name: name, Dir: dir}
	for _, p := range have {
		missing.Have = append(missing.Have, Name(p))
	}
	return nil, missing
}

// Used is how much of the memory of a machine a model takes that runs on its processors alone, for so many slots of context tokens: an
// estimate, see [Need].
func Used(path string, slots, context int) (Need, error) {
	e, err := NewEstimator(path)
	if err != nil {
		return Need{}, err
	}
	context = min(context, cmp.Or(e.TrainContext(), context))
	n, err := e.Needs(Setup{Slots: slots, Context: context, Batch: 512})
	return n.Main, err
}
