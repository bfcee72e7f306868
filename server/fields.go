package server

import (
	"aim/internal/chat"
	"aim/sampler"
)

// Bounds of a request that are the API's own. Those of the sampling parameters are sampler's, which checks them again.
const (
	maxChoices  = 128
	maxMessages = 4096
	// maxStops bounds the stop strings, maxStop the bytes of one.
	maxStops = 16
	maxStop  = 1024
	// maxFocus bounds the entries of a request's focus, maxWords the words of an entry, maxWord the bytes of a word, and
	// maxTargets the tokens that all entries name: each costs every choice some memory.
	maxFocus   = 64
	maxWords   = 64
	maxWord    = 256
	maxTargets = 4096
	// maxSpan bounds the bytes of a span, maxSpans their number in a request.
	maxSpan  = 1 << 16
	maxSpans = sampler.MaxSpans
	// maxPoints bounds the points of a sweep.
	maxPoints = 16
	// maxTop bounds the tokens that a preview lists of each side.
	maxTop = 100
	// maxLogprobs bounds the most probable tokens told for each token.
	maxLogprobs = 20
	// maxSigma is the largest σ there is.
	maxSigma = 100
	// maxBiases bounds the entries of logit_bias, maxBiased the bytes of a text in it.
	maxBiases = 1 << 16
	maxBiased = 1024
	// maxBreakers bounds the texts that end a repetition, maxBreaker the bytes of one.
	maxBreakers = 64
	maxBreaker  = 40
	// maxGrammar bounds the bytes of a grammar, maxAlternatives the texts of a choice and maxAlternative the bytes of one.
	maxGrammar      = 1 << 16
	maxAlternatives = 1 << 10
	maxAlternative  = 1 << 12
	// maxTools bounds the tools of a request and the calls of a message, maxToolName the bytes of a name and maxCallID those of an id.
	maxTools    = 128
	maxToolName = 64
	maxCallID   = 256
	// maxKwargs bounds the variables for a template.
	maxKwargs = 64
)

// The objects of requests.
var (
	bodyFields           = &group{}
	streamOptionsFields  = &group{name: "StreamOptions", path: "stream_options"}
	messageFields        = &group{name: "Message", path: "messages[]", in: inPrompts}
	partFields           = &group{name: "ContentPart", path: "messages[].content[]", in: inPrompts}
	toolCallFields       = &group{name: "ToolCall", path: "messages[].tool_calls[]", in: inPrompts}
	calledFields         = &group{name: "CalledFunction", path: "messages[].tool_calls[].function", in: inPrompts}
	formatFields         = &group{name: "ResponseFormat", path: "response_format"}
	formatSchemaFields   = &group{name: "SchemaFormat", path: "response_format.json_schema"}
	structuredFields     = &group{name: "StructuredOutputs", path: "structured_outputs"}
	toolFields           = &group{name: "Tool", path: "tools[]", in: inPrompts}
	functionFields       = &group{name: "Function", path: "tools[].function", in: inPrompts}
	choiceFields         = &group{name: "ToolChoice", path: "tool_choice", in: inPrompts}
	choiceFunctionFields = &group{name: "NamedFunction", path: "tool_choice.function", in: inPrompts}
	allowedFields        = &group{name: "AllowedTools", path: "tool_choice.allowed_tools", in: inPrompts}
	allowedToolFields    = &group{name: "AllowedTool", path: "tool_choice.allowed_tools.tools[]", in: inPrompts}
	extensionsFields     = &group{name: "Aim", path: "aim", closed: true}
	utilityFields        = &group{name: "Utility", path: "aim.utility", closed: true}
	reportOptionsFields  = &group{name: "ReportOptions", path: "aim.report", closed: true}
	focusFields          = &group{name: "Focus", path: "aim.focus[]", closed: true}
)

