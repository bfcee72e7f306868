// Package snapshot keeps a prefix cache on disk between two runs of a server, so that a restart costs nobody a prompt.
//
// A file is bound to what it was made of (model, sizes of the KV cache, program) by a fingerprint, and to its owner by a MAC: llama.cpp
// believes the states that it is given, so they must come from nobody else.
package snapshot

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"

	"aim/internal/state"
	"aim/llama"
	"aim/sampler"
)

// magic begins a file; its number is that of the format.
const magic = "AIM prefix cache 2\n"

// ErrOther says that a file belongs to another model, other sizes or another program.
var ErrOther = errors.New("it was made by another model, with other sizes or by another version")

// Write makes prefixes the content of the file at path, readable by its owner alone, and returns their number. Who reads meanwhile finds
// the old file or the new one, whole.
func Write(path string, secret []byte, fingerprint string, prefixes iter.Seq[llama.Cached]) (n int, err error) {
	err = state.WriteFrom(path, func(f io.Writer) error {
		buffered := bufio.NewWriterSize(f, 1<<20)
		w := &writer{w: buffered, mac: mac(secret)}
		w.raw([]byte(magic))
		w.bytes([]byte(fingerprint))
		for p := range prefixes {
			w.number(1)
			w.bytes([]byte(p.Domain))
			w.number(uint64(p.Adapters))
			w.number(uint64(len(p.Tokens)))
			for _, t := range p.Tokens {
				w.number(uint64(t))
			}
			w.bytes(p.State)
			n++
			if w.err != nil {
				break
			}
		}
		w.number(0)
		w.raw(w.mac.Sum(nil))
		return errors.Join(w.err, buffered.Flush())
	})
	return n, err
}

// Read returns what the file at path holds. It fails with [fs.ErrNotExist], with [ErrOther], or because the file is damaged or not its
// owner's.
func Read(path string, secret []byte, fingerprint string) ([]llama.Cached, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok || len(body) < sha256.Size {
		return nil, fmt.Errorf("%s: %w", path, ErrOther)
	}
	body, sum := body[:len(body)-sha256.Size], body[len(body)-sha256.Size:]
	m := mac(secret)
	m.Write([]byte(magic))
	m.Write(body)
	if !hmac.Equal(m.Sum(nil), sum) {
		return nil, fmt.Errorf("%s: it is damaged, or was made with another secret", path)
	}
	r := reader{bytes.NewReader(body)}
	of, err := r.bytes()
	if err == nil && string(of) != fingerprint {
		err = ErrOther
	}
	var list []llama.Cached
	for err == nil {
		var c llama.Cached
		var more bool
		if c, more, err = r.prefix(); err == nil && !more {
			return list, nil
		}
		list = append(list, c)
	}
	return nil, fmt.Errorf("%s: %w", path, err)
}

// Missing says that an error of Read means no more than that there is no file to be used.
func Missing(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrOther) }

func mac(secret []byte) hash.Hash {
	key := hmac.New(sha256.New, secret)
	key.Write([]byte("prefix cache"))
	return hmac.New(sha256.New, key.Sum(nil))
}

type writer struct {
	w   io.Writer
	mac hash.Hash
	err error
}

func (w *writer) raw(b []byte) {
	if w.err == nil {
		w.mac.Write(b)
		_, w.err = w.w.Write(b)
	}
}

func (w *writer) number(n uint64) { w.raw(binary.AppendUvarint(nil, n)) }

func (w *writer) bytes(b []byte) {
	w.number(uint64(len(b)))
	w.raw(b)
}

type reader struct{ *bytes.Reader }

func (r reader) number() (uint64, error) {
	n, err := binary.ReadUvarint(r)
	if err == nil && n > uint64(r.Len())+1<<32 {
		err = fmt.Errorf("%d is no number of its format", n)
	}
	return n, err
}

func (r reader) bytes() ([]byte, error) {
	n, err := r.number()
	if err != nil {
		return nil, err
	}
	if n > uint64(r.Len()) {
		return nil, io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

func (r reader) prefix() (c llama.Cached, more bool, err error) {
	if n, err := r.number(); err != nil || n == 0 {
		return c, false, err
	}
	domain, err := r.bytes()
	if err != nil {
		return c, false, err
	}
	set, err := r.number()
	if err != nil {
		return c, false, err
	}
	n, err := r.number()
	if err == nil && n > uint64(r.Len()) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return c, false, err
	}
	c.Domain, c.Adapters, c.Tokens = string(domain), llama.AdapterSet(set), make([]sampler.Token, n)
	for i := range c.Tokens {
		t, err := r.number()
		if err != nil {
			return c, false, err
		}
		c.Tokens[i] = sampler.Token(t)
	}
	c.State, err = r.bytes()
	return c, true, err
}
