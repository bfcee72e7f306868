"""Tools, schemas, and what can go wrong, from the official clients for Python, JavaScript and Go, and from curl."""

import json
import os
import subprocess
import time
from typing import Literal

import openai
import pytest
from conftest import ROOT, running
from pydantic import BaseModel, Field

CLIENTS = ROOT / "tests" / "clients"
# So small a server that it is full at once, and so patient with nobody that comments come within a long prompt.
SMALL = ("--slots", "1", "--queue", "0", "--keep-alive", "20ms", "--batch", "32")


class Weather(BaseModel):
    city: str = Field(max_length=30)
    unit: Literal["celsius", "fahrenheit"]


TOOL = openai.pydantic_function_tool(Weather, name="weather", description="The weather of a city.")
WARM = [{"role": "user", "content": "How warm is it in Paris?"}]


@pytest.fixture(scope="module")
def small(state):
    with running(state, *SMALL) as server:
        yield server


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=["required", "named"])
def test_a_forced_call_its_deltas_and_its_result(client, server, choice):
    request = {"model": server.model, "temperature": 0, "max_tokens": 100, "tools": [TOOL]}
    first = client.chat.completions.parse(**request, messages=WARM, tool_choice=choice).choices[0]
    assert first.finish_reason == "tool_calls"
    (call,) = first.message.tool_calls
    assert call.type == "function" and call.function.name == "weather"
    assert call.function.parsed_arguments == Weather.model_validate_json(call.function.arguments)

    chunks = list(client.chat.completions.create(**request, messages=WARM, tool_choice=choice, stream=True))
    deltas = [d for c in chunks for d in c.choices[0].delta.tool_calls or []]
    assert len(deltas) > 2, "arguments come in pieces"
    assert deltas[0].id and deltas[0].type == "function" and deltas[0].function.name == "weather"
    assert all(d.index == 0 and not d.id and not d.function.name for d in deltas[1:])
    assert "".join(d.function.arguments or "" for d in deltas) == call.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"

    history = [*WARM, first.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}]
    second = client.chat.completions.create(**request, messages=history, tool_choice="none").choices[0]
    assert second.message.content and not second.message.tool_calls
    broken = [*WARM, {"role": "tool", "tool_call_id": "nobody's", "content": "21 degrees"}]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**request, messages=broken)


@pytest.mark.parametrize("sigma", [0, 2])
def test_a_schema_through_pydantic(client, server, sigma):
    parsed = client.chat.completions.parse(
        model=server.model, temperature=0, max_tokens=200, messages=WARM, response_format=Weather,
        extra_body={"aim": {"utility": {"sigma": sigma}}},
    ).choices[0]
    assert parsed.finish_reason == "stop"
    assert parsed.message.parsed == Weather.model_validate_json(parsed.message.content)


def test_an_unsupported_schema_keyword_is_named(client, server):
    schema = {"type": "array", "items": {"type": "integer", "multipleOf": 7}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=server.model, messages=WARM,
            response_format={"type": "json_schema", "json_schema": {"name": "sevens", "schema": schema}},
        )
    assert "multipleOf" in caught.value.message


def test_a_timeout_is_the_clients_own(server):
    with pytest.raises(openai.APITimeoutError):
        server.client().with_options(timeout=0.05).chat.completions.create(model=server.model, messages=WARM, max_tokens=200)
    with pytest.raises(openai.APIConnectionError):
        openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="unused", max_retries=0).models.list()


def test_comments_during_a_long_prompt(small):
    """The raw stream begins with comments, and the client reads over them."""
    create = small.client().chat.completions
    request = {"model": small.model, "max_tokens": 2, "stream": True}
    with create.with_streaming_response.create(**request, messages=[{"role": "user", "content": "word " * 300}]) as raw:
        lines = list(raw.iter_lines())
    assert lines[0] == ": keep-alive"
    assert [line for line in lines if line][-1] == "data: [DONE]"
    chunks = list(create.create(**request, messages=[{"role": "user", "content": "term " * 300}]))
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_a_client_that_leaves_frees_its_slot_at_once(small):
    create = small.client().chat.completions.create
    stream = create(model=small.model, messages=WARM, max_tokens=2000, stream=True, extra_body={"ignore_eos": True})
    next(stream)
    with pytest.raises(openai.RateLimitError):
        create(model=small.model, messages=WARM, max_tokens=1)
    stream.close()
    end = time.monotonic() + 5  # the whole answer would take many seconds more
    while True:
        try:
            assert create(model=small.model, messages=WARM, max_tokens=1).usage.completion_tokens == 1
            break
        except openai.RateLimitError:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_curl_without_buffering(server):
    body = {"model": server.model, "messages": WARM, "max_tokens": 60, "stream": True, "ignore_eos": True}
    command = ["curl", "-N", "-sS", "-i", f"{server.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        arrivals = [(time.monotonic(), line.rstrip("\r\n")) for line in curl.stdout]
    assert curl.returncode == 0
    lines = [line for _, line in arrivals]
    assert lines[0] == "HTTP/1.1 200 OK"
    assert any(line.lower() == "content-type: text/event-stream" for line in lines)
    events = [(at, line) for at, line in arrivals[lines.index("") + 1 :] if line]
    assert all(line.startswith("data: ") for _, line in events)
    assert lines[-2:] == ["data: [DONE]", ""]
    texts = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "") for _, line in events[:-1]]
    assert len([t for t in texts if t]) > 10
    # The first event comes long before the last: it waits in no buffer.
    middle = events[len(events) // 2][0]
    assert events[0][0] < middle < events[-1][0]


@pytest.fixture
def succeed(start, server):
    """Runs a command that must succeed, with the servers that clients in other languages need; the last one it is to end."""
    with start("--sigma", "2") as imposed, start(*SMALL) as own:

        def succeed(command, folder, **variables):
            environment = os.environ | variables | {
                "AIM_URL": server.url, "AIM_MODEL": server.model, "AIM_IMPOSED_URL": imposed.url,
                "AIM_SMALL_URL": own.url, "AIM_SMALL_PID": str(own.process.pid),
            }
            ran = subprocess.run(
                command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False
            )
            assert ran.returncode == 0, ran.stdout
            return ran.stdout

        yield succeed


def test_javascript(succeed):
    ran = succeed(["node", "--test", "--test-reporter=tap"], CLIENTS / "js")
    assert "\n# skipped 0\n" in ran and "\n# pass 0\n" not in ran, ran


def test_go(succeed):
    # The older client first: the other one's last test ends the server.
    for folder in (CLIENTS / "go" / "old", CLIENTS / "go"):
        # The clients are pure Go, and the server's flags for C are none of their business.
        ran = succeed(["go", "test", "-count=1", "-v", "."], folder, CGO_ENABLED="0")
        assert "--- PASS" in ran and "--- SKIP" not in ran, ran
