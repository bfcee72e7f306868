package server

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"

	"aim/llama"
	"aim/sampler"
)

// biases gathers what logit_bias adds to logits and which tokens it forbids.
type biases struct {
	o     *object
	model llama.Model
	add   map[sampler.Token]float64
	ban   []sampler.Token
}

// bias reads logit_bias. As in llama-server it is an object or an array of pairs; a key is the id of a token, which an object's
// keys spell as text, or a text, which stands for all its tokens; false forbids them. What several entries add to one token is
// summed up, within the bounds of one.
func (o *object) bias(m llama.Model) (add map[sampler.Token]float64, ban []sampler.Token) {
	raw := o.take(fieldBias)
	b := &biases{o: o, model: m, add: map[sampler.Token]float64{}}
	switch typeOf(raw) {
	case isObject:
		var members map[string]json.RawMessage
		into(raw, &members)
		if len(members) > fieldBias.most {
			o.failValue(fieldBias, "has %d entries, the most is %d", len(members), fieldBias.most)
			return nil, nil
		}
		for _, key := range slices.Sorted(maps.Keys(members)) { // a sum depends on its order
			b.member(key, members[key])
		}
	default:
		for i, pair := range o.array(fieldBias) {
			b.pair(o.item(fieldBias, i), pair)
		}
	}
	for t, v := range b.add {
		b.add[t] = min(max(v, fieldBias.items.bounds.low), fieldBias.items.bounds.high)
	}
	if len(b.add) == 0 {
		b.add = nil
	}
	slices.Sort(b.ban)
	return b.add, b.ban
}

// member reads an entry of an object.
func (b *biases) member(key string, value json.RawMessage) {
	param := b.o.param(fieldBias) + "." + clip(key)
	if typeOf(value) == 0 { // null
		return
	}
	if _, err := strconv.ParseFloat(key, 64); err != nil {
		b.set(param, b.text(param, key), value)
		return
	}
	id, ok := wholeNumber(json.RawMessage(key))
	if !ok || id < 0 || id > math.MaxInt32 {
		b.o.failAt(param, "is not the id of a token")
		return
	}
	b.set(param, b.id(param, id), value)
}

// pair reads an entry of an array.
func (b *biases) pair(param string, raw json.RawMessage) {
	var pair []json.RawMessage
	if typeOf(raw) == isArray {
		into(raw, &pair)
	}
	if len(pair) != 2 {
		b.o.failType(param, "a pair of a token and its bias", raw)
		return
	}
	var tokens []sampler.Token
	if typeOf(pair[0]) == isString {
		var text string
		into(pair[0], &text)
		tokens = b.text(param+"[0]", text)
	} else {
		tokens = b.id(param+"[0]", int64(b.o.token(param+"[0]", pair[0])))
	}
	b.set(param+"[1]", tokens, pair[1])
}

func (b *biases) id(param string, id int64) []sampler.Token {
	if id >= int64(b.model.Vocab()) {
		b.o.failAt(param, "is %d, must be a token in [0, %d]", id, b.model.Vocab()-1)
		return nil
	}
	return []sampler.Token{sampler.Token(id)}
}

// text finds the tokens of a text, which cannot spell special tokens.
func (b *biases) text(param, text string) []sampler.Token {
	if len(text) > maxBiased {
		b.o.failAt(param, "has %d bytes, the most is %d", len(text), maxBiased)
		return nil
	}
	tokens, err := b.model.Tokenize([]llama.Part{{Text: text}}, false)
	if err != nil || len(tokens) == 0 {
		b.o.failAt(param, "has no tokens")
	}
	return tokens
}

// set adds the value at param to the biases of tokens.
func (b *biases) set(param string, tokens []sampler.Token, raw json.RawMessage) {
	if typeOf(raw) == isBoolean {
		if string(raw) == "true" {
			b.o.failType(param, "a number or false", raw)
		}
		b.ban = append(b.ban, tokens...)
		return
	}
	if typeOf(raw)&isNumber == 0 {
		b.o.failType(param, "a number or false", raw)
		return
	}
	v := fieldBias.items.number(b.o, param, raw)
	for _, t := range tokens {
		b.add[t] += v
	}
}
