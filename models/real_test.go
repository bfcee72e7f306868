package models_test

import (
	"os"
	"testing"

	"aim/internal/testmodel"
	"aim/models"
)

func TestReadRealModel(t *testing.T) {
	got, err := models.Read(testmodel.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	// As llama.cpp prints them when it loads the file; its size is in the script fetch-model.
	want := models.Facts{Size: 98362432, Architecture: "llama", Quantization: "Q4_1", Parameters: 134515008, Context: 8192}
	if os.Getenv("AIM_TEST_MODEL") == "" && got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestIdentityOfRealModel(t *testing.T) {
	path := testmodel.Path(t)
	id, err := models.Identity(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := models.Identity(path); err != nil || again != id {
		t.Errorf("first %s, then %s, %v", id, again, err)
	}
}

func TestDescribeRealModel(t *testing.T) {
	if os.Getenv("AIM_TEST_MODEL") != "" {
		t.Skip("the figures are the default model's")
	}
	d, err := models.Describe(testmodel.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	if d.Layers != 30 || d.Embedding != 576 || d.Heads != 9 || d.HeadsKV != 3 || d.Vocabulary != 49152 || d.Tokenizer != "gpt2" ||
		d.Split != "smollm" || !d.ChatTemplate || d.BitsPerWeight < 5 || d.BitsPerWeight > 6.5 {
		t.Errorf("%+v", d)
	}
	if n, err := models.Used(testmodel.Path(t), 4, 2048); err != nil || n.KV != 180<<20 {
		t.Errorf("%+v, %v", n, err)
	}
}
