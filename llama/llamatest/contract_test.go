package llamatest_test

import (
	"testing"

	"aim/llama"
	"aim/llama/llamatest"
)

func TestContract(t *testing.T) {
	m := llamatest.New()
	llamatest.Run(t, llamatest.Driver{
		Model: m,
		Open: func(_ testing.TB, slots, context, batch int) llama.Decoder {
			return llamatest.NewDecoder(m, llamatest.Options{Slots: slots, Context: context, Batch: batch, Sets: 3})
		},
	})
}

func TestEmbedderContract(t *testing.T) {
	m := llamatest.New()
	llamatest.RunEmbedder(t, m, llamatest.NewEmbedder(m), 0)
}
