package llamatest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"aim/llama"
	"aim/sampler"
)

// Options shape the fake's behaviour; the zero value babbles.
type Options struct {
	// Slots and Context bound the cache as in a real driver; defaults 1 and 4096.
	Slots, Context int
	// Cells bounds the tokens of all sequences together; 0 means Slots·Context.
	Cells int
	// Batch is the most rows of a decode; default 512.
	Batch int
	// Parked is the number of sequences beyond Slots.
	Parked int
	// Say makes the next token after a history all but certain; -1 leaves it to chance. See [Say].
	Say func(history []sampler.Token) sampler.Token
	// NoShift makes a cache that cannot shift.
	NoShift bool
	// Sets is the number of sets of adapters, each of which makes another model; default 1.
	Sets int
	// Before runs at the start of each Decode: to watch, to delay, or to fail it.
	Before func(rows []llama.Row) error
}

// Decoder is the fake KV cache. Its logits are a function of a sequence's tokens alone, and of the set that each of them was decoded
// under. It implements [llama.Decoder] and [llama.Adapter].
type Decoder struct {
	model *Model
	opt   Options
	seqs  [][]cell
	rows  map[int][]float32
	set   llama.AdapterSet
	// states counts what was saved and not freed.
	states int
}

// cell is what the cache has of a token.
type cell struct {
	token sampler.Token
	set   llama.AdapterSet
}

var (
	_ llama.Decoder = (*Decoder)(nil)
	_ llama.Keeper  = (*Decoder)(nil)
	_ llama.Adapter = (*Decoder)(nil)
)

// NewDecoder returns a fake KV cache for m.
func NewDecoder(m *Model, o Options) *Decoder {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.Slots, 1)
	set(&o.Context, 4096)
	set(&o.Cells, o.Slots*o.Context)
	set(&o.Batch, 512)
	set(&o.Sets, 1)
	return &Decoder{model: m, opt: o, seqs: make([][]cell, o.Slots+o.Parked)}
}

// Sets implements [llama.Adapter].
func (d *Decoder) Sets() int { return d.opt.Sets }

// Adapt implements [llama.Adapter].
func (d *Decoder) Adapt(set llama.AdapterSet) error {
	if set < 0 || int(set) >= d.opt.Sets {
		return fmt.Errorf("set %d of %d", set, d.opt.Sets)
	}
	d.set = set
	return nil
}

// Decode implements [llama.Decoder].
func (d *Decoder) Decode(rows []llama.Row) error {
	if d.opt.Before != nil {
		if err := d.opt.Before(rows); err != nil {
			return err
		}
	}
	if err := d.check(rows); err != nil {
		return err
	}
	d.rows = map[int][]float32{}
	for i, r := range rows {
		d.seqs[r.Seq] = append(d.seqs[r.Seq], cell{r.Token, d.set})
		if r.Logits {
			d.rows[i] = d.logits(d.seqs[r.Seq])
		}
	}
	return nil
}

func (d *Decoder) check(rows []llama.Row) error {
	if len(rows) == 0 || len(rows) > d.opt.Batch {
		return fmt.Errorf("%d rows, want 1 to %d", len(rows), d.opt.Batch)
	}
	used := len(rows)
	next := make([]int, len(d.seqs))
	for i, seq := range d.seqs {
		used += len(seq)
		next[i] = len(seq)
	}
	for _, r := range rows {
		switch {
		case r.Token < 0 || int(r.Token) >= d.model.Vocab():
			return fmt.Errorf("token %d outside the vocabulary", r.Token)
		case r.Seq < 0 || r.Seq >= len(d.seqs):
			return fmt.Errorf("sequence %d of %d", r.Seq, len(d.seqs))
		case r.Pos != next[r.Seq]:
			return fmt.Errorf("position %d of sequence %d, want %d", r.Pos, r.Seq, next[r.Seq])
		case r.Pos >= d.opt.Context:
			return llama.ErrCacheFull
		}
		next[r.Seq]++
	}
	if used > d.opt.Cells {
		return llama.ErrCacheFull
	}
	return nil
}

