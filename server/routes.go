package server

import (
	"net/http"
	"reflect"

	"github.com/gin-gonic/gin"
)

// route is an endpoint: what Handler serves, and docs/api.md and /openapi.json list.
type route struct {
	method, path string
	handle       gin.HandlerFunc
	// always says that it also answers while the server drains.
	always bool
	// open says that it needs no API key, and admin that it needs one of an administrator.
	open, admin bool
	// when says whether the server has it; nil for always.
	when func() bool
	doc  string
	// body are the endpoints whose fields a request has, 0 where it has none, and extends those whose requests it extends.
	body, extends endpoints
	// name is that of the schema of its body.
	name string
	// answer is what is encoded, and event what is sent as an event in a stream; nil where there is none.
	answer, event any
}

// routes lists the endpoints.
func (s *Server) routes() []route {
	return append([]route{
		{
			method: http.MethodPost, path: "/v1/chat/completions", handle: s.chatCompletions,
			doc: "Answers a conversation.", body: inChat, name: "ChatRequest", answer: chatWhole{}, event: chatChunk{},
		},
		{
			method: http.MethodPost, path: "/v1/completions", handle: s.completions,
			doc: "Continues a text.", body: inText, name: "CompletionRequest", answer: textCompletion{}, event: textCompletion{},
		},
		{
			method: http.MethodPost, path: "/v1/responses", handle: s.responses,
			doc:  "Answers a conversation, as OpenAI's Responses API does, without storing anything; events are named, and the last is response.completed or response.incomplete.",
			body: inResponses, name: "ResponseRequest", answer: responseWhole{}, event: eventHead{},
		},
		{
			method: http.MethodPost, path: "/v1/messages", handle: s.messages,
			doc:  "Answers a conversation, as Anthropic's Messages API does; so are the events of a stream and the errors, which are 529 instead of 503.",
			body: inMessages, name: "MessagesRequest", answer: message{}, event: eventType{},
		},
		{
			method: http.MethodPost, path: "/v1/messages/count_tokens", handle: s.countTokens,
			doc: "Counts the tokens of such a request's prompt.", body: inCount, name: "CountRequest", answer: tokenCount{},
		},
		{
			method: http.MethodPost, path: "/v1/embeddings", handle: s.embeddings,
			doc: "Gives vectors of texts.", body: inEmbeddings, name: "EmbeddingRequest", answer: embeddingList{},
		},
		{
			method: http.MethodPost, path: "/tokenize", handle: s.tokenize,
			doc: "Turns text into tokens.", body: inTokenize, name: "TokenizeRequest", answer: tokenized{},
		},
		{
			method: http.MethodPost, path: "/detokenize", handle: s.detokenize,
			doc: "Turns tokens into text.", body: inDetokenize, name: "DetokenizeRequest", answer: detokenized{},
		},
		{
			method: http.MethodPost, path: "/apply-template", handle: s.applyTemplate,
			doc: "Gives the prompt that a chat request would have.", body: inChat, name: "ChatRequest", answer: rendered{},
		},
		{
			method: http.MethodPost, path: "/v1/aim/preview", handle: s.preview,
			doc: "Shows the next token's distribution before and after modulation.", body: inPreview, extends: inBoth,
			name: "PreviewRequest", answer: previewWhole{},
		},
		{
			method: http.MethodPost, path: "/v1/aim/sweep", handle: s.sweep,
			doc: "Answers at several settings of a dial; the answer is that of the endpoint whose request it extends.", body: inSweep, extends: inBoth,
			name: "SweepRequest", answer: chatWhole{}, event: chatChunk{},
		},
		{method: http.MethodGet, path: "/v1/models", handle: s.listModels, doc: "Lists the models.", answer: modelList{}},
		// Names contain slashes.
		{method: http.MethodGet, path: "/v1/models/*id", handle: s.getModel, doc: "Describes a model.", answer: modelInfo{}},
		{method: http.MethodGet, path: "/v1/aim/models/*id", handle: s.describe, doc: "Says what a request may ask of a model, and with a grant for it what its levels mean.", answer: description{}},
		{method: http.MethodGet, path: "/props", handle: s.about(s.showProps), doc: "Says what the server can do and with which template.", answer: props{}},
		{method: http.MethodGet, path: "/tokenizer_info", handle: s.about(s.showTokenizer), doc: "Says what evaluation harnesses ask of a tokenizer.", answer: tokenizerInfo{}},
		{method: http.MethodGet, path: "/slots", handle: s.about(s.showSlots), doc: "Says which slots are at work, not on what.", answer: []slotInfo{}},
		{method: http.MethodGet, path: "/health", handle: s.health, always: true, open: true, doc: "Says whether new requests are taken.", answer: health{}},
		{method: http.MethodHead, path: "/health", handle: s.health, always: true, open: true, doc: "The same, by its status."},
		{method: http.MethodGet, path: "/health/live", handle: s.live, always: true, open: true, doc: "Says that the process answers.", answer: health{}},
		{method: http.MethodGet, path: "/health/ready", handle: s.ready, always: true, open: true, doc: "Says whether requests should be sent here: not while the server drains or a decode does not end.", answer: health{}},
		{method: http.MethodGet, path: "/openapi.json", handle: s.openAPI, always: true, open: true, doc: "Describes all this as an OpenAPI 3.1 document.", answer: map[string]any{}},
	}, forAdmins(s.adminRoutes())...)
}

// forAdmins makes routes such of administrators, which also answer while the server drains.
func forAdmins(list []route) []route {
	for i := range list {
		list[i].admin, list[i].always = true, true
	}
	return list
}

// named is the type of a part of an answer, and the name of its schema.
var named = map[reflect.Type]string{
	reflect.TypeFor[chatWhole]():      "ChatCompletion",
	reflect.TypeFor[chatChunk]():      "ChatCompletionChunk",
	reflect.TypeFor[textCompletion](): "Completion",
	reflect.TypeFor[previewWhole]():   "Preview",
	reflect.TypeFor[modelList]():      "ModelList",
	reflect.TypeFor[modelInfo]():      "Model",
	reflect.TypeFor[health]():         "Health",
	reflect.TypeFor[usage]():          "Usage",
	reflect.TypeFor[responseWhole]():  "Response",
	reflect.TypeFor[eventHead]():      "ResponseEvent",
	reflect.TypeFor[message]():        "MessagesAnswer",
	reflect.TypeFor[eventType]():      "MessagesEvent",
	reflect.TypeFor[aimField]():       "AimReport",
}
