package server

// The objects of requests for /v1/responses.
var (
	inputFields       = &group{name: "InputItem", path: "input[]", in: inResponses}
	inputPartFields   = &group{name: "InputPart", path: "input[].content[]", in: inResponses}
	textFields        = &group{name: "TextOptions", path: "text", in: inResponses}
	textFormatFields  = &group{name: "TextFormat", path: "text.format", in: inResponses}
	reasoningFields   = &group{name: "Reasoning", path: "reasoning", in: inResponses}
	flatToolFields    = &group{name: "FlatTool", path: "tools[]", in: inResponses}
	flatChoiceFields  = &group{name: "FlatToolChoice", path: "tool_choice", in: inResponses}
	flatAllowedFields = &group{name: "FlatAllowedTool", path: "tool_choice.tools[]", in: inResponses}
)

// What to answer.
var (
	fieldInput = bodyFields.declare(field{
		name: "input", in: inResponses, types: isString | isArray, required: true, most: maxMessages, items: &field{types: isObject, of: inputFields},
		doc: "A user's text, or the items of the conversation so far.",
	})
	fieldInstructions = bodyFields.declare(field{
		name: "instructions", in: inResponses, types: isString, absent: "none",
		doc: "What the system says before the input.",
	})
	fieldItemType = inputFields.declare(field{
		name: "type", types: isString, enum: []string{"message", "function_call", "function_call_output", "reasoning"}, def: "message",
		doc: "What it is. Items of other types are of tools that run elsewhere, or refer to what is not stored.",
	})
	fieldItemRole = inputFields.declare(field{
		name: "role", types: isString, enum: []string{"system", "developer", "user", "assistant"}, absent: "an error with a message",
		doc: "Of a message: who speaks.",
	})
	fieldItemContent = inputFields.declare(field{
		name: "content", types: isString | isArray, items: &field{types: isObject, of: inputPartFields}, absent: "an error with a message",
		doc: "Text, or an array of parts, which are lines of it; of reasoning the thoughts.",
	})
	fieldItemSummary = inputFields.declare(field{
		name: "summary", types: isArray, items: &field{types: isObject, of: inputPartFields}, absent: "none",
		doc: "Of reasoning: the thoughts, where it has no content.",
	})
	fieldItemCallID = inputFields.declare(field{
		name: "call_id", types: isString, mostBytes: maxCallID, absent: "an error with a call, of its output the first call without one",
		doc: "What a call and its output have in common.",
	})
	fieldItemName = inputFields.declare(field{
		name: "name", types: isString, absent: "an error with a call",
		doc: "Of a call: the function.",
	})
	fieldItemArguments = inputFields.declare(field{
		name: "arguments", types: isString | isObject, absent: "{}",
		doc: "Of a call: a JSON object, as text or as it is.",
	})
	fieldItemOutput = inputFields.declare(field{
		name: "output", types: isString | isArray, items: &field{types: isObject, of: inputPartFields}, absent: "an error with the output of a call",
		doc: "What a call gave.",
	})
	fieldInputType = inputPartFields.declare(field{
		name: "type", types: isString, required: true,
		doc: "\"input_text\", \"output_text\", \"refusal\", \"reasoning_text\" or \"summary_text\"; others are refused with the code unsupported_content.",
	})
	fieldInputText = inputPartFields.declare(field{
		name: "text", types: isString, absent: "an error, but with a refusal",
		doc: "The text.",
	})
	fieldInputRefusal = inputPartFields.declare(field{
		name: "refusal", types: isString, absent: "an error with a refusal",
		doc: "What an assistant said instead.",
	})
)