// groups are all of them but the body, as docs show them.
var groups = []*group{
	streamOptionsFields, messageFields, partFields, toolCallFields, calledFields, formatFields, formatSchemaFields, structuredFields,
	toolFields, functionFields, choiceFields, choiceFunctionFields, allowedFields, allowedToolFields, predictionFields, predictionPartFields,
	extensionsFields, utilityFields, reportOptionsFields, focusFields,

	inputFields, inputPartFields, textFields, textFormatFields, reasoningFields, flatToolFields, flatChoiceFields, flatAllowedFields,
	turnFields, blockFields, textBlockFields, schemaToolFields, anyChoiceFields, thinkingFields, outputFields, outputFormatFields,
}

// What to answer.
var (
	fieldModel = bodyFields.declare(field{
		name: "model", in: inAll | inCount | inTokenize | inDetokenize | inEmbeddings, types: isString, absent: "the first model",
		doc: "A name from /v1/models.",
	})
	fieldMessages = bodyFields.declare(field{
		name: "messages", in: inChat, types: isArray, required: true, most: maxMessages, items: &field{types: isObject, of: messageFields},
		doc: "The conversation so far.",
	})
	fieldPrompt = bodyFields.declare(field{
		name: "prompt", in: inText, types: isString | isArray, required: true, items: &field{types: isString | isInteger | isArray},
		doc: "Text, an array of texts, of token ids, or of arrays of token ids. Text may spell special tokens.",
	})
	fieldSuffix = bodyFields.declare(field{
		name: "suffix", in: inText, types: isString, absent: "none",
		doc: "Ask for what stands between the prompt and this text, where the model has tokens for it.",
	})
	fieldEcho = bodyFields.declare(field{
		name: "echo", in: inText, types: isBoolean, def: false,
		doc: "Begin the answer with the prompt; with logprobs also its tokens' log-probabilities, of which the first is null.",
	})
)

// How much of it.
var (
	fieldMaxTokens = bodyFields.declare(field{
		name: "max_completion_tokens", aliases: []string{"max_tokens", "n_predict"}, in: inChat, types: isInteger, bounds: atLeast(1).or(-1), def: int64(-1),
		doc: "The most tokens of an answer; -1 for as many as the context holds.",
	})
	fieldMaxTokensText = bodyFields.declare(field{
		name: "max_completion_tokens", aliases: []string{"max_tokens", "n_predict"}, in: inText, types: isInteger, bounds: atLeast(-1),
		def: int64(defaultMaxTokens),
		doc: "The most tokens of an answer; -1 for as many as the context holds, 0 for none.",
	})
	fieldMinTokens = bodyFields.declare(field{
		name: "min_tokens", in: inAll, types: isInteger, bounds: atLeast(0), def: int64(0),
		doc: "The fewest tokens of an answer: before, it cannot end by itself.",
	})
	fieldIgnoreEnd = bodyFields.declare(field{
		name: "ignore_eos", in: inAll, types: isBoolean, def: false,
		doc: "Never let the model end the answer.",
	})
	fieldStop = bodyFields.declare(field{
		name: "stop", in: inBoth | inResponses, types: isString | isArray, most: maxStops, mostBytes: maxStop,
		items: &field{types: isString, mostBytes: maxStop}, absent: "none",
		doc: "Texts before which the answer ends.",
	})
	fieldN = bodyFields.declare(field{
		name: "n", aliases: []string{"n_cmpl"}, in: inBoth, types: isInteger, bounds: within(1, maxChoices), def: int64(1),
		doc: "How many answers to give to each prompt.",
	})
	fieldBestOf = bodyFields.declare(field{
		name: "best_of", in: inText, types: isInteger, bounds: within(1, maxChoices), absent: "n",
		doc: "How many answers to generate, of which the n with the highest mean log-probability are given; usage counts all. Not in a stream.",
	})
)

