package doctor

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"aim/internal/machine"
)

// Bytes writes a size with three digits and a binary prefix: 92.1 MiB.
func Bytes(n int64) string {
	v, prefixes, i := float64(n), []string{"", "Ki", "Mi", "Gi", "Ti"}, 0
	for v >= 999.5 && i < len(prefixes)-1 {
		v /= 1024
		i++
	}
	return fmt.Sprintf("%.3g %sB", v, prefixes[i])
}

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, text string, args ...any) { fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(text, args...)) }
	row("aim", "%s, %s", r.Version, r.Platform)
	r.writeMachine(row)
	r.writeBackends(row)
	r.writeModel(row)
	r.writeState(row)
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if len(r.Findings) == 0 {
		_, err := fmt.Fprintln(w, "Nothing is wrong.")
		return err
	}
	for _, f := range r.Findings {
		kind := "note:   "
		if f.Fatal {
			kind = "PROBLEM:"
		}
		if _, err := fmt.Fprintf(w, "%s %s\n         → %s\n", kind, f.What, f.Do); err != nil {
			return err
		}
	}
	return nil
}

type rowFunc func(name, text string, args ...any)

func (r *Report) writeMachine(row rowFunc) {
	p := r.Processor
	name := p.Name
	for _, d := range r.Devices { // where the processor does not say, ggml knows
		if name == "" && d.Kind == "processor" {
			name = d.Description
		}
	}
	var parts []string
	if p.Cores > 0 {
		parts = append(parts, fmt.Sprintf("%d cores", p.Cores))
	}
	parts = append(parts, fmt.Sprintf("%d threads to use", p.Threads))
	if p.Quota > 0 {
		parts = append(parts, fmt.Sprintf("a quota of %g", p.Quota))
	}
	row("processor", "%s: %s; aim computes with %d", name, strings.Join(parts, ", "), r.Flags.Threads)
	var has, built []string
	for _, isa := range r.ISAs {
		if isa.Has {
			has = append(has, isa.Name)
		}
		if isa.Built {
			built = append(built, isa.Name)
		}
	}
	if len(r.ISAs) > 0 {
		row("  it has", "%s", list(has))
		row("  aim was built for", "%s", list(built))
	}
	memory := fmt.Sprintf("%s, %s of it available", Bytes(r.Memory.Total), Bytes(r.Memory.Available))
	if r.Memory.Available == 0 {
		memory = Bytes(r.Memory.Total)
	}
	if r.Memory.Limit > 0 {
		memory += fmt.Sprintf("; the control group may use %s and uses %s", Bytes(r.Memory.Limit), Bytes(r.Memory.Used))
	}
	if r.Memory == (machine.Memory{}) {
		memory = "not known on this system"
	}
	row("memory", "%s", memory)
}

func list(words []string) string {
	if len(words) == 0 {
		return "no more than every processor of its kind has"
	}
	return strings.Join(words, " ")
}

func (r *Report) writeBackends(row rowFunc) {
	for _, b := range r.Backends {
		from := "part of aim"
		if b.Library != "" {
			from = b.Library
		}
		if !b.Used {
			from += ", not used"
		}
		row("back end "+b.Name, "%s: %s", from, strings.Join(b.Features, " "))
	}
	for _, f := range r.Folders {
		switch {
		case !f.Exists:
			row("library folder", "%s: not there", f.Path)
		case f.Skipped:
			row("library folder", "%s: not looked into", f.Path)
		default:
			row("library folder", "%s: %s", f.Path, libraries(f.Libraries))
		}
	}
	for _, d := range r.Devices {
		if d.GPU {
			row("device "+d.Name, "%s, %s: %s, %s free", d.Description, d.Kind, Bytes(d.Total), Bytes(d.Free))
		}
	}
}

func libraries(all []Library) string {
	if len(all) == 0 {
		return "no back ends"
	}
	words := make([]string, len(all))
	for i, l := range all {
		words[i] = strings.TrimSuffix(strings.TrimPrefix(l.File, "libggml-"), ".so")
		switch {
		case l.Loaded:
			words[i] += " (loaded)"
		case l.Problem != "":
			words[i] += " (broken)"
		case l.Unfit:
			words[i] += " (for other processors)"
		}
	}
	return strings.Join(words, ", ")
}

func (r *Report) writeModel(row rowFunc) {
	row("models folder", "%s: %d models", r.Models.Folder, r.Models.Count)
	m := r.Model
	if m == nil {
		return
	}
	row("model", "%s: %s, %s, %.3g billion parameters", m.Path, m.Architecture, m.Quantization, float64(m.Parameters)/1e9)
	row("  context", "%d slots of %d tokens; trained on %d", r.Flags.Slots, m.Context, m.Trained)
	if m.NeedsProblem == "" {
		row("  memory", "%s", m.Main.text(r.Flags.Slots))
		for i, n := range m.GPUs {
			if n.Total() > 0 {
				row(fmt.Sprintf("  GPU %d", i), "%s", n.text(r.Flags.Slots))
			}
		}
		row("  layers on GPUs", "%d of %d", m.GPULayers, m.Layers)
	}
}

func (n Need) text(slots int) string {
	return fmt.Sprintf("%s: weights %s, KV cache %s (%s a slot), computing about %s", Bytes(n.Total()), Bytes(n.Weights), Bytes(n.KV),
		Bytes(n.KV/int64(max(1, slots))), Bytes(n.Compute))
}

func (r *Report) writeState(row rowFunc) {
	row("state folder", "%s", r.State.Folder)
	switch {
	case r.State.SecretProblem != "":
		row("secret", "%s: cannot be used", r.State.Secret)
	case r.State.SecretMode == "":
		row("secret", "%s: made at the first start", r.State.Secret)
	default:
		row("secret", "%s, mode %s", r.State.Secret, r.State.SecretMode)
	}
}