// How much of it, and in which form.
var (
	fieldMaxOutput = bodyFields.declare(field{
		name: "max_output_tokens", in: inResponses, types: isInteger, bounds: atLeast(1), absent: "as many as the context holds",
		doc: "The most tokens of an answer, thoughts included.",
	})
	fieldText = bodyFields.declare(field{
		name: "text", in: inResponses, types: isObject, of: textFields, absent: "free text",
		doc: "The form of the answer.",
	})
	fieldTextFormat = textFields.declare(field{
		name: "format", types: isObject, of: textFormatFields, absent: "free text",
		doc: "The form of the answer.",
	})
	fieldTextVerbosity = textFields.declare(field{
		name: "verbosity", types: isString, absent: "none",
		doc: "Read by nobody.",
	})
	fieldTextType = textFormatFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"text", "json_object", "json_schema"},
		doc: "Free text, a JSON object, or what a schema allows.",
	})
	fieldTextName = textFormatFields.declare(field{
		name: "name", types: isString, absent: "none",
		doc: "Read by nobody.",
	})
	fieldTextDescription = textFormatFields.declare(field{
		name: "description", types: isString, absent: "none",
		doc: "Read by nobody.",
	})
	fieldTextStrict = textFormatFields.declare(field{
		name: "strict", types: isBoolean, def: false,
		doc: "Schemas always hold, whatever this says.",
	})
	fieldTextSchema = textFormatFields.declare(field{
		name: "schema", types: isObject | isBoolean, absent: "an error with json_schema",
		doc: "A JSON schema; a keyword that is not supported is an error that names it.",
	})
	fieldInclude = bodyFields.declare(field{
		name: "include", in: inResponses, types: isArray, most: maxTools, items: &field{types: isString}, absent: "none",
		doc: "With \"message.output_text.logprobs\" the answer tells the log-probability of each token, in the modulated distribution; others are ignored.",
	})
	fieldTopOutput = bodyFields.declare(field{
		name: "top_logprobs", in: inResponses, types: isInteger, bounds: within(0, maxLogprobs), def: int64(0),
		doc: "How many of the most probable tokens to tell, too. Above 0 it asks for log-probabilities.",
	})
	fieldReasoningOptions = bodyFields.declare(field{
		name: "reasoning", in: inResponses, types: isObject, of: reasoningFields, absent: "that of the template",
		doc: "How to think.",
	})
	fieldReasoningEffort = reasoningFields.declare(field{
		name: "effort", types: isString, enum: []string{"none", "minimal", "low", "medium", "high", "xhigh"}, absent: "that of the template",
		doc: "The variable reasoning_effort of the chat template; none also sets enable_thinking to false.",
	})
	fieldMetadata = bodyFields.declare(field{
		name: "metadata", in: inResponses, types: isObject, absent: "{}",
		doc: "Given back with the answer.",
	})
	fieldTruncation = bodyFields.declare(field{
		name: "truncation", in: inResponses, types: isString, enum: []string{"auto", "disabled"}, def: "disabled",
		doc: "Nothing is ever left out of the input: what does not fit is an error.",
	})
)

// Tools.
var (
	fieldFlatTools = bodyFields.declare(field{
		name: "tools", in: inResponses, types: isArray, most: maxTools, items: &field{types: isObject, of: flatToolFields}, absent: "none",
		doc: "Functions that the model may call.",
	})
	fieldFlatType = flatToolFields.declare(field{
		name: "type", types: isString, required: true,
		doc: "\"function\"; tools that would run on the server are refused with the code unsupported_tool.",
	})
	fieldFlatName = flatToolFields.declare(field{
		name: "name", types: isString, required: true, mostBytes: maxToolName,
		doc: "Letters, digits, _, -, . and :; each name once.",
	})
	fieldFlatDescription = flatToolFields.declare(field{
		name: "description", types: isString, absent: "none",
		doc: "What it does; the template shows it to the model.",
	})
	fieldFlatParameters = flatToolFields.declare(field{
		name: "parameters", types: isObject, absent: "an object without members",
		doc: "A JSON schema of its arguments. Calls that tool_choice forces hold to it.",
	})
	fieldFlatStrict = flatToolFields.declare(field{
		name: "strict", types: isBoolean, def: false,
		doc: "Calls that are forced are always strict, others never.",
	})
	fieldFlatChoice = bodyFields.declare(field{
		name: "tool_choice", in: inResponses, types: isString | isObject, enum: []string{"none", "auto", "required"}, of: flatChoiceFields,
		absent: "auto where there are tools",
		doc:    "Whether to call tools: none, auto, required, or an object that names one or says which are allowed.",
	})
	fieldFlatChoiceType = flatChoiceFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"function", "allowed_tools"},
		doc: "What the object is.",
	})
	fieldFlatChoiceName = flatChoiceFields.declare(field{
		name: "name", types: isString, absent: "an error with function",
		doc: "The function to call.",
	})
	fieldFlatChoiceMode = flatChoiceFields.declare(field{
		name: "mode", types: isString, enum: []string{"auto", "required"}, def: "auto",
		doc: "With allowed_tools: whether one of them must be called.",
	})
	fieldFlatChoiceTools = flatChoiceFields.declare(field{
		name: "tools", types: isArray, most: maxTools, items: &field{types: isObject, of: flatAllowedFields}, absent: "an error with allowed_tools",
		doc: "With allowed_tools: those that may be called.",
	})
	fieldFlatAllowedName = flatAllowedFields.declare(field{
		name: "name", types: isString, required: true,
		doc: "One of the functions.",
	})
)

// What Aim stores and runs: nothing.
var (
	fieldStore = bodyFields.declare(field{
		name: "store", in: inResponses, types: isBoolean, def: false,
		doc: "Nothing is ever stored, whatever this says, and answers say so.",
	})
	fieldPrevious = bodyFields.declare(field{
		name: "previous_response_id", in: inResponses, types: isString, absent: "none",
		doc: "Not supported: nothing is stored; send the whole conversation as input.",
	})
	fieldConversation = bodyFields.declare(field{
		name: "conversation", in: inResponses, types: isString | isObject, absent: "none",
		doc: "Not supported: nothing is stored; send the whole conversation as input.",
	})
	fieldBackground = bodyFields.declare(field{
		name: "background", in: inResponses, types: isBoolean, def: false,
		doc: "true is not supported: nothing is stored, so that nobody could fetch the answer.",
	})
	fieldStoredPrompt = bodyFields.declare(field{
		name: "prompt", in: inResponses, types: isObject, absent: "none",
		doc: "Not supported: nothing is stored.",
	})
)
