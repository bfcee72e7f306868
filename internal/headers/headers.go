//go:build headers

// Package headers keeps a module in go.mod of which only a C header is needed: llama.cpp's multimodal sources include
// miniaudio.h, which the Go module of the binding lacks. scripts/env.sh links it from here.
package headers

import _ "github.com/gen2brain/malgo"
