"""The API as the official client sees it."""

import json
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

QUESTION = [{"role": "user", "content": "What is gravity?"}]


def content(answer) -> str:
    return answer.choices[0].message.content


def test_whole_and_streamed_answers_agree(client, server, ask):
    whole = ask(max_tokens=32)
    assert whole.object == "chat.completion" and whole.model == server.model
    assert whole.choices[0].message.role == "assistant"
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 32
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 32
    assert "gravity" in content(whole).lower()

    chunks = list(
        client.chat.completions.create(
            model=server.model, messages=QUESTION, temperature=0, max_tokens=32,
            stream=True, stream_options={"include_usage": True},
        )
    )
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1
    first, *pieces, finish, usage = chunks
    assert first.choices[0].delta.role == "assistant" and not first.choices[0].delta.content
    assert "".join(c.choices[0].delta.content for c in pieces) == content(whole)
    assert all(c.choices[0].finish_reason is None for c in (first, *pieces))
    assert finish.choices[0].finish_reason == "length" and not finish.choices[0].delta.content
    assert usage.choices == [] and usage.usage.total_tokens == whole.usage.total_tokens
    # The prompt is known from the first time, but for its last token, whose logits are wanted.
    assert usage.usage.prompt_tokens_details.cached_tokens == whole.usage.prompt_tokens - 1
    assert all(c.usage is None for c in chunks[:-1])


def test_system_message_and_text_parts(client, server):
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "gravity?"}]
    split = client.chat.completions.create(
        model=server.model, temperature=0, max_tokens=12, messages=[{"role": "user", "content": parts}]
    )
    joined = client.chat.completions.create(model=server.model, temperature=0, max_tokens=12, messages=QUESTION)
    assert content(split) == content(joined)
    instructed = client.chat.completions.create(
        model=server.model, temperature=0, max_tokens=12,
        messages=[{"role": "system", "content": "Answer like a pirate."}, *QUESTION],
    )
    assert instructed.usage.prompt_tokens != joined.usage.prompt_tokens


def test_completions(client, server):
    request = {"model": server.model, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8}
    whole = client.completions.create(**request)
    assert whole.object == "text_completion" and whole.choices[0].text.startswith(" Paris")
    streamed = "".join(c.choices[0].text for c in client.completions.create(**request, stream=True))
    assert streamed == whole.choices[0].text
    assert len(client.completions.create(**{**request, "max_tokens": openai.NOT_GIVEN}).choices[0].text) > 0


def test_models(client, server):
    listed = client.models.list()
    assert [m.id for m in listed] == [server.model]
    model = client.models.retrieve(server.model)
    assert model.object == "model" and model.created > 0 and model.owned_by


def test_logprobs_spell_the_answer(ask):
    choice = ask("Say: naïve 日本 🙂", logprobs=True, top_logprobs=3, max_tokens=40).choices[0]
    tokens = choice.logprobs.content
    spelt = b"".join(bytes(t.bytes) for t in tokens)
    assert spelt.decode(errors="replace") == choice.message.content
    for t in tokens:
        assert len(t.top_logprobs) == 3
        assert t.logprob <= 0 and t.logprob == pytest.approx(t.top_logprobs[0].logprob)  # at temperature 0
        assert [c.logprob for c in t.top_logprobs] == sorted((c.logprob for c in t.top_logprobs), reverse=True)


def test_legacy_logprobs(client, server):
    choice = client.completions.create(
        model=server.model, prompt="The capital of France is", temperature=0, max_tokens=4, logprobs=2
    ).choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    assert len(choice.logprobs.token_logprobs) == len(choice.logprobs.top_logprobs) == 4
    assert choice.logprobs.text_offset[0] == 0


