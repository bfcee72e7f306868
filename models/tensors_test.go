package models

import (
	"slices"
	"testing"
)

func TestTensors(t *testing.T) {
	f := tiny()
	f.tensor("blk.0.ffn_up.weight", tensorQ4_1, 64, 32, 64*32/32*20)
	f.tensor("output.weight", tensorF32, 64, 8, 64*8*4)
	path := write(t, t.TempDir(), "a.gguf", f.bytes())
	tensors, err := Tensors(path)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(tensors, func(t Tensor) bool { return t.Name == "blk.0.ffn_up.weight" })
	if i < 0 || tensors[i].Type != "Q4_1" || !slices.Equal(tensors[i].Shape, []uint64{64, 32}) || tensors[i].Bytes != 1280 || tensors[i].Elements() != 2048 {
		t.Errorf("%+v", tensors)
	}
	if _, err := Tensors(t.TempDir()); err == nil {
		t.Error("a folder has tensors")
	}
	embedding, output := Tensor{Name: "token_embd.weight", Type: "Q4_1"}, Tensor{Name: "output.weight", Type: "Q6_K"}
	for want, list := range map[string][]Tensor{"": nil, "Q4_1": {embedding}, "Q6_K": {output, embedding}} {
		if got := OutputType(list); got != want {
			t.Errorf("of %v it is %q", list, got)
		}
	}
}

func TestFreeSpace(t *testing.T) {
	if free, err := FreeSpace(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d, %v", free, err)
	}
	if _, err := FreeSpace("/none/such"); err == nil {
		t.Error("a folder that does not exist has room")
	}
}
