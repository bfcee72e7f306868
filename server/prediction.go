package server

import "aim/llama"

// A text that an answer is expected to be like.
var (
	predictionFields     = &group{name: "Prediction", path: "prediction"}
	predictionPartFields = &group{name: "PredictionPart", path: "prediction.content[]"}

	fieldPrediction = bodyFields.declare(field{
		name: "prediction", in: inChat, types: isObject, of: predictionFields, absent: "none",
		doc: "What the answer will largely be, such as a file to be changed in a few places. It changes nothing about the answer but how soon it is there.",
	})
	fieldPredictionType = predictionFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"content"},
		doc: "What is predicted.",
	})
	fieldPredictionContent = predictionFields.declare(field{
		name: "content", types: isString | isArray, required: true, items: &field{types: isObject, of: predictionPartFields},
		doc: "Text, or an array of parts, which are lines of it.",
	})
	fieldPredictionPartType = predictionPartFields.declare(field{
		name: "type", types: isString, required: true,
		doc: "\"text\"; others are refused with the code unsupported_content.",
	})
	fieldPredictionPartText = predictionPartFields.declare(field{
		name: "text", types: isString, required: true,
		doc: "The text.",
	})
)

// prediction reads what the answer is expected to be like, for those who guess ahead.
func (o *object) prediction(c *call) error {
	p := o.object(fieldPrediction)
	if p == nil {
		return *o.err
	}
	p.require(fieldPredictionType)
	p.require(fieldPredictionContent)
	p.text(fieldPredictionType)
	text := p.textParts(fieldPredictionContent, fieldPredictionPartType, map[string]*field{"text": fieldPredictionPartText})
	if *o.err != nil || text == "" {
		return *o.err
	}
	tokens, err := c.model.Engine.Model().Tokenize([]llama.Part{{Text: text}}, false)
	if err != nil {
		return invalid(p.param(fieldPredictionContent), codeValue, "the predicted text cannot be tokenized: %v", err)
	}
	c.request.Predicted = tokens
	return nil
}
