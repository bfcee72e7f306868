package server

// The fields of /tokenize, /detokenize and /v1/embeddings.
var (
	fieldTokenText = bodyFields.declare(field{
		name: "content", aliases: []string{"prompt"}, in: inTokenize, types: isString, absent: "messages",
		doc: "The text; it or messages must be there.",
	})
	fieldTokenMessages = bodyFields.declare(field{
		name: "messages", in: inTokenize, types: isArray, absent: "content", most: maxMessages, items: &field{types: isObject, of: messageFields},
		doc: "A conversation, in place of a text: the tokens are those of its prompt, as /v1/chat/completions has it.",
	})
	fieldAddSpecial = bodyFields.declare(field{
		name: "add_special", aliases: []string{"add_special_tokens"}, in: inTokenize, types: isBoolean, def: false,
		doc: "Add the tokens that the model wants around a prompt, as completions have them; a conversation always has them.",
	})
	fieldParseSpecial = bodyFields.declare(field{
		name: "parse_special", in: inTokenize, types: isBoolean, def: true,
		doc: "Whether the text may spell special tokens.",
	})
	fieldWithPieces = bodyFields.declare(field{
		name: "with_pieces", in: inTokenize, types: isBoolean, def: false,
		doc: "Give each token as an object with its id and its piece: text, or bytes where that is part of a character.",
	})
	fieldTokens = bodyFields.declare(field{
		name: "tokens", in: inDetokenize, types: isArray, required: true, items: &field{types: isInteger}, most: maxDetokenized,
		doc: "The ids of the tokens.",
	})
	fieldInputs = bodyFields.declare(field{
		name: "input", in: inEmbeddings, types: isString | isArray, required: true, most: maxInputs, items: &field{types: isString | isInteger | isArray},
		doc: "Text, an array of texts, of token ids, or of arrays of token ids. Text spells no special tokens.",
	})
	fieldEncoding = bodyFields.declare(field{
		name: "encoding_format", in: inEmbeddings, types: isString, enum: []string{"float", "base64"}, def: "float",
		doc: "Numbers, or their float32 in little-endian order as base64.",
	})
	fieldDimensions = bodyFields.declare(field{
		name: "dimensions", in: inEmbeddings, types: isInteger, bounds: atLeast(1), absent: "the model's",
		doc: "How many entries to keep of a vector, which then has length 1 again; at most the model's.",
	})
)

// maxDetokenized bounds the tokens of a request.
const maxDetokenized = 1 << 16
