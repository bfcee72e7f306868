package optimize

import (
	"fmt"
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

// Candidates are the formats that may be fast.
func Candidates() []Format {
	return []Format{{Type: "Q8_0"}, {Type: "BF16"}}
}