// In which form.
var (
	fieldStream = bodyFields.declare(field{
		name: "stream", in: inAll, types: isBoolean, def: false,
		doc: "Send the answer as server-sent events while it grows.",
	})
	fieldStreamOptions = bodyFields.declare(field{
		name: "stream_options", in: inBoth, types: isObject, of: streamOptionsFields, absent: "none",
		doc: "Only with stream.",
	})
	fieldIncludeUsage = streamOptionsFields.declare(field{
		name: "include_usage", types: isBoolean, def: false,
		doc: "End with a chunk that has the usage and no choices.",
	})
	fieldLogprobs = bodyFields.declare(field{
		name: "logprobs", in: inChat, types: isBoolean, def: false,
		doc: "Tell the log-probability of each token, in the modulated distribution.",
	})
	fieldTopLogprobs = bodyFields.declare(field{
		name: "top_logprobs", in: inChat, types: isInteger, bounds: within(0, maxLogprobs), def: int64(0),
		doc: "How many of the most probable tokens to tell, too; only with logprobs.",
	})
	fieldLogprobsText = bodyFields.declare(field{
		name: "logprobs", in: inText, types: isInteger, bounds: within(0, maxLogprobs), absent: "none",
		doc: "Tell the log-probability of each token, and of that many most probable ones.",
	})
	fieldCachePrompt = bodyFields.declare(field{
		name: "cache_prompt", in: inAll, types: isBoolean, def: true,
		doc: "Take over what was computed for prompts that begin alike, and leave this one for others.",
	})
	fieldCacheSalt = bodyFields.declare(field{
		name: "cache_salt", in: inAll, types: isString, absent: "none",
		doc: "Take over only from prompts with the same salt, so that nobody else can find out by time or cached_tokens what was asked.",
	})
	fieldUser = bodyFields.declare(field{
		name: "user", in: inBoth | inResponses | inEmbeddings, types: isString, absent: "none",
		doc: "Read by nobody.",
	})
)

