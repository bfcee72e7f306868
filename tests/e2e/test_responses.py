"""The Responses API as the official client sees it."""

import json

import openai
import pytest
from pydantic import BaseModel

QUESTION = "What is gravity?"
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rio", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def respond(client, server):
    """Asks for a response, reproducible unless told otherwise."""

    def respond(input=QUESTION, **parameters):
        return client.responses.create(
            model=server.model, input=input, **{"temperature": 0, "max_output_tokens": 24, **parameters}
        )

    return respond


def test_the_answer_is_that_of_chat_completions(respond, ask, server):
    chat = ask(QUESTION)
    answer = respond()
    assert answer.object == "response" and answer.model == server.model and answer.store is False
    assert answer.output_text == chat.choices[0].message.content
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.input_tokens == chat.usage.prompt_tokens and answer.usage.output_tokens == 24
    assert answer.usage.total_tokens == answer.usage.input_tokens + 24
    assert [item.type for item in answer.output] == ["message"]

    instructed = respond(instructions="Answer like a pirate.")
    items = respond(
        [
            {"role": "system", "content": "Answer like a pirate."},
            {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
        ]
    )
    assert instructed.usage.input_tokens == items.usage.input_tokens and instructed.output_text == items.output_text


def test_a_conversation_goes_on(respond):
    history = [{"role": "user", "content": "Say hello."}]
    first = respond(history)
    history += [item.model_dump(exclude_none=True) for item in first.output]
    history += [{"role": "user", "content": "Say it again."}]
    assert respond(history).usage.input_tokens > first.usage.input_tokens + 24


def test_stream(respond):
    whole = respond()
    events = list(respond(stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    kinds = [e.type for e in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert "".join(e.delta for e in events[4:-4]) == events[-4].text == whole.output_text
    assert events[-1].response.output_text == whole.output_text
    assert events[-1].response.usage == whole.usage


def test_stream_helper(client, server):
    """The client's own accumulation agrees with the last event."""
    with client.responses.stream(model=server.model, input="Say hi.", temperature=0) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.status == "completed" and final.completed_at >= final.created_at
    assert final.output_text == text != ""


def test_logprobs(respond):
    answer = respond(include=["message.output_text.logprobs"], top_logprobs=3)
    part = answer.output[0].content[0]
    assert b"".join(bytes(t.bytes) for t in part.logprobs).decode(errors="replace") == part.text
    for t in part.logprobs:
        assert len(t.top_logprobs) == 3 and t.logprob <= 0
    streamed = [
        t
        for e in respond(include=["message.output_text.logprobs"], top_logprobs=3, stream=True)
        if e.type == "response.output_text.delta"
        for t in e.logprobs
    ]
    assert [t.token for t in streamed] == [t.token for t in part.logprobs]
    assert respond().output[0].content[0].logprobs == []


class Person(BaseModel):
    name: str
    age: int


def test_parse(client, server):
    """Whatever the model, the answer is what the schema allows."""
    answer = client.responses.parse(
        model=server.model, input="Tell me of a person called Ann.", text_format=Person, max_output_tokens=400, temperature=0
    )
    assert answer.status == "completed"
    assert isinstance(answer.output_parsed, Person)


def test_json_object(respond):
    answer = respond("Give me a JSON object.", text={"format": {"type": "json_object"}}, max_output_tokens=300)
    assert answer.output_text.lstrip().startswith("{")
    if answer.status == "completed":
        assert isinstance(json.loads(answer.output_text), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
def test_forced_calls(respond, client, server, choice):
    request = {"tools": [WEATHER], "tool_choice": choice, "max_output_tokens": 200}
    answer = respond("How is the weather in Rio?", **request)
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert answer.status == "completed"
    assert call.name == "weather" and json.loads(call.arguments)["city"] in ("Rio", "Oslo")

    events = list(respond("How is the weather in Rio?", **request, stream=True))
    deltas = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    (done,) = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert deltas == done.arguments == call.arguments and done.name == "weather"
    assert events[-1].type == "response.completed"

    # The call and its output are items of the next input.
    history = [
        {"role": "user", "content": "How is the weather in Rio?"},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."},
    ]
    assert respond(history, tools=[WEATHER]).usage.input_tokens > answer.usage.input_tokens


def test_modulation(respond):
    """The extension works here as in chat completions, and its report comes with the answer."""
    plain = respond()
    noisy = respond(extra_body={"aim": {"utility": {"sigma": 6}, "report": True}})
    assert noisy.output_text != plain.output_text
    assert noisy.aim["report"]["sigma"] == 6 and noisy.aim["report"]["retention"] < 1
    last = list(respond(extra_body={"aim": {"utility": {"sigma": 6}, "report": True}}, stream=True))[-1]
    assert last.response.aim["report"]["flips"] == noisy.aim["report"]["flips"]
    barred = respond(extra_body={"logit_bias": {" gravity": False, " Gravity": False, "Gravity": False}, "top_k": 5, "seed": 1})
    assert " gravity" not in barred.output_text.lower()


@pytest.mark.parametrize(
    "parameters, param",
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]}, "input[0].content[0]"),
    ],
)
def test_refusals(respond, parameters, param):
    with pytest.raises(openai.BadRequestError) as failure:
        respond(**parameters)
    assert failure.value.param == param and failure.value.type == "invalid_request_error"


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nonsense", input="x")
