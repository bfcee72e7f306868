package models_test

import (
	"testing"

	"aim/internal/testmodel"
	"aim/models"
)

const mib = 1 << 20

func estimator(t *testing.T) *models.Estimator {
	t.Helper()
	e, err := models.NewEstimator(testmodel.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func needs(t *testing.T, e *models.Estimator, s models.Setup) models.Needs {
	t.Helper()
	n, err := e.Needs(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNeedsOfRealModel holds the estimate against what llama.cpp logs when it loads the default model with four slots of 2048
// tokens (aim serve --slots 4 --ctx 2048 --log-level debug): weights 92.10 MiB, KV 180.00, compute 98.25 with 0.75 for logits.
func TestNeedsOfRealModel(t *testing.T) {
	e := estimator(t)
	setup := models.Setup{Slots: 4, Context: 2048, Batch: 512}
	n := needs(t, e, setup)
	if n.Layers != 31 || n.Main.Layers != 30 || n.Main.Weights/mib != 92 || n.Main.KV != 180*mib {
		t.Errorf("got %+v", n)
	}
	if c := n.Main.Compute / mib; c < 99 || c > 160 {
		t.Errorf("%d MiB to compute, want the 99 that llama.cpp takes and little more", c)
	}
	// A q8_0 block has 34 bytes for 32 numbers, a q4_0 one 18.
	setup.CacheType = "q8_0"
	if got := needs(t, e, setup).Main.KV; got != 180*mib*34/64 {
		t.Errorf("q8_0: KV %d", got)
	}
	// Cells come in steps of 256.
	setup.CacheType, setup.Context = "", 2049
	if got := needs(t, e, setup).Main.KV; got != 180*mib*2304/2048 {
		t.Errorf("2049 tokens: KV %d", got)
	}
}

// TestNeedsOfGemma is the same for a model with a sliding window, whose layers keep all cells too: 24 and 120 MiB.
func TestNeedsOfGemma(t *testing.T) {
	t.Setenv("AIM_TEST_MODEL", "")
	path := testmodel.Path(t)
	e, err := models.NewEstimator(path[:len(path)-len(testmodel.File)] + testmodel.Gemma)
	if err != nil {
		t.Skip(err)
	}
	n := needs(t, e, models.Setup{Slots: 4, Context: 2048, Batch: 512})
	if n.Main.KV != 144*mib || n.Main.Weights/mib != 235 || n.Main.Compute/mib < 520 || n.Main.Compute/mib > 620 {
		t.Errorf("got %+v", n)
	}
}

// TestOffloading holds that layers move from the main memory to the GPUs, none is lost, and that Fit is the last that fits.
func TestOffloading(t *testing.T) {
	e := estimator(t)
	setup := models.Setup{Slots: 4, Context: 2048, Batch: 512, Split: []float64{3, 1}}
	whole := needs(t, e, setup)
	for _, gpu := range whole.GPUs {
		if gpu.Total() != 0 {
			t.Errorf("nothing offloaded, but a GPU needs %+v", gpu)
		}
	}
	for layers := 1; layers <= whole.Layers; layers++ {
		setup.GPULayers = layers
		n := needs(t, e, setup)
		if got := n.Main.Layers + n.GPUs[0].Layers + n.GPUs[1].Layers; got != 30 {
			t.Errorf("%d offloaded: %d layers in all", layers, got)
		}
		if got := n.Main.KV + n.GPUs[0].KV + n.GPUs[1].KV; got != whole.Main.KV {
			t.Errorf("%d offloaded: KV %d, want %d", layers, got, whole.Main.KV)
		}
	}
	last := 0
	for free := int64(0); free < 600*mib; free += 20 * mib {
		layers, err := e.Fit(setup, []int64{free, free})
		if err != nil || layers < last {
			t.Fatalf("%d MiB: %d layers, %v", free/mib, layers, err)
		}
		last = layers
		for i, more := range []int{layers, layers + 1} {
			setup.GPULayers = more
			n := needs(t, e, setup)
			if fits := max(n.GPUs[0].Total(), n.GPUs[1].Total()) <= free; fits != (i == 0) && more > 0 && more <= whole.Layers {
				t.Errorf("%d MiB: %d layers, but %d: %+v", free/mib, layers, more, n.GPUs)
			}
		}
	}
	if last != whole.Layers {
		t.Errorf("600 MiB take %d layers of %d", last, whole.Layers)
	}
	if layers, err := e.Fit(setup, nil); layers != 0 || err != nil {
		t.Errorf("no GPU takes %d layers, %v", layers, err)
	}
}

func TestNeedsRefuses(t *testing.T) {
	e := estimator(t)
	if _, err := e.Needs(models.Setup{Slots: 1, Context: 512, Batch: 512, CacheType: "q2_k"}); err == nil {
		t.Error("an unknown cache type passes")
	}
	if _, err := e.Needs(models.Setup{Slots: 256, Context: 1 << 24, Batch: 512}); err == nil {
		t.Error("more cells than llama.cpp can count pass")
	}
	if _, err := models.NewEstimator(t.TempDir()); err == nil {
		t.Error("a folder passes for a model")
	}
}