// How tokens are chosen, in the order of the pipeline (sampler/doc.go).
var (
	fieldSeed = bodyFields.declare(field{
		name: "seed", in: inAll, types: isInteger, def: int64(-1),
		doc: "Starts the draw and the noise of focus; -1 for another one each time.",
	})
	fieldBias = bodyFields.declare(field{
		name: "logit_bias", in: inAll, types: isObject | isArray, most: maxBiases, absent: "none",
		items: &field{types: isNumber | isBoolean | isArray, bounds: within(-100, 100)},
		doc: "What to add to the logits of tokens: an object of token ids or texts, or an array of pairs of one and its bias. " +
			"A text stands for all its tokens; false forbids.",
	})
	fieldFrequencyPenalty = bodyFields.declare(field{
		name: "frequency_penalty", in: inAll, types: isNumber, bounds: within(-2, 2), def: 0.0,
		doc: "Subtracted from a token's logit for each time it occurs in the answer.",
	})
	fieldPresencePenalty = bodyFields.declare(field{
		name: "presence_penalty", in: inAll, types: isNumber, bounds: within(-2, 2), def: 0.0,
		doc: "Subtracted from the logits of all tokens that occur in the answer.",
	})
	fieldRepeatPenalty = bodyFields.declare(field{
		name: "repeat_penalty", aliases: []string{"repetition_penalty"}, in: inAll, types: isNumber, bounds: within(0, 10), def: 1.0,
		doc: "Divides positive and multiplies negative logits of tokens that occurred lately, prompt included; 0 and 1 are off.",
	})
	fieldRepeatLastN = bodyFields.declare(field{
		name: "repeat_last_n", in: inAll, types: isInteger, bounds: atLeast(-1), def: int64(64),
		doc: "How many tokens repeat_penalty looks back; -1 for all.",
	})
	fieldDRYMultiplier = bodyFields.declare(field{
		name: "dry_multiplier", in: inAll, types: isNumber, bounds: within(0, 100), def: 0.0,
		doc: "Strength of the DRY penalty on what would continue a sequence that occurred before; 0 is off.",
	})
	fieldDRYBase = bodyFields.declare(field{
		name: "dry_base", in: inAll, types: isNumber, bounds: within(1, 100), def: 1.75,
		doc: "Its growth with each further token of the repetition.",
	})
	fieldDRYAllowed = bodyFields.declare(field{
		name: "dry_allowed_length", in: inAll, types: isInteger, bounds: atLeast(1), def: int64(2),
		doc: "The longest repetition that costs nothing more than the multiplier.",
	})
	fieldDRYLastN = bodyFields.declare(field{
		name: "dry_penalty_last_n", in: inAll, types: isInteger, bounds: atLeast(-1), def: int64(-1),
		doc: "How many tokens it looks back; -1 for all, 0 for none.",
	})
	fieldDRYBreakers = bodyFields.declare(field{
		name: "dry_sequence_breakers", in: inAll, types: isArray, most: maxBreakers, items: &field{types: isString, mostBytes: maxBreaker},
		absent: `["\n", ":", "\"", "*"]`,
		doc:    "Texts that no repetition reaches across.",
	})
	fieldTemperature = bodyFields.declare(field{
		name: "temperature", in: inAll, types: isNumber, bounds: within(0, 2), def: 1.0,
		doc: "Divides the logits; 0 always takes the most probable token.",
	})
	fieldDynatempRange = bodyFields.declare(field{
		name: "dynatemp_range", in: inAll, types: isNumber, bounds: within(0, 2), def: 0.0,
		doc: "How far the temperature varies either way with the entropy of the distribution; 0 is off.",
	})
	fieldDynatempExponent = bodyFields.declare(field{
		name: "dynatemp_exponent", in: inAll, types: isNumber, bounds: within(0, 100), def: 1.0,
		doc: "The power of the entropy by which it varies.",
	})
	fieldTopNSigma = bodyFields.declare(field{
		name: "top_n_sigma", in: inAll, types: isNumber, bounds: within(0, 100).or(-1), def: 0.0,
		doc: "Keeps logits that are at most so many standard deviations below the largest; 0 and -1 are off.",
	})
	fieldTopK = bodyFields.declare(field{
		name: "top_k", in: inAll, types: isInteger, bounds: atLeast(0).or(-1), def: int64(0),
		doc: "Keeps that many of the most probable tokens; 0 and -1 are off.",
	})
	fieldTypicalP = bodyFields.declare(field{
		name: "typical_p", aliases: []string{"typ_p"}, in: inAll, types: isNumber, bounds: within(0, 1), def: 1.0,
		doc: "Keeps the tokens closest to the expected surprise, up to this probability; 1 is off.",
	})
	fieldTopP = bodyFields.declare(field{
		name: "top_p", in: inAll, types: isNumber, bounds: within(0, 1), def: 1.0,
		doc: "Keeps the most probable tokens, up to this probability; 1 is off.",
	})
	fieldMinP = bodyFields.declare(field{
		name: "min_p", in: inAll, types: isNumber, bounds: within(0, 1), def: 0.0,
		doc: "Keeps tokens of at least this share of the best one's probability; 0 is off.",
	})
	fieldXTCProbability = bodyFields.declare(field{
		name: "xtc_probability", in: inAll, types: isNumber, bounds: within(0, 1), def: 0.0,
		doc: "How often the most probable tokens are taken out; 0 is off.",
	})
	fieldXTCThreshold = bodyFields.declare(field{
		name: "xtc_threshold", in: inAll, types: isNumber, bounds: within(0, 1), def: 0.1,
		doc: "The probability from which a token may be taken out; the least probable of them stays.",
	})
	fieldMirostat = bodyFields.declare(field{
		name: "mirostat", aliases: []string{"mirostat_mode"}, in: inAll, types: isInteger, bounds: within(2, 2).or(0), def: int64(0),
		doc: "2 keeps the surprise of the answer at mirostat_tau, in place of other truncation; 0 is off. Version 1 is not supported.",
	})
	fieldMirostatTau = bodyFields.declare(field{
		name: "mirostat_tau", in: inAll, types: isNumber, bounds: within(0, 100), def: 5.0,
		doc: "The surprise to keep, in bits.",
	})
	fieldMirostatEta = bodyFields.declare(field{
		name: "mirostat_eta", in: inAll, types: isNumber, bounds: within(0, 1), def: 0.1,
		doc: "How fast it is approached.",
	})
)

