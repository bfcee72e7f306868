package models

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	gguf "github.com/gpustack/gguf-parser-go"
)

// The weights that Identity reads: so many pieces of a file, of so many bytes each, evenly over it.
const (
	identityPieces = 32
	identityPiece  = 16 << 10
)

// Identity names what is in a GGUF file, or in all parts of a split one, wherever it lies: 32 hexadecimal digits of the
// SHA-256 of its size, its header, and half a megabyte of weights from all over it, by which fine-tunings of one model are
// told apart. The whole of it is not read: that takes minutes where a model has 40 GB.
func Identity(path string) (id string, err error) {
	defer malformed(&err)
	f, err := parse(path, gguf.SkipLargeMetadata())
	if err != nil {
		return "", err
	}
	paths := gguf.CompleteShardGGUFFilename(path)
	if len(paths) == 0 {
		paths = []string{path}
	}
	if len(f.SplitTensorDataStartOffsets) != len(paths) {
		return "", fmt.Errorf("%d headers in %d files", len(f.SplitTensorDataStartOffsets), len(paths))
	}
	h := sha256.New()
	for i, p := range paths {
		if err := identify(h, p, f.SplitTensorDataStartOffsets[i]); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// identify writes what identifies one file.
func identify(h io.Writer, path string, header int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	header = min(header, size)
	for _, n := range []int64{size, header} {
		if err := binary.Write(h, binary.LittleEndian, n); err != nil {
			return err
		}
	}
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, header)); err != nil {
		return err
	}
	stride := max((size-header)/identityPieces, identityPiece)
	for at := header; at < size; at += stride {
		if _, err := io.Copy(h, io.NewSectionReader(f, at, identityPiece)); err != nil {
			return err
		}
	}
	return nil
}
