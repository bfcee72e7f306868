"""The life of a server: slots, health, shutdown, and what the README promises."""

import json
import re
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from conftest import BINARY, MODEL, ROOT

ENDLESS = {"messages": [{"role": "user", "content": "Tell a very long story."}], "stream": True, "temperature": 1, "seed": 1}


def endless(client, server, **parameters):
    """A stream of which one piece has been read. Control tokens that would end it are out of the question."""
    stream = client.chat.completions.create(model=server.model, **{**ENDLESS, **parameters})
    next(stream)
    return stream


def eventually(attempt, refused):
    """Repeats an attempt that another request's end must make possible."""
    for _ in range(600):
        try:
            return attempt()
        except refused:
            time.sleep(0.1)
    return attempt()


def test_a_full_queue_refuses_and_a_client_that_leaves_makes_room(start):
    with start("--slots", "1", "--queue", "0") as server:
        client = server.client()

        def short():
            return client.chat.completions.create(
                model=server.model, messages=[{"role": "user", "content": "Hi"}], max_tokens=2
            )

        stream = endless(client, server)
        with pytest.raises(openai.RateLimitError) as caught:
            short()
        assert int(caught.value.response.headers["Retry-After"]) > 0
        stream.close()  # long before its end
        answer = eventually(short, openai.RateLimitError)
        assert answer.usage.completion_tokens <= 2


def test_health_answers_during_a_long_prompt(client, server):
    def long():
        return client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": "word " * 3500}], max_tokens=1
        )

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(long)
        healthy = 0
        while not answer.done():
            with urllib.request.urlopen(f"{server.url}/health") as response:
                assert json.load(response) == {"status": "ok"}
            healthy += not answer.done()
            time.sleep(0.02)  # asking without a pause would take a core from the prompt
        assert answer.result().usage.prompt_tokens > 3500
    assert healthy > 0


def test_sigterm_lets_a_stream_finish(start):
    with start() as server:
        client = server.client()
        stream = endless(client, server, max_tokens=60)
        server.terminate()
        with pytest.raises((openai.InternalServerError, openai.APIConnectionError)):  # 503, or gone
            for _ in range(600):
                client.models.list()
                client.chat.completions.create(model=server.model, messages=ENDLESS["messages"], max_tokens=1)
        assert [c.choices[0].finish_reason for c in stream][-1] in ("stop", "length")
        assert server.wait() == 0


def test_sigterm_ends_a_stream_that_takes_too_long(start):
    with start("--drain-timeout", "100ms") as server:
        client = server.client()
        stream = endless(client, server)
        server.terminate()
        with pytest.raises(openai.APIError) as caught:
            list(stream)
        assert "shutting down" in caught.value.message
        assert server.wait() == 0


def test_an_imposed_sigma_cannot_be_undone(start, client, server):
    def ask(client, server, **aim):
        return client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": "What is gravity?"}], temperature=0, max_tokens=24,
            extra_body={"aim": aim} if aim else None,
        ).choices[0].message.content

    with start("--sigma", "2") as tier:
        cheap = tier.client()
        assert ask(cheap, tier) == ask(client, server, utility={"sigma": 2})  # one secret, one model, one sigma
        with pytest.raises(openai.PermissionDeniedError) as caught:
            ask(cheap, tier, utility={"sigma": 1})
        assert caught.value.param == "aim.utility.sigma"


def test_a_second_server_on_the_same_address_fails_at_once(server, state):
    address = server.url.removeprefix("http://")
    second = subprocess.run([BINARY, "serve", "--addr", address, "--model", MODEL, "--state-dir", state], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "address already in use" in second.stderr


def test_readme_examples(server):
    """The curl lines and the Python of the README, with this server's address in place of the default."""
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    local = [(kind, text.replace("http://127.0.0.1:8080", server.url)) for kind, text in blocks if "127.0.0.1:8080" in text]
    assert {kind for kind, _ in local} == {"sh", "python"}
    for kind, text in local:
        command = ["bash", "-e", "-c", text] if kind == "sh" else [str(ROOT / ".venv" / "bin" / "python"), "-c", text]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0 and ran.stdout.strip(), ran.stderr
        assert '"error"' not in ran.stdout
        if "curl -N" in text:
            assert ran.stdout.rstrip().endswith("data: [DONE]")