// What the answer must look like.
var (
	fieldResponseFormat = bodyFields.declare(field{
		name: "response_format", in: inBoth, types: isObject, of: formatFields, absent: "text",
		doc: "The form of the answer.",
	})
	fieldFormatType = formatFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"text", "json_object", "json_schema"},
		doc: "Free text, a JSON object, or what a schema allows.",
	})
	fieldFormatSchema = formatFields.declare(field{
		name: "json_schema", types: isObject, of: formatSchemaFields, absent: "an error with that type",
		doc: "The schema.",
	})
	fieldSchemaName = formatSchemaFields.declare(field{
		name: "name", types: isString, absent: "none",
		doc: "Read by nobody.",
	})
	fieldSchemaDescription = formatSchemaFields.declare(field{
		name: "description", types: isString, absent: "none",
		doc: "Read by nobody.",
	})
	fieldSchemaStrict = formatSchemaFields.declare(field{
		name: "strict", types: isBoolean, def: false,
		doc: "Schemas always hold, whatever this says.",
	})
	fieldSchema = formatSchemaFields.declare(field{
		name: "schema", types: isObject | isBoolean, absent: "any JSON object",
		doc: "A JSON schema; a keyword that is not supported is an error that names it.",
	})
	fieldFormatObject = formatFields.declare(field{
		name: "schema", types: isObject | isBoolean, absent: "any JSON object",
		doc: "With json_object: a JSON schema.",
	})
	fieldGrammar = bodyFields.declare(field{
		name: "grammar", aliases: []string{"guided_grammar"}, in: inAll, types: isString, mostBytes: maxGrammar, absent: "none",
		doc: "A grammar of the answer, in GBNF.",
	})
	fieldJSONSchema = bodyFields.declare(field{
		name: "json_schema", aliases: []string{"guided_json"}, in: inAll, types: isObject | isBoolean | isString, absent: "none",
		doc: "A JSON schema of the answer, as an object or its text.",
	})
	fieldStructured = bodyFields.declare(field{
		name: "structured_outputs", in: inAll, types: isObject, of: structuredFields, absent: "none",
		doc: "One of the following.",
	})
	fieldStructuredJSON = structuredFields.declare(field{
		name: "json", types: isObject | isBoolean | isString, absent: "none",
		doc: "A JSON schema.",
	})
	fieldStructuredObject = structuredFields.declare(field{
		name: "json_object", types: isBoolean, def: false,
		doc: "Any JSON object.",
	})
	fieldStructuredChoice = structuredFields.declare(field{
		name: "choice", types: isArray, most: maxAlternatives, items: &field{types: isString, mostBytes: maxAlternative}, absent: "none",
		doc: "The answers that there may be.",
	})
	fieldStructuredGrammar = structuredFields.declare(field{
		name: "grammar", types: isString, mostBytes: maxGrammar, absent: "none",
		doc: "A grammar in GBNF.",
	})
	fieldStructuredRegex = structuredFields.declare(field{
		name: "regex", types: isString, absent: "none",
		doc: "Not supported.",
	})
)

