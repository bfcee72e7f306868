package llama_test

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
	"aim/sampler"
)

// drafter is one over the fake itself.
func drafter(t testing.TB, o llamatest.Options, slots int) *llama.ModelDrafter {
	t.Helper()
	o.Slots, o.Context, o.Batch = slots, 256, 20
	d, err := llama.NewModelDrafter(fake, fake, llamatest.NewDecoder(fake, o), slots, 256, 20)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A draft model changes no answer, be it the model itself or one that says something else.
func TestDraftsChangeNothing(t *testing.T) {
	o := llamatest.Options{Say: saying(t, 9)}
	other := llamatest.Options{Say: saying(t, 4)}
	for name, draft := range map[string]llamatest.Options{"itself": o, "another": other} {
		alone := start(t, llama.Config{Context: 256}, o)
		e := start(t, llama.Config{
			Slots: 3, Context: 256, Batch: 30, Chunk: 7, Queue: 64, Draft: 8, DraftAlways: true, Drafter: drafter(t, draft, 3), NoLookup: true,
		}, o)
		var wg sync.WaitGroup
		for feature, build := range features(t) {
			want, _ := read(t.Context(), alone, build())
			wg.Go(func() {
				if got, _ := read(t.Context(), e, build()); !reflect.DeepEqual(got, want) {
					t.Errorf("draft by %s, %s:\n%+v\nwithout:\n%+v", name, feature, got, want)
				}
			})
		}
		wg.Wait()
		if s := e.Stats(); s.Accepted == 0 {
			t.Errorf("draft by %s: %+v", name, s)
		}
	}
}

// The model guesses its own greedy answers right, as far as it is sure of them.
func TestDraftsByTheModelItself(t *testing.T) {
	o := llamatest.Options{Say: saying(t, 1000)}
	e := start(t, llama.Config{Context: 256, Draft: 8, DraftAlways: true, Drafter: drafter(t, o, 1), NoLookup: true}, o)
	_, usage := read(t.Context(), e, features(t)["greedy"]())
	if usage.AcceptedTokens < 100 || usage.AcceptedTokens != usage.DraftedTokens {
		t.Errorf("%+v: all guesses are those of the same model", usage)
	}
}

// failing is a draft model that does nothing right.
type failing struct{ n int }

func (f *failing) Draft(guesses []llama.Guess, _ int, _ []sampler.Token, _ int) ([]llama.Guess, error) {
	f.n++
	switch f.n % 4 {
	case 0:
		return nil, errors.New("no luck")
	case 1:
		panic("boom")
	case 2:
		return append(guesses, llama.Guess{Token: -5}, llama.Guess{Token: sampler.Token(fake.Vocab())}), nil
	}
	return append(guesses, llama.Guess{Token: 'x', Confidence: 1}, llama.Guess{Token: llamatest.EOS}), nil
}

func TestDraftsThatFail(t *testing.T) {
	o := llamatest.Options{Say: saying(t, 9)}
	want, _ := read(t.Context(), start(t, llama.Config{Context: 256}, o), features(t)["all stages"]())
	for _, always := range []bool{true, false} {
		f := &failing{}
		e := start(t, llama.Config{Context: 256, Draft: 8, DraftAlways: always, Drafter: f}, o)
		if got, _ := read(t.Context(), e, features(t)["all stages"]()); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		if !always && f.n > 100 {
			t.Errorf("a draft model that never helps was asked %d times in %d steps", f.n, len(want.deltas))
		}
	}
}

// otherModel differs from the fake in one token.
type otherModel struct{ *llamatest.Model }

func (m otherModel) Piece(t sampler.Token) []byte {
	if t == 'q' {
		return []byte("Q!")
	}
	return m.Model.Piece(t)
}

// largeModel has more tokens.
type largeModel struct{ *llamatest.Model }

func (m largeModel) Vocab() int { return m.Model.Vocab() + 1000 }

func TestDraftModelHasTheVocabulary(t *testing.T) {
	for _, c := range []struct {
		draft llama.Model
		want  string
	}{
		{otherModel{fake}, `token 113 is "Q!", the model's "q"`},
		{largeModel{fake}, "it has 1269 tokens, the model 269"},
	} {
		_, err := llama.NewModelDrafter(fake, c.draft, nil, 1, 256, 16)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want it to say: %s", err, c.want)
		}
	}
}