def test_n_choices_differ_and_are_repeatable(ask):
    answers = [[c.message.content for c in ask(n=3, temperature=1, seed=5).choices] for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 3


def test_stop_strings_end_the_answer(ask):
    base = content(ask(max_tokens=40))
    stop = base[20:26]
    for form in (stop, ["never said", stop]):
        stopped = ask(max_tokens=40, stop=form)
        assert stopped.choices[0].finish_reason == "stop"
        assert content(stopped) == base[: base.index(stop)]


def test_seed_makes_an_answer_repeatable(ask):
    first, again, other = (content(ask(temperature=1, seed=seed)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_penalties_and_bias_change_the_answer(ask):
    base = content(ask(max_tokens=60))
    assert content(ask(max_tokens=60, frequency_penalty=2)) != base
    token = ask(logprobs=True).choices[0].logprobs.content[0]
    assert token.logprob < 0
    assert content(ask(extra_body={"repeat_penalty": 5.0}, max_tokens=60)) != base


def test_utility_changes_the_text_the_same_way_each_time(ask):
    base = content(ask())
    noisy = [content(ask(extra_body={"aim": {"utility": {"sigma": 3}}}, seed=seed)) for seed in (1, 2)]
    assert noisy[0] == noisy[1] != base, "the noise is the owner's: neither chance nor the seed may touch it"
    assert content(ask(extra_body={"aim": {"utility": {"sigma": 0}}})) == base


def test_utility_degrades_with_sigma(ask):
    """The share of the first words kept falls as sigma grows; the issue's own measure needs raw logits."""
    base = content(ask(max_tokens=48)).split()

    def kept(sigma: float) -> int:
        words = content(ask(max_tokens=48, extra_body={"aim": {"utility": {"sigma": sigma}}})).split()
        same = [a == b for a, b in zip(base, words)]
        return same.index(False) if False in same else len(same)

    assert kept(0) >= kept(0.05) >= kept(20)
    assert kept(20) == 0


def test_focus_raises_and_lowers_a_word(ask):
    def focus(direction: str, sigma: float) -> str:
        entry = {"text": "water", "sigma": sigma, "direction": direction}
        return content(ask("Describe a river.", seed=1, max_tokens=60, extra_body={"aim": {"focus": [entry]}})).lower()

    plain = content(ask("Describe a river.", max_tokens=60)).lower()
    assert focus("raise", 12).count("water") > plain.count("water")
    assert not re.search(r"\bwater\b", focus("lower", 100))
    assert focus("raise", 0) == plain


def test_unknown_fields_are_tolerated(ask):
    assert content(ask(extra_body={"from_the_future": {"x": 1}})) == content(ask())


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"temperature": 9}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": -3}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"extra_body": {"aim": {"utility": {"sigma": -1}}}}, "aim.utility.sigma"),
        ({"extra_body": {"aim": {"utilty": {"sigma": 1}}}}, "aim.utilty"),
        ({"extra_body": {"aim": {"focus": [{"text": "a", "sigma": 1}, {"sigma": 1}]}}}, "aim.focus[1]"),
        ({"messages": "not a list"}, "messages"),
    ],
)
def test_bad_requests_name_the_parameter(client, server, parameters, param):
    request = {"model": server.model, "messages": QUESTION, **parameters}
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**request, stream=stream)
        assert caught.value.param == param
        assert caught.value.type == "invalid_request_error"
        assert param.split("[")[0] in caught.value.message


def test_unknown_model_and_route(client, server):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
    assert caught.value.code == "model_not_found" and "no-such-model" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="x")


def test_overlong_prompt_says_how_long(ask):
    with pytest.raises(openai.BadRequestError) as caught:
        ask("word " * 5000)
    assert caught.value.code == "context_length_exceeded"
    assert "4096" in caught.value.message


def test_too_large_a_body(ask):
    with pytest.raises(openai.APIStatusError) as caught:
        ask("x" * (5 << 20))
    assert caught.value.status_code == 413


def test_a_body_that_is_no_json(server):
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", data=b"{", method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert set(json.load(caught.value)["error"]) == {"message", "type", "param", "code"}


def test_sixteen_streams_at_once(client, server):
    def stream(i: int):
        chunks = list(
            client.chat.completions.create(
                model=server.model, temperature=0.8, seed=i, max_tokens=24, stream=True,
                messages=[{"role": "user", "content": f"Tell me something about the number {i}."}],
                stream_options={"include_usage": True},
            )
        )
        text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
        return text, chunks[-2].choices[0].finish_reason, chunks[-1].usage.completion_tokens

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(stream, range(16)))
    for text, finish, tokens in answers:
        assert text and finish in ("stop", "length") and 0 < tokens <= 24
        assert (finish == "length") == (tokens == 24) or finish == "stop"
    assert len({text for text, _, _ in answers}) == 16


def figures(report) -> dict:
    return {k: v for k, v in report.items() if k != "choices"}