// Tools.
var (
	fieldTools = bodyFields.declare(field{
		name: "tools", in: inPrompts, types: isArray, most: maxTools, items: &field{types: isObject, of: toolFields}, absent: "none",
		doc: "Functions that the model may call.",
	})
	fieldToolType = toolFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"function"},
		doc: "What it is.",
	})
	fieldToolFunction = toolFields.declare(field{
		name: "function", types: isObject, of: functionFields, required: true,
		doc: "The function.",
	})
	fieldFunctionName = functionFields.declare(field{
		name: "name", types: isString, required: true, mostBytes: maxToolName,
		doc: "Letters, digits, _, -, . and :; each name once.",
	})
	fieldFunctionDescription = functionFields.declare(field{
		name: "description", types: isString, absent: "none",
		doc: "What it does; the template shows it to the model.",
	})
	fieldFunctionParameters = functionFields.declare(field{
		name: "parameters", types: isObject, absent: "an object without members",
		doc: "A JSON schema of its arguments. Calls that tool_choice forces hold to it.",
	})
	fieldFunctionStrict = functionFields.declare(field{
		name: "strict", types: isBoolean, def: false,
		doc: "Calls that are forced are always strict, others never.",
	})
	fieldToolChoice = bodyFields.declare(field{
		name: "tool_choice", in: inPrompts, types: isString | isObject, enum: []string{"none", "auto", "required"}, of: choiceFields,
		absent: "auto where there are tools",
		doc:    "Whether to call tools: none, auto, required, or an object that names one or says which are allowed.",
	})
	fieldChoiceType = choiceFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"function", "allowed_tools"},
		doc: "What the object is.",
	})
	fieldChoiceFunction = choiceFields.declare(field{
		name: "function", types: isObject, of: choiceFunctionFields, absent: "an error with that type",
		doc: "The function to call.",
	})
	fieldChoiceName = choiceFunctionFields.declare(field{
		name: "name", types: isString, required: true,
		doc: "Its name.",
	})
	fieldChoiceAllowed = choiceFields.declare(field{
		name: "allowed_tools", types: isObject, of: allowedFields, absent: "an error with that type",
		doc: "The tools to choose from.",
	})
	fieldAllowedMode = allowedFields.declare(field{
		name: "mode", types: isString, enum: []string{"auto", "required"}, def: "auto",
		doc: "Whether one of them must be called.",
	})
	fieldAllowedTools = allowedFields.declare(field{
		name: "tools", types: isArray, required: true, most: maxTools, items: &field{types: isObject, of: allowedToolFields},
		doc: "Those of tools that may be called.",
	})
	fieldAllowedFunction = allowedToolFields.declare(field{
		name: "function", types: isObject, of: choiceFunctionFields, required: true,
		doc: "One of the functions.",
	})
	fieldParallel = bodyFields.declare(field{
		name: "parallel_tool_calls", in: inPrompts | inResponses, types: isBoolean, def: true,
		doc: "Whether an answer may have several calls. Where tool_choice forces one, only an explicit true allows more.",
	})
)

// How the template is rendered, and what becomes of reasoning.
var (
	fieldTemplateKwargs = bodyFields.declare(field{
		name: "chat_template_kwargs", in: inTalks | inCount | inTokenize, types: isObject, most: maxKwargs, absent: "none",
		doc: "Further variables of the chat template, such as enable_thinking.",
	})
	fieldEffort = bodyFields.declare(field{
		name: "reasoning_effort", in: inPrompts, types: isString, enum: []string{"none", "minimal", "low", "medium", "high", "xhigh"},
		absent: "that of the template",
		doc:    "The variable reasoning_effort of the chat template; none also sets enable_thinking to false.",
	})
	fieldReasoningFormat = bodyFields.declare(field{
		name: "reasoning_format", in: inPrompts, types: isString, enum: []string{"none", "auto", "deepseek"}, def: "auto",
		doc: "none leaves thoughts in content, deepseek puts them into reasoning_content; auto does so where the template knows of thoughts.",
	})
	fieldContinue = bodyFields.declare(field{
		name: "continue_final_message", in: inPrompts, types: isBoolean, def: false,
		doc: "Continue the last message, an assistant's, instead of answering it. The answer has only what is new.",
	})
	fieldGenerationPrompt = bodyFields.declare(field{
		name: "add_generation_prompt", in: inPrompts, types: isBoolean, absent: "true unless continue_final_message",
		doc: "May be false only with continue_final_message, and true only without.",
	})
)

