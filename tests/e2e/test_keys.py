"""Tiers and keys as the clients of OpenAI and Anthropic see them."""

import subprocess

import anthropic
import openai
import pytest
from conftest import BINARY, MODEL, running, with_secret

TIERS = f"""
version: 1
accounts: {{require_keys: always}}
models:
  smol: {{file: {MODEL}, slots: 4, context: 1024}}
virtual_models:
  smol-standard:
    base: smol
    description: as it is
  smol-lite:
    base: smol
    utility: {{sigma: 2}}
    max_tokens: 64
    bounds: {{n: {{max: 1}}}}
    show: {{logprobs: off}}
"""
QUESTION = [{"role": "user", "content": "What is gravity?"}]


@pytest.fixture(scope="module")
def tiers(tmp_path_factory):
    folder = with_secret(tmp_path_factory.mktemp("tiers"))
    config = folder / "aim.yaml"
    config.write_text(TIERS)
    with running(folder, config=config) as server:
        server.aim = lambda *words: aim(config, folder, *words)
        yield server


def aim(config, state, *words) -> str:
    """Runs a command of the owner on the server's accounts."""
    command = [BINARY, *words, "--config", config, "--state-dir", state]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def key(tiers):
    """Makes a key with a grant."""
    return lambda *grant: tiers.aim("keys", "create", "--name", "test", *grant)


@pytest.fixture
def ask(tiers):
    """Asks with a key, without trying again unless told to."""

    def ask(key, model="smol-lite", retries=0, **parameters):
        client = openai.OpenAI(base_url=f"{tiers.url}/v1", api_key=key, max_retries=retries, timeout=300)
        parameters = {"temperature": 0, "max_tokens": 8, **parameters}
        return client.chat.completions.create(model=model, messages=QUESTION, **parameters)

    return ask


def models(tiers, key) -> list[str]:
    return [m.id for m in openai.OpenAI(base_url=f"{tiers.url}/v1", api_key=key).models.list()]


def test_a_key_sees_what_it_may_use(tiers, key):
    assert models(tiers, key()) == ["smol-lite", "smol-standard"]
    assert models(tiers, key("--models", "smol-l*")) == ["smol-lite"]
    with pytest.raises(openai.AuthenticationError) as caught:
        models(tiers, "aim-nothing")
    assert caught.value.code == "invalid_api_key"


def test_another_tier_is_not_there(ask, key):
    lite = key("--models", "smol-lite")
    for name in ("smol-standard", "smol", "gpt-4o"):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(lite, name)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_what_a_tier_forbids_is_named(ask, key):
    lite, free = key(), key("--lower-utility")
    for error, code, parameters in [
        (openai.PermissionDeniedError, "logprobs_not_allowed", {"logprobs": True}),
        (openai.PermissionDeniedError, "utility_not_allowed", {"extra_body": {"aim": {"utility": {"sigma": 3}}}}),
        (openai.BadRequestError, "invalid_value", {"n": 2}),
        (openai.BadRequestError, "invalid_value", {"max_tokens": 65}),
    ]:
        with pytest.raises(error) as caught:
            ask(lite, **parameters)
        assert caught.value.code == code
        assert caught.value.param
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(free, extra_body={"aim": {"utility": {"sigma": 0.1}}})  # better than what is imposed
    assert caught.value.code == "utility_imposed"
    assert ask(free, extra_body={"aim": {"utility": {"sigma": 3}}}).choices[0].message.content


def test_tiers_are_of_one_model_and_differ(ask, key):
    owner = key()
    lite, standard = ask(owner), ask(owner, "smol-standard")
    assert lite.model == "smol-lite" and standard.model == "smol-standard"
    assert lite.choices[0].message.content == ask(owner).choices[0].message.content
    assert lite.choices[0].message.content != standard.choices[0].message.content  # the secret is the same in each run


def test_a_stream_under_a_key_ends_with_its_usage(tiers, ask, key):
    ada = key()
    chunks = list(ask(ada, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 8
    used = tiers.aim("usage", "--key", ada[:12], "--by", "model", "--csv").splitlines()
    assert used[1].split(",")[0:2] == ["smol-lite", "1"] and used[1].endswith(",8")


def test_a_rate_is_told_and_waited_for(ask, key):
    slow = key("--rpm", "30")
    for _ in range(40):
        try:
            ask(slow, max_tokens=1)
        except openai.RateLimitError as error:
            refused = error
            break
    else:
        pytest.fail("40 requests in a few seconds, where 30 a minute are allowed")
    headers = refused.response.headers
    assert refused.code == "rate_limit_exceeded"
    assert int(headers["Retry-After"]) >= 1
    assert headers["X-RateLimit-Limit-Requests"] == "30" and headers["X-RateLimit-Remaining-Requests"] == "0"
    assert ask(slow, retries=3, max_tokens=1).choices  # the client waits as it is told to


def test_a_spent_budget_is_not_tried_again(tiers, ask, key):
    spent = key("--tokens-per-day", "1")
    with pytest.raises(openai.RateLimitError) as caught:
        ask(spent, retries=5)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["X-Should-Retry"] == "false"
    used = tiers.aim("usage", "--key", spent[:12], "--csv").splitlines()[1]
    assert used.split(",")[:2] == ["1", "1"], used  # it was tried once, and failed


def test_a_revoked_key_ends_at_once(tiers, ask, key):
    gone = key()
    ask(gone)
    tiers.aim("keys", "revoke", gone[:12])
    with pytest.raises(openai.AuthenticationError):
        ask(gone)


def test_the_other_client_brings_its_key_in_a_header_of_its_own(tiers, key):
    def client(secret):
        return anthropic.Anthropic(base_url=tiers.url, api_key=secret, max_retries=0, timeout=300)

    def say(secret, model="smol-lite", **more):
        return client(secret).messages.create(model=model, max_tokens=8, messages=QUESTION, **more)

    lite = key("--models", "smol-lite")
    assert say(lite).content[0].text
    with client(lite).messages.stream(model="smol-lite", max_tokens=8, messages=QUESTION) as stream:
        assert stream.get_final_message().usage.output_tokens > 0
    with pytest.raises(anthropic.AuthenticationError):
        say("aim-nothing")
    with pytest.raises(anthropic.NotFoundError):
        say(lite, "smol-standard")
    with pytest.raises(anthropic.PermissionDeniedError):
        say(lite, extra_body={"aim": {"utility": {"sigma": 3}}})
    with pytest.raises(anthropic.RateLimitError) as caught:
        say(key("--tokens-per-day", "1"))
    assert caught.value.response.headers["X-Should-Retry"] == "false"