// logits draws a row from a generator seeded with the history.
func (d *Decoder) logits(cells []cell) []float32 {
	h := uint64(14695981039346656037) // FNV-1a over tokens and their sets
	history := make([]sampler.Token, len(cells))
	for i, c := range cells {
		h = (h ^ uint64(c.token) ^ uint64(c.set)<<32) * 1099511628211
		history[i] = c.token
	}
	rng := rand.New(rand.NewPCG(h, 0))
	row := make([]float32, d.model.Vocab())
	for i := range row {
		row[i] = float32(3 * rng.NormFloat64())
	}
	row[EOS] = -20 // babble until told to stop
	if d.opt.Say != nil {
		if t := d.opt.Say(history); t >= 0 {
			row[t] = 50
		}
	}
	return row
}

// Logits implements [llama.Decoder].
func (d *Decoder) Logits(i int) []float32 { return d.rows[i] }

// Forget implements [llama.Decoder].
func (d *Decoder) Forget(seq, from int) error {
	if seq < 0 || seq >= len(d.seqs) || from < 0 {
		return fmt.Errorf("forget %d of sequence %d", from, seq)
	}
	d.seqs[seq] = d.seqs[seq][:min(from, len(d.seqs[seq]))]
	return nil
}

// Share implements [llama.Decoder].
func (d *Decoder) Share(src, dst, upTo int) error {
	if min(src, dst) < 0 || max(src, dst) >= len(d.seqs) || src == dst {
		return fmt.Errorf("share sequence %d with %d", src, dst)
	}
	if len(d.seqs[dst]) > 0 || upTo < 0 || upTo > len(d.seqs[src]) {
		return fmt.Errorf("share %d tokens of sequence %d with %d", upTo, src, dst)
	}
	d.seqs[dst] = slices.Clone(d.seqs[src][:upTo])
	return nil
}

// state is a sequence that was put aside.
type state struct {
	bytes []byte
	live  *int
}

func (s *state) Bytes() []byte { return s.bytes }

func (s *state) Free() {
	if s.bytes == nil {
		panic("a state was freed twice")
	}
	s.bytes = nil
	*s.live--
}

// States is the number of states that were saved and not freed. It may only be asked when no engine runs.
func (d *Decoder) States() int { return d.states }

// Save implements [llama.Keeper].
func (d *Decoder) Save(seq int) (llama.State, error) {
	if seq < 0 || seq >= len(d.seqs) {
		return nil, fmt.Errorf("save sequence %d of %d", seq, len(d.seqs))
	}
	s := &state{bytes: []byte{'s'}, live: &d.states}
	for _, c := range d.seqs[seq] {
		s.bytes = binary.LittleEndian.AppendUint32(s.bytes, uint32(c.token)|uint32(c.set)<<24)
	}
	d.states++
	return s, nil
}

// Restore implements [llama.Keeper].
func (d *Decoder) Restore(seq int, data []byte) error {
	if seq < 0 || seq >= len(d.seqs) || len(d.seqs[seq]) > 0 || len(data)%4 != 1 || len(data) == 1 || data[0] != 's' {
		return fmt.Errorf("restore sequence %d of %d from %d bytes", seq, len(d.seqs), len(data))
	}
	used := 0
	for _, s := range d.seqs {
		used += len(s)
	}
	if used+len(data)/4 > d.opt.Cells || len(data)/4 > d.opt.Context {
		return llama.ErrCacheFull
	}
	for b := data[1:]; len(b) > 0; b = b[4:] {
		c := binary.LittleEndian.Uint32(b)
		d.seqs[seq] = append(d.seqs[seq], cell{sampler.Token(c & 0xffffff), llama.AdapterSet(c >> 24)})
	}
	return nil
}

// Say returns a [Options.Say] that knows answers: to a prompt that contains a key it gives that key's value and an end
// token. The prompt is the text up to the last marker, which is what the caller's chat template puts before an answer.
// Elsewhere the model babbles.
func Say(m *Model, marker string, answers map[string]string) func([]sampler.Token) sampler.Token {
	return func(history []sampler.Token) sampler.Token {
		text := m.Text(history)
		at := strings.LastIndex(text, marker)
		if at < 0 {
			return -1
		}
		prompt, said := text[:at], text[at+len(marker):]
		for key, answer := range answers {
			if strings.Contains(prompt, key) && strings.HasPrefix(answer, said) {
				if said == answer {
					return EOS
				}
				return m.longest(answer[len(said):], firstWord)
			}
		}
		return -1
	}
}