def test_report_of_whole_and_streamed_answers(client, server, ask):
    aim = {"utility": {"sigma": 1.5}, "report": {"tokens": True}}
    whole = ask(max_tokens=24, extra_body={"aim": aim})
    report = whole.aim["report"]
    assert report["steps"] == whole.usage.completion_tokens == 24
    assert report["sigma"] == 1.5
    assert 0 < report["flips"] < 24 and 0 < report["retention"] < 1 and report["kl"] > 0 and report["excluded"] == 0
    (choice,) = report["choices"]
    assert figures(choice) | {"index": 0} == {**figures(report), "index": 0, "tokens": choice["tokens"]}
    tokens = choice["tokens"]
    assert b"".join(bytes(t["bytes"]) for t in tokens).decode(errors="replace") == content(whole)
    # At temperature 0 and with nothing but noise, a token that is not the model's best is a flip.
    assert [t["flip"] for t in tokens] == [t["id"] != t["best"]["id"] for t in tokens]
    assert report["flips"] == sum(t["flip"] for t in tokens)
    assert report["retention"] == pytest.approx(sum(t["retention"] for t in tokens) / 24)
    assert report["kl"] == pytest.approx(sum(t["kl"] for t in tokens) / 24)

    for options in ({}, {"stream_options": {"include_usage": True}}):
        chunks = list(
            client.chat.completions.create(
                model=server.model, messages=QUESTION, temperature=0, max_tokens=24, stream=True, **options,
                extra_body={"aim": aim},
            )
        )
        assert chunks[-1].aim["report"] == report
        assert not any("aim" in c.model_extra for c in chunks[:-1])


def test_report_without_modulation(ask):
    report = ask(extra_body={"aim": {"report": True}}).aim["report"]
    assert figures(report) == {
        "sigma": 0, "level": 1, "steps": 24, "flips": 0, "retention": 1, "kl": 0, "excluded": 0, "hits": 0, "forced": 0,
    }


def post(server, path: str, body: dict):
    request = urllib.request.Request(
        f"{server.url}/v1/aim/{path}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)


def test_preview_shows_both_distributions(server, ask):
    body = {"messages": QUESTION, "aim": {"utility": {"sigma": 2}}}
    preview = post(server, "preview", body)
    tokens = preview["tokens"]
    for side in ("before", "after"):
        first = sorted((t for t in tokens if t[side]["rank"] <= 20), key=lambda t: t[side]["rank"])
        assert [t[side]["rank"] for t in first] == list(range(1, 21))
        assert [t[side]["logit"] for t in first] == sorted((t[side]["logit"] for t in first), reverse=True)
        assert 0 < sum(t[side]["prob"] for t in tokens) <= 1 + 1e-9
    # The first token of an answer at temperature 0 is the first one of the preview, with the same log-probability.
    for extra, side in (({}, "before"), ({"aim": body["aim"]}, "after")):
        token = ask(max_tokens=1, logprobs=True, extra_body=extra).choices[0].logprobs.content[0]
        best = next(t for t in tokens if t[side]["rank"] == 1)
        assert token.token == best["token"] and token.logprob == pytest.approx(best[side]["logprob"], abs=1e-3)
    assert preview["aim"]["report"]["steps"] == 1 and preview["aim"]["report"]["kl"] > 0


def test_sweep_answers_each_point(server, ask):
    sigmas = [0, 0.5, 3]
    body = {"messages": QUESTION, "temperature": 0, "max_tokens": 24, "sigmas": sigmas}
    sweep = post(server, "sweep", body)
    report = sweep["aim"]["report"]
    assert [c["sigma"] for c in report["choices"]] == sigmas and report["sigma"] is None
    for sigma, choice in zip(sigmas, sweep["choices"]):
        alone = ask(extra_body={"aim": {"utility": {"sigma": sigma}}})
        # Other batches round differently, so only the beginning must agree.
        assert choice["message"]["content"][:8] == content(alone)[:8]
    flips = [c["flips"] for c in report["choices"]]
    assert flips[0] == 0 < flips[2]
    kept = [c["retention"] for c in report["choices"]]
    assert kept[0] == 1 > kept[1] > kept[2]


def test_an_imposed_sigma_hides_raw_rows(start):
    with start("--sigma", "2") as imposed:
        answer = imposed.client().chat.completions.create(
            model=imposed.model, messages=QUESTION, max_tokens=8, extra_body={"aim": {"report": {"tokens": True}}}
        )
        report = answer.aim["report"]
        hidden = ("flips", "retention", "kl", "excluded")
        assert report["steps"] == 8 and report["sigma"] == 2
        for entry in (report, *report["choices"], *report["choices"][0]["tokens"]):
            assert all(entry.get(name) is None for name in hidden)
        assert all(t["best"] is None and t["flip"] is None for t in report["choices"][0]["tokens"])
        for path, more, code in (("preview", {}, "report_not_allowed"), ("sweep", {"sigmas": [2, 1]}, "utility_imposed")):
            with pytest.raises(urllib.error.HTTPError) as caught:
                post(imposed, path, {"messages": QUESTION, **more})
            assert caught.value.code == 403
            assert json.load(caught.value)["error"]["code"] == code
