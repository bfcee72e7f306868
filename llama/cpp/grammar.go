package cpp

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"aim/llama"
	"aim/sampler"
)

var _ llama.SchemaConverter = (*Model)(nil)

// What the converter of llama.cpp can take: it recurses, copies the whole schema for each reference, and spends time with the
// third power of an object's properties. Within these bounds it takes less than a second.
const (
	maxSchema      = 256 << 10 // bytes
	maxSchemaDepth = 64
	maxSchemaName  = 256     // bytes of a property's name, which ends up in the names of the rules below it
	maxSchemaText  = 1 << 10 // bytes of a pattern or a reference
	maxSchemaCost  = 1 << 24 // property names to be copied, and bytes to be copied for references
	maxSchemaBound = 1 << 53 // of an integer, so that no sum with 1 overflows
	schemaStack    = 256 << 20
)

// SchemaToGrammar implements [llama.SchemaConverter] by llama.cpp's converter, whose own idea of JSON schema it shares: what that does not
// know, it may skip. The grammar's root is "root". Errors are those of the converter, and bounds on what it can take.
func (m *Model) SchemaToGrammar(schema []byte) (string, error) {
	if err := checkConvertible(schema); err != nil {
		return "", fmt.Errorf("JSON schema: %w", err)
	}
	var thrown errorBuffer
	text := C.aim_schema_to_grammar((*C.char)(unsafe.Pointer(unsafe.SliceData(schema))), C.size_t(len(schema)), schemaStack, thrown.ptr(), thrown.len())
	if text == nil {
		return "", fmt.Errorf("JSON schema: %s", strings.ToValidUTF8(thrown.String(), "\ufffd"))
	}
	defer C.free(unsafe.Pointer(text))
	return C.GoString(text), nil
}

// checkConvertible refuses what would take the converter too long, or the process with it.
func checkConvertible(schema []byte) error {
	if len(schema) > maxSchema {
		return fmt.Errorf("%d bytes, must be at most %d", len(schema), maxSchema)
	}
	var root any
	if err := json.Unmarshal(schema, &root); err != nil {
		return err
	}
	w := schemaWalk{root: root}
	cost, err := w.cost(root, 0)
	if err != nil {
		return err
	}
	if copied := float64(w.refs) * float64(len(schema)); max(cost, copied) > maxSchemaCost {
		return errors.New("too many properties, types or references")
	}
	return nil
}

// schemaWalk goes through a schema.
type schemaWalk struct {
	root any
	refs int
}

// cost is about how many names the converter copies for a part of the schema.
func (w *schemaWalk) cost(part any, depth int) (float64, error) {
	if depth > maxSchemaDepth {
		return 0, fmt.Errorf("nested deeper than %d", maxSchemaDepth)
	}
	total := 1.0
	switch part := part.(type) {
	case []any:
		for _, item := range part {
			c, err := w.cost(item, depth+1)
			if err != nil {
				return 0, err
			}
			total += c
		}
	case map[string]any:
		for name, item := range part {
			if err := w.check(name, item); err != nil {
				return 0, err
			}
			c, err := w.cost(item, depth+1)
			if err != nil {
				return 0, err
			}
			total += c
		}
		n, err := w.properties(part)
		if err != nil {
			return 0, err
		}
		total += float64(n) * float64(n) * float64(n)
		if types, ok := part["type"].([]any); ok { // the whole part is converted for each of them
			total *= float64(max(1, len(types)))
		}
	}
	return total, nil
}

// check looks at a member of an object, which may be a keyword or a name.
func (w *schemaWalk) check(name string, value any) error {
	if len(name) > maxSchemaName {
		return fmt.Errorf("the name %.20q… has %d bytes, must be at most %d", name, len(name), maxSchemaName)
	}
	text, isText := value.(string)
	number, isNumber := value.(float64)
	switch name {
	case "$ref", "pattern", "format":
		if name == "$ref" {
			w.refs++
		}
		if isText && (text == "" || len(text) > maxSchemaText) {
			return fmt.Errorf("%s of %d bytes, must be in [1, %d]", name, len(text), maxSchemaText)
		}
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		if isNumber && !(-maxSchemaBound <= number && number <= maxSchemaBound) {
			return fmt.Errorf("%s is %g, must be in [-2^53, 2^53]", name, number)
		}
	}
	return nil
}

// properties is the number of properties that the converter gathers in one object: those of its own, or of all that allOf joins.
func (w *schemaWalk) properties(part map[string]any) (int, error) {
	n := 0
	if own, ok := part["properties"].(map[string]any); ok {
		n = len(own)
	}
	all, _ := part["allOf"].([]any)
	for _, item := range all {
		parts := []any{item}
		if object, ok := item.(map[string]any); ok {
			if some, ok := object["anyOf"].([]any); ok {
				parts = some
			}
		}
		for _, p := range parts {
			object, err := w.follow(p)
			if err != nil {
				return 0, err
			}
			if own, ok := object["properties"].(map[string]any); ok {
				n += len(own)
			}
		}
	}
	return n, nil
}

// follow is the object that a chain of references leads to.
func (w *schemaWalk) follow(part any) (map[string]any, error) {
	for range maxSchemaDepth {
		object, _ := part.(map[string]any)
		ref, ok := object["$ref"].(string)
		if !ok {
			return object, nil
		}
		part = w.at(ref)
	}
	return nil, errors.New("$ref leads in a circle, or too far")
}

// at is the part that a reference within the schema names, nil where there is none. Like the converter, it knows no escapes.
func (w *schemaWalk) at(ref string) any {
	pointer, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	part := w.root
	for _, name := range strings.Split(pointer, "/") {
		switch container := part.(type) {
		case map[string]any:
			part = container[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(container) {
				return nil
			}
			part = container[i]
		default:
			return nil
		}
	}
	return part
}

// allowedTokens are the tokens that llama.cpp's own grammar sampler allows after others: what tests compare ours with.
func (m *Model) allowedTokens(gbnf string, after []sampler.Token) ([]sampler.Token, error) {
	text := C.CString(gbnf)
	defer C.free(unsafe.Pointer(text))
	allowed := make([]C.uint8_t, m.Vocab())
	var thrown errorBuffer
	if !C.aim_grammar_allowed(m.vocab, text, (*C.llama_token)(unsafe.Pointer(unsafe.SliceData(after))), C.size_t(len(after)), &allowed[0], thrown.ptr(), thrown.len()) {
		return nil, fmt.Errorf("llama.cpp's grammar: %s", thrown.String())
	}
	var tokens []sampler.Token
	for t, yes := range allowed {
		if yes != 0 {
			tokens = append(tokens, sampler.Token(t))
		}
	}
	return tokens, nil
}