// What Aim cannot give.
var (
	fieldFunctions = bodyFields.declare(field{
		name: "functions", in: inChat, types: isArray, absent: "none",
		doc: "Not supported; tools took its place.",
	})
	fieldFunctionCall = bodyFields.declare(field{
		name: "function_call", in: inChat, types: isString | isObject, absent: "none",
		doc: "Not supported but for none and auto; tool_choice took its place.",
	})
	fieldAudio = bodyFields.declare(field{
		name: "audio", in: inChat, types: isObject, absent: "none",
		doc: "Not supported.",
	})
	fieldModalities = bodyFields.declare(field{
		name: "modalities", in: inChat, types: isArray, items: &field{types: isString, enum: []string{"text"}}, absent: "text",
		doc: "Answers are text.",
	})
)

// A message.
var (
	fieldRole = messageFields.declare(field{
		name: "role", types: isString, required: true, enum: chat.Roles,
		doc: "Who speaks. A developer is the system to templates that do not know the role.",
	})
	fieldContent = messageFields.declare(field{
		name: "content", types: isString | isArray, items: &field{types: isObject, of: partFields}, absent: "an error, but for an assistant",
		doc: "Text, or an array of parts, which are lines of it.",
	})
	fieldName = messageFields.declare(field{
		name: "name", types: isString, absent: "none",
		doc: "Tells participants of one role apart, where the template does.",
	})
	fieldReasoning = messageFields.declare(field{
		name: "reasoning_content", aliases: []string{"reasoning"}, types: isString, absent: "none",
		doc: "What an assistant thought.",
	})
	fieldToolCalls = messageFields.declare(field{
		name: "tool_calls", types: isArray, most: maxTools, items: &field{types: isObject, of: toolCallFields}, absent: "none",
		doc: "An assistant's calls of tools.",
	})
	fieldToolCallID = messageFields.declare(field{
		name: "tool_call_id", types: isString, absent: "the first call without an answer",
		doc: "The call that a tool's message answers.",
	})
	fieldMessageFunctionCall = messageFields.declare(field{
		name: "function_call", types: isObject, absent: "none",
		doc: "Not supported; tool_calls took its place.",
	})
	fieldMessageAudio = messageFields.declare(field{
		name: "audio", types: isObject, absent: "none",
		doc: "Not supported.",
	})
	fieldPartType = partFields.declare(field{
		name: "type", types: isString, required: true,
		doc: "\"text\", or \"refusal\" of an assistant; others are refused with the code unsupported_content.",
	})
	fieldPartText = partFields.declare(field{
		name: "text", types: isString, absent: "an error with that type",
		doc: "The text.",
	})
	fieldPartRefusal = partFields.declare(field{
		name: "refusal", types: isString, absent: "an error with that type",
		doc: "What an assistant said instead.",
	})
	fieldCallID = toolCallFields.declare(field{
		name: "id", types: isString, required: true, mostBytes: maxCallID,
		doc: "What the answer of the tool names; each once.",
	})
	fieldCallType = toolCallFields.declare(field{
		name: "type", types: isString, enum: []string{"function"}, def: "function",
		doc: "What is called.",
	})
	fieldCallFunction = toolCallFields.declare(field{
		name: "function", types: isObject, of: calledFields, required: true,
		doc: "The call.",
	})
	fieldCalledName = calledFields.declare(field{
		name: "name", types: isString, required: true,
		doc: "The function's name.",
	})
	fieldCalledArguments = calledFields.declare(field{
		name: "arguments", types: isString | isObject, absent: "{}",
		doc: "A JSON object, as text or as it is.",
	})
)

