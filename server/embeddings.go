package server

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"

	"github.com/gin-gonic/gin"

	"aim/llama"
	"aim/sampler"
)

// maxInputs bounds the inputs of a request for vectors.
const maxInputs = 2048

// embeddingList answers POST /v1/embeddings.
type embeddingList struct {
	Object string         `json:"object"`
	Data   []embedding    `json:"data"`
	Model  string         `json:"model"`
	Usage  embeddingUsage `json:"usage"`
}

// embedding is the vector of one input: numbers, or the base64 of their float32 in little-endian order.
type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"`
}

type embeddingUsage struct {
	Prompt int `json:"prompt_tokens"`
	Total  int `json:"total_tokens"`
}

// embeddings serves POST /v1/embeddings.
func (s *Server) embeddings(c *gin.Context) {
	s.answer(c, func(o *object) (any, error) {
		list, err := s.embed(c.Request.Context(), o)
		if err == nil {
			recordOf(c).usage.Prompt = list.Usage.Prompt
		}
		return list, err
	})
}

func (s *Server) embed(ctx context.Context, o *object) (*embeddingList, error) {
	m, err := s.modelOf(o)
	if err != nil {
		return nil, err
	}
	if m.Embedder == nil {
		return nil, invalid("model", "embeddings_not_enabled", "the model %s gives no embeddings; its owner turns them on with --embeddings on", m.ID)
	}
	inputs := o.inputs(m)
	format := o.text(fieldEncoding)
	wanted := int(o.integer(fieldDimensions))
	o.text(fieldUser)
	if *o.err != nil {
		return nil, *o.err
	}
	if size := m.Embedder.Dimensions(); wanted > size {
		o.failValue(fieldDimensions, "is %d, must be in [1, %d]", wanted, size)
		return nil, *o.err
	}
	if !m.vectors.take("", 1) {
		return nil, llama.ErrBusy
	}
	defer m.vectors.give("", 1)
	vectors, err := m.Embedder.Embed(ctx, inputs)
	if domain := new(sampler.DomainError); errors.As(err, &domain) {
		return nil, invalid("input", codeValue, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	list := &embeddingList{Object: "list", Model: m.ID, Data: make([]embedding, len(vectors))}
	for i, v := range vectors {
		v = shortened(v, wanted)
		list.Data[i] = embedding{"embedding", i, v}
		if format == "base64" {
			list.Data[i].Embedding = packed(v)
		}
		list.Usage.Prompt += len(inputs[i])
	}
	list.Usage.Total = list.Usage.Prompt
	return list, nil
}

// inputs reads a text, texts, token ids or lists of token ids, each as tokens.
func (o *object) inputs(m *served) (inputs [][]sampler.Token) {
	o.require(fieldInputs)
	if !o.has(fieldInputs) || *o.err != nil {
		return nil
	}
	model := m.Engine.Model()
	texts, lists := o.textsOrTokens(fieldInputs)
	for i, text := range texts {
		tokens, err := model.Tokenize([]llama.Part{{Text: text}}, true)
		if err == nil && text == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			o.failAt(o.item(fieldInputs, i), "cannot be tokenized: %v", err)
			return nil
		}
		inputs = append(inputs, tokens)
	}
	for _, l := range lists {
		inputs = append(inputs, o.tokens(model, l.param, l.ids))
	}
	return inputs
}

// shortened is the vector's first n entries at length 1, all of it for n = 0.
func shortened(v []float32, n int) []float32 {
	if n == 0 || n >= len(v) {
		return v
	}
	v = v[:n]
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return v
	}
	norm := math.Sqrt(sum)
	for i := range v {
		v[i] = float32(float64(v[i]) / norm)
	}
	return v
}

func packed(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
