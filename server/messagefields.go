package server

// The objects of requests for /v1/messages.
var (
	turnFields         = &group{name: "Turn", path: "messages[]", in: inMessages | inCount}
	blockFields        = &group{name: "ContentBlock", path: "messages[].content[]", in: inMessages | inCount}
	textBlockFields    = &group{name: "TextBlock", path: "system[], messages[].content[].content[]", in: inMessages | inCount}
	schemaToolFields   = &group{name: "SchemaTool", path: "tools[]", in: inMessages | inCount}
	anyChoiceFields    = &group{name: "AnyToolChoice", path: "tool_choice", in: inMessages | inCount}
	thinkingFields     = &group{name: "Thinking", path: "thinking", in: inMessages | inCount}
	outputFields       = &group{name: "OutputConfig", path: "output_config", in: inMessages | inCount}
	outputFormatFields = &group{name: "OutputFormat", path: "output_config.format", in: inMessages | inCount}
)

// What to answer.
var (
	fieldTurns = bodyFields.declare(field{
		name: "messages", in: inMessages | inCount, types: isArray, required: true, most: maxMessages, items: &field{types: isObject, of: turnFields},
		doc: "The conversation so far. The answer continues the last message where that is an assistant's without calls.",
	})
	fieldSystem = bodyFields.declare(field{
		name: "system", in: inMessages | inCount, types: isString | isArray, items: &field{types: isObject, of: textBlockFields}, absent: "none",
		doc: "What the system says before the conversation.",
	})
	fieldTurnRole = turnFields.declare(field{
		name: "role", types: isString, required: true, enum: []string{"user", "assistant"},
		doc: "Who speaks.",
	})
	fieldTurnContent = turnFields.declare(field{
		name: "content", types: isString | isArray, required: true, items: &field{types: isObject, of: blockFields},
		doc: "Text, or an array of blocks.",
	})
	fieldBlockType = blockFields.declare(field{
		name: "type", types: isString, required: true,
		doc: "\"text\"; of an assistant \"thinking\", \"redacted_thinking\" (left out) and \"tool_use\"; of a user \"tool_result\". Others are refused with the code unsupported_content.",
	})
	fieldBlockText = blockFields.declare(field{
		name: "text", types: isString, absent: "an error with a text",
		doc: "The text; several are lines of it.",
	})
	fieldBlockThinking = blockFields.declare(field{
		name: "thinking", types: isString, absent: "an error with thinking",
		doc: "The thoughts. Their signature is not looked at.",
	})
	fieldBlockID = blockFields.declare(field{
		name: "id", types: isString, mostBytes: maxCallID, absent: "an error with tool_use",
		doc: "Of tool_use: what its result names; each once.",
	})
	fieldBlockName = blockFields.declare(field{
		name: "name", types: isString, absent: "an error with tool_use",
		doc: "Of tool_use: the tool.",
	})
	fieldBlockInput = blockFields.declare(field{
		name: "input", types: isObject, absent: "{}",
		doc: "Of tool_use: the tool's input.",
	})
	fieldBlockUseID = blockFields.declare(field{
		name: "tool_use_id", types: isString, absent: "the first tool_use without a result",
		doc: "Of tool_result: the id of the tool_use.",
	})
	fieldBlockContent = blockFields.declare(field{
		name: "content", types: isString | isArray, items: &field{types: isObject, of: textBlockFields}, absent: "none",
		doc: "Of tool_result: text, or an array of texts.",
	})
	fieldTextBlockType = textBlockFields.declare(field{
		name: "type", types: isString, required: true,
		doc: "\"text\"; others are refused with the code unsupported_content.",
	})
	fieldTextBlockText = textBlockFields.declare(field{
		name: "text", types: isString, required: true,
		doc: "The text; several are lines of it.",
	})
)

