package optimize

import (
	"fmt"
	"slices"
	"strings"
)

// Format is how a model's weights are stored: most of them as Type, some as another. Its text form is the type and, after commas,
// parts of tensors' names with theirs: "Q8_0,ffn_down=BF16,output=BF16".
type Format struct {
	// Type is that of most tensors, by llama.cpp's name.
	Type string
	// Output is the type of the output matrix, which the token embeddings are where a model has no other; "" as llama.cpp has it.
	Output string
	// Parts are parts of the names of tensors, Types the types of these.
	Parts, Types []string
}

// ParseFormat reads the text form. Whether there are such types and tensors is for the quantizer to say.
func ParseFormat(text string) (Format, error) {
	kind, rest, more := strings.Cut(text, ",")
	f := Format{Type: kind}
	if kind == "" || strings.Contains(kind, "=") {
		return f, fmt.Errorf("format %q: want a type first, such as Q8_0 or Q8_0,ffn_down=BF16", text)
	}
	for more {
		var item string
		item, rest, more = strings.Cut(rest, ",")
		part, kind, ok := strings.Cut(item, "=")
		switch {
		case !ok || part == "" || kind == "":
			return f, fmt.Errorf("format %q: %q is not part of a tensor's name and a type, such as ffn_down=BF16", text, item)
		case part == "output":
			f.Output = kind
		default:
			f.Parts, f.Types = append(f.Parts, part), append(f.Types, kind)
		}
	}
	return f, nil
}

// String is the text form.
func (f Format) String() string {
	var b strings.Builder
	b.WriteString(f.Type)
	for i, part := range f.Parts {
		fmt.Fprintf(&b, ",%s=%s", part, f.Types[i])
	}
	if f.Output != "" {
		b.WriteString(",output=" + f.Output)
	}
	return b.String()
}

// Candidates are the formats that may be fast in place of one, the most promising first. original is the type of the model's file, output
// that of its output matrix.
//
// Prompts go through matrix products, for which llama.cpp has kernels of blocks of rows for Q8_0, Q5_0 and Q4_0 (llamafile's, on x86 and
// ARM), and for BF16 where the processor multiplies it; with its repacking built in, also for Q4_0 and Q4_K. Q4_1, Q5_1 and most K types
// go row by row. A prompt needs one row of the output matrix's product, though, and an answer alone is bound by reading the weights, so
// that an output matrix of few bits, often a fifth of a small model, is better left as it is: nothing is lost by that either.
// IQ4_NL is as fast as Q4_0 but takes a hundred times as long to write.
func Candidates(original, output string) (formats []Format) {
	if slices.Contains([]string{"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"}, output) {
		formats = append(formats, Format{Type: "Q8_0", Output: output})
	}
	for _, t := range []string{"Q8_0", "Q5_0", "BF16", "Q4_K_M", "Q4_0"} {
		if t != original {
			formats = append(formats, Format{Type: t})
		}
	}
	return formats
}
