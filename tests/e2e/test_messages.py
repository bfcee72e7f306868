"""The Messages API as Anthropic's client sees it."""

import json

import anthropic
import pytest

QUESTION = [{"role": "user", "content": "What is gravity?"}]
WEATHER = {
    "name": "weather",
    "description": "Tells the weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rio", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def claude(server) -> anthropic.Anthropic:
    """A client that repeats nothing: a test shall see every failure."""
    return anthropic.Anthropic(base_url=server.url, api_key="unused", max_retries=0, timeout=300)


def tuned(**parameters):
    """Parameters of a request, reproducible unless told otherwise. Those that this client does not send are in its extra body."""
    request = {"messages": QUESTION, "max_tokens": 24, **parameters}
    request["extra_body"] = {"temperature": 0, **request.get("extra_body", {})}
    return request


@pytest.fixture
def say(claude, server):
    return lambda **parameters: claude.messages.create(model=server.model, **tuned(**parameters))


def text(message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_the_answer_is_that_of_chat_completions(say, ask, server):
    chat = ask()
    message = say()
    assert message.type == "message" and message.role == "assistant" and message.model == server.model
    assert text(message) == chat.choices[0].message.content
    assert message.stop_reason == "max_tokens" and message.stop_sequence is None
    assert message.usage.input_tokens == chat.usage.prompt_tokens and message.usage.output_tokens == 24
    assert message._request_id

    instructed = say(system="Answer like a pirate.")
    blocks = say(
        system=[{"type": "text", "text": "Answer like a pirate."}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "What is gravity?"}]}],
    )
    assert text(instructed) == text(blocks) and instructed.usage == blocks.usage


def test_stream(claude, server, say):
    whole = say()
    with claude.messages.stream(model=server.model, **tuned()) as stream:
        pieces = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert pieces == text(final) == text(whole)
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == 24
    kinds = [e.type for e in say(stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}


def test_stop_sequences(say):
    full = text(say())
    stop = full.split()[5]
    message = say(stop_sequences=["never said", stop])
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == stop
    assert text(message) == full[: full.index(stop)]
    assert say(max_tokens=400, messages=[{"role": "user", "content": "Say hi."}]).stop_reason == "end_turn"


def test_the_last_message_is_continued(say):
    """What an assistant began is gone on with, and only what is new is told."""
    begun = [*QUESTION, {"role": "assistant", "content": "Gravity is a force that"}]
    message = say(messages=begun)
    assert text(message) and not text(message).startswith("Gravity is a force that")
    asked = say(messages=[*begun, {"role": "user", "content": "Go on."}])
    assert asked.usage.input_tokens > message.usage.input_tokens


def test_count_tokens(claude, server, say):
    for request in ({}, {"system": "Answer like a pirate."}, {"tools": [WEATHER]}):
        counted = claude.messages.count_tokens(model=server.model, messages=QUESTION, **request)
        assert counted.input_tokens == say(max_tokens=1, **request).usage.input_tokens > 0


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}])
def test_forced_calls(claude, server, say, choice):
    request = {
        "tools": [WEATHER], "tool_choice": choice, "max_tokens": 200,
        "messages": [{"role": "user", "content": "How is the weather in Rio?"}],
    }
    message = say(**request)
    call = message.content[-1]
    assert message.stop_reason == "tool_use" and call.type == "tool_use"
    assert call.name == "weather" and call.input["city"] in ("Rio", "Oslo")
    with claude.messages.stream(model=server.model, **tuned(**request)) as stream:
        streamed = stream.get_final_message().content[-1]
    assert streamed.input == call.input and streamed.id != call.id

    history = [
        *request["messages"],
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."}]},
    ]
    assert say(messages=history, tools=[WEATHER]).usage.input_tokens > message.usage.input_tokens


def test_schema(say):
    """Whatever the model, the answer is what the schema allows."""
    schema = {
        "type": "object", "properties": {"city": {"enum": ["Rio", "Oslo"]}}, "required": ["city"], "additionalProperties": False,
    }
    message = say(max_tokens=100, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert message.stop_reason == "end_turn"
    assert json.loads(text(message)) in ({"city": "Rio"}, {"city": "Oslo"})


def test_thinking_is_tolerated(say):
    """This model does not think; who asks it to gets an answer all the same."""
    assert text(say(thinking={"type": "disabled"})) == text(say())


def test_modulation(say):
    noisy = say(extra_body={"aim": {"utility": {"sigma": 6}, "report": True}})
    assert text(noisy) != text(say())
    assert noisy.aim["report"]["sigma"] == 6 and noisy.aim["report"]["retention"] < 1
    *_, delta, _ = say(extra_body={"aim": {"utility": {"sigma": 6}, "report": True}}, stream=True)
    assert delta.aim["report"]["flips"] == noisy.aim["report"]["flips"]


@pytest.mark.parametrize(
    "parameters, says",
    [
        ({"extra_body": {"temperature": 3}}, "temperature is 3"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
            'messages[0].content[0] is of type "image"',
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]}, "no call before it"),
    ],
)
def test_refusals(say, parameters, says):
    with pytest.raises(anthropic.BadRequestError) as failure:
        say(**parameters)
    assert says in failure.value.body["error"]["message"]
    assert failure.value.type == "invalid_request_error" and failure.value.request_id


def test_other_errors(claude, start):
    with pytest.raises(anthropic.NotFoundError) as failure:
        claude.messages.create(model="nonsense", **tuned())
    assert failure.value.type == "not_found_error"
    with start("--sigma", "1", "--slots", "1") as imposed:
        client = anthropic.Anthropic(base_url=imposed.url, api_key="unused", max_retries=0, timeout=300)
        with pytest.raises(anthropic.PermissionDeniedError) as failure:
            client.messages.create(model=imposed.model, **tuned(extra_body={"aim": {"utility": {"sigma": 0}}}))
        assert failure.value.type == "permission_error"