// The extension.
var (
	fieldAim = bodyFields.declare(field{
		name: "aim", in: inAll, types: isObject, of: extensionsFields, absent: "none",
		doc: "Modulation; see api-aim.md.",
	})
	fieldUtility = extensionsFields.declare(field{
		name: "utility", types: isObject, of: utilityFields, absent: "what the model's owner imposes",
		doc: "Noise on all logits: one of level and sigma.",
	})
	fieldLevel = utilityFields.declare(field{
		name: "level", types: isNumber, bounds: above(0, 1), absent: "none",
		doc: "The share of steps at which the model's own best token stays best.",
	})
	fieldUtilitySigma = utilityFields.declare(field{
		name: "sigma", types: isNumber, bounds: within(0, maxSigma), absent: "none",
		doc: "The noise's standard deviation, in logits.",
	})
	fieldReport = extensionsFields.declare(field{
		name: "report", types: isBoolean | isObject, of: reportOptionsFields, def: false,
		doc: "Tell what modulation did to the answer.",
	})
	fieldReportTokens = reportOptionsFields.declare(field{
		name: "tokens", types: isBoolean, def: false,
		doc: "Tell it for each token, too.",
	})
	fieldFocus = extensionsFields.declare(field{
		name: "focus", types: isArray, most: maxFocus, items: &field{types: isObject, of: focusFields}, absent: "none",
		doc: "What the answer shall attend to; applied in order. At most 4 entries are spans.",
	})
	fieldFocusText = focusFields.declare(field{
		name: "text", types: isString | isArray, most: maxWords, mostBytes: maxWord, items: &field{types: isString, mostBytes: maxWord}, absent: "none",
		doc: "Words, as written, capitalized, with or without a space before.",
	})
	fieldFocusTokens = focusFields.declare(field{
		name: "tokens", types: isArray, most: maxTargets, items: &field{types: isInteger, bounds: atLeast(0)}, absent: "none",
		doc: "Token ids, each a target of its own.",
	})
	fieldFocusAll = focusFields.declare(field{
		name: "all", types: isBoolean, def: false,
		doc: "Every token of the vocabulary.",
	})
	fieldSpan = focusFields.declare(field{
		name: "span", types: isString, mostBytes: maxSpan, absent: "none",
		doc: "A part of the messages or of the prompt, word for word.",
	})
	fieldSpanIndex = focusFields.declare(field{
		name: "index", types: isInteger, bounds: atLeast(0), absent: "the only one",
		doc: "Which occurrence of the span, from 0.",
	})
	fieldStrength = focusFields.declare(field{
		name: "strength", types: isNumber, bounds: within(-1, 1), absent: "none",
		doc: "With text or span: a dial, 0 is off.",
	})
	fieldFocusSigma = focusFields.declare(field{
		name: "sigma", types: isNumber, bounds: within(0, maxSigma), absent: "none",
		doc: "With text, tokens or all: the scale of half-normal noise, in logits.",
	})
	fieldDirection = focusFields.declare(field{
		name: "direction", types: isString, enum: []string{"raise", "lower"}, def: "raise",
		doc: "With sigma: its sign.",
	})
)

// Preview and sweep.
var (
	fieldTop = bodyFields.declare(field{
		name: "top_n", in: inPreview, types: isInteger, bounds: within(1, maxTop), def: int64(20),
		doc: "How many of the most probable tokens of each side to list.",
	})
	fieldLevels = bodyFields.declare(field{
		name: "levels", in: inSweep, types: isArray, items: &field{types: isNumber, bounds: above(0, 1)}, absent: "none",
		doc: "Settings of utility by level. Of the three lists together 1 to 16.",
	})
	fieldSigmas = bodyFields.declare(field{
		name: "sigmas", in: inSweep, types: isArray, items: &field{types: isNumber, bounds: within(0, maxSigma)}, absent: "none",
		doc: "Settings of utility by σ.",
	})
	fieldStrengths = bodyFields.declare(field{
		name: "strengths", in: inSweep, types: isArray, items: &field{types: isNumber, bounds: within(-1, 1)}, absent: "none",
		doc: "Settings of focus, each in place of the strengths in aim.focus.",
	})
)
