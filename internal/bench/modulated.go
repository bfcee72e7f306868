package bench

import (
	"context"
	"fmt"
	"slices"
)

// A span has a second sequence, so that there are twice as many slots as clients.
func shapeModulated(o *Options) Shape {
	return Shape{2 * o.Slots, roomFor(2*o.question() + 16 + o.Answer)}
}

// instruction is the span of span focus.
const instruction = "Mention the rain often."

// variant is a way of asking: aim is what the field of that name holds for a client.
type variant struct {
	name string
	aim  func(client int) map[string]any
}

// modulated compares answers with and without modulation. Prompts are short, so that nearly all time is in what modulation
// adds to: the steps of an answer.
func modulated(ctx context.Context, r *Run) error {
	utility := map[string]any{"sigma": r.Sigma}
	return r.compare(ctx, []variant{
		{"plain", func(int) map[string]any { return nil }},
		{"utility and words", func(int) map[string]any {
			return map[string]any{"utility": utility, "focus": []any{map[string]any{"text": []string{"river", "water"}, "strength": 0.5}}}
		}},
		{"span", func(int) map[string]any {
			return map[string]any{"focus": []any{map[string]any{"span": instruction, "strength": 0.5}}}
		}},
	})
}

// tiers compares a batch of eight strengths with a batch of one.
func tiers(ctx context.Context, r *Run) error {
	sigma := func(s float64) map[string]any { return map[string]any{"utility": map[string]any{"sigma": s}} }
	return r.compare(ctx, []variant{
		{"one tier", func(int) map[string]any { return sigma(r.Sigma) }},
		{"eight tiers", func(client int) map[string]any { return sigma(r.Sigma * float64(client%8+1) / 4) }},
	})
}

// compare runs variants there and back (A-B-C-C-B-A), so that what drifts meanwhile is the same for all.
func (r *Run) compare(ctx context.Context, variants []variant) error {
	n := r.crowd()
	if _, err := r.Client.loop(ctx, n, 1, r.Limit, r.spread("warm", r.question(), 8)); err != nil {
		return err
	}
	loads := map[string][]load{}
	there := slices.Clone(variants)
	slices.Reverse(there)
	for lap, v := range append(slices.Clone(variants), there...) {
		l, err := r.Client.loop(ctx, n, 1, r.Limit, func(client, _ int) Request {
			prompt := r.Prompts.Text(r.question(), v.name, lap, r.Round, client) + ". " + instruction
			return Request{Prompt: prompt, MaxTokens: r.Answer, Aim: v.aim(client)}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		loads[v.name] = append(loads[v.name], l)
	}
	for _, v := range variants {
		r.Record(v.name, figures(loads[v.name]...))
	}
	return nil
}