// How much of it, and in which form.
var (
	fieldMaxMessage = bodyFields.declare(field{
		name: "max_tokens", in: inMessages, types: isInteger, bounds: atLeast(1), required: true,
		doc: "The most tokens of an answer, thoughts included.",
	})
	fieldStopSequences = bodyFields.declare(field{
		name: "stop_sequences", in: inMessages, types: isArray, most: maxStops, items: &field{types: isString, mostBytes: maxStop}, absent: "none",
		doc: "Texts before which the answer ends.",
	})
	fieldThinking = bodyFields.declare(field{
		name: "thinking", in: inMessages | inCount, types: isObject, of: thinkingFields, absent: "that of the template",
		doc: "Whether to think: the variable enable_thinking of the chat template.",
	})
	fieldThinkingType = thinkingFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"enabled", "adaptive", "disabled"},
		doc: "disabled sets it to false, the others to true. A budget is not looked at.",
	})
	fieldOutput = bodyFields.declare(field{
		name: "output_config", in: inMessages | inCount, types: isObject, of: outputFields, absent: "none",
		doc: "The form of the answer, and how much to think.",
	})
	fieldOutputEffort = outputFields.declare(field{
		name: "effort", types: isString, enum: []string{"low", "medium", "high", "xhigh", "max"}, absent: "that of the template",
		doc: "The variable reasoning_effort of the chat template.",
	})
	fieldOutputFormat = outputFields.declare(field{
		name: "format", types: isObject, of: outputFormatFields, absent: "free text",
		doc: "What a schema allows.",
	})
	fieldOutputType = outputFormatFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"json_schema"},
		doc: "What it is.",
	})
	fieldOutputSchema = outputFormatFields.declare(field{
		name: "schema", types: isObject, required: true,
		doc: "A JSON schema; a keyword that is not supported is an error that names it.",
	})
	fieldMessageMetadata = bodyFields.declare(field{
		name: "metadata", in: inMessages, types: isObject, absent: "none",
		doc: "Read by nobody.",
	})
)

// Tools.
var (
	fieldSchemaTools = bodyFields.declare(field{
		name: "tools", in: inMessages | inCount, types: isArray, most: maxTools, items: &field{types: isObject, of: schemaToolFields}, absent: "none",
		doc: "Tools that the model may call.",
	})
	fieldSchemaToolType = schemaToolFields.declare(field{
		name: "type", types: isString, absent: "custom",
		doc: "\"custom\"; Anthropic's own tools are refused with the code unsupported_tool.",
	})
	fieldSchemaToolName = schemaToolFields.declare(field{
		name: "name", types: isString, required: true, mostBytes: maxToolName,
		doc: "Letters, digits, _, -, . and :; each name once.",
	})
	fieldSchemaToolDescription = schemaToolFields.declare(field{
		name: "description", types: isString, absent: "none",
		doc: "What it does; the template shows it to the model.",
	})
	fieldSchemaToolInput = schemaToolFields.declare(field{
		name: "input_schema", types: isObject, required: true,
		doc: "A JSON schema of its input. Calls that tool_choice forces hold to it.",
	})
	fieldAnyChoice = bodyFields.declare(field{
		name: "tool_choice", in: inMessages | inCount, types: isObject, of: anyChoiceFields, absent: "auto where there are tools",
		doc: "Whether to call tools.",
	})
	fieldAnyType = anyChoiceFields.declare(field{
		name: "type", types: isString, required: true, enum: []string{"auto", "any", "tool", "none"},
		doc: "As the model likes, at least one, a named one, or none.",
	})
	fieldAnyName = anyChoiceFields.declare(field{
		name: "name", types: isString, absent: "an error with tool",
		doc: "With tool: its name.",
	})
	fieldDisableParallel = anyChoiceFields.declare(field{
		name: "disable_parallel_tool_use", types: isBoolean, def: false,
		doc: "Whether an answer may have one call at most. With any and tool, only an explicit false allows more.",
	})
)
