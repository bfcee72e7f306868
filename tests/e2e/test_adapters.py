"""Adapters made with PyPI's gguf: each named set is a model of its own, beside the others on the same slots."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import openai
import pytest

from conftest import MODEL, Server, running

QUESTIONS = ["What is gravity?", "Name three rivers.", "How do I boil an egg?"]


@pytest.fixture(scope="session")
def model_file() -> gguf.GGUFReader:
    """The model that the server serves, which may be named or be a path."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    folder = Path(os.environ.get("AIM_MODELS") or data / "aim" / "models")
    return gguf.GGUFReader(MODEL if Path(MODEL).is_file() else folder / f"{MODEL}.gguf")


@pytest.fixture(scope="session")
def lora(model_file, tmp_path_factory) -> Path:
    """A random LoRA adapter of all the matrices of the model's layers, strong enough to change what it says."""
    path = tmp_path_factory.mktemp("adapters") / "lora.gguf"
    architecture = model_file.fields["general.architecture"].contents()
    writer, rng, rank = gguf.GGUFWriter(path, architecture), np.random.default_rng(1), 4
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, rank)
    for tensor in model_file.tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2:
            inputs, outputs = (int(n) for n in tensor.shape)
            a = rng.standard_normal((rank, inputs)) / inputs**0.5
            b = rng.standard_normal((outputs, rank)) / rank**0.5
            writer.add_tensor(f"{tensor.name}.lora_a", a.astype(np.float32))
            writer.add_tensor(f"{tensor.name}.lora_b", b.astype(np.float32))
    finish(writer)
    return path


@pytest.fixture(scope="session")
def vector(model_file, tmp_path_factory) -> Path:
    """A random control vector for all layers that take one."""
    path = tmp_path_factory.mktemp("adapters") / "vector.gguf"
    architecture = model_file.fields["general.architecture"].contents()
    width = int(model_file.fields[f"{architecture}.embedding_length"].contents())
    layers = int(model_file.fields[f"{architecture}.block_count"].contents())
    writer, rng = gguf.GGUFWriter(path, "controlvector"), np.random.default_rng(2)
    writer.add_string("controlvector.model_hint", architecture)
    for layer in range(1, layers):
        writer.add_tensor(f"direction.{layer}", rng.standard_normal(width).astype(np.float32))
    finish(writer)
    return path


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logprobs(client, model: str, question: str) -> list[dict[str, float]]:
    """The log-probabilities of the twenty likeliest tokens at each of four steps that are the same for all models."""
    answer = client.completions.create(
        model=model, prompt=f"Q: {question}\nA: It is a", max_tokens=0, echo=True, logprobs=20, temperature=0
    )
    return answer.choices[0].logprobs.top_logprobs[1:]


def apart(a: list[dict[str, float]], b: list[dict[str, float]]) -> float:
    """How far the likeliest tokens' log-probabilities are apart at most."""
    return max(
        max((abs(x[t] - y[t]) for t in sorted(x, key=x.get)[-5:] if t in y), default=9.0)
        for x, y in zip(a, b, strict=True)
    )


@pytest.fixture(scope="module")
def adapted(state, lora, vector):
    with running(
        state, "--slots", "6", "--lora", f"pirate={lora}@1.5", "--lora", f"mild={lora}@0",
        "--control-vector", f"odd={vector}@0.8", "--control-vector-layers", "odd=5-20",
    ) as server:
        yield server


def test_each_set_is_a_model(adapted):
    client = adapted.client()
    assert [m.id for m in client.models.list()] == [adapted.model, "pirate", "mild", "odd"]
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="parrot", prompt="a")
    base, pirate, mild, odd = (logprobs(client, m, QUESTIONS[0]) for m in (adapted.model, "pirate", "mild", "odd"))
    assert apart(base, mild) < 0.5, "an adapter at scale 0 changes nothing but how a batch is rounded"
    assert apart(base, pirate) > 1 and apart(base, odd) > 1 and apart(pirate, odd) > 1


def test_sets_run_beside_each_other(adapted, server):
    """What a model says does not depend on who else runs: compared with a server that has no adapters, and with itself alone."""
    client, plain = adapted.client(), server.client()
    models = [adapted.model, "pirate", "odd"]
    alone = {(m, q): logprobs(client, m, q) for m in models for q in QUESTIONS}
    with ThreadPoolExecutor(18) as pool:
        # Answers that keep all sets busy meanwhile, and that differ between the models.
        talk = {
            m: pool.submit(
                client.chat.completions.create, model=m, messages=[{"role": "user", "content": QUESTIONS[0]}],
                max_tokens=60, temperature=0,
            )
            for m in models
        }
        jobs = {key: pool.submit(logprobs, client, *key) for key in alone}
        together = {key: job.result() for key, job in jobs.items()}
        said = {m: job.result().choices[0].message.content for m, job in talk.items()}
    for (model, question), got in together.items():
        assert apart(got, alone[model, question]) < 0.5, (model, question)
        if model == adapted.model:
            assert apart(got, logprobs(plain, server.model, question)) < 0.5, question
    assert len(set(said.values())) == len(models), said


def test_the_models_own_adapter(start, lora, server):
    """Without a name an adapter is the model's own."""
    with start("--lora", f"{lora}@1.5", "--slots", "2") as own:
        client = own.client()
        assert [m.id for m in client.models.list()] == [server.model]
        assert apart(logprobs(client, own.model, QUESTIONS[0]), logprobs(server.client(), server.model, QUESTIONS[0])) > 1


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--lora", "a=none.gguf"], "no such file"),
        (["--lora", "a b={lora}"], "the name"),
        (["--lora", "{vector}"], "no LoRA adapter"),
        (["--control-vector", "{lora}"], "no control vector"),
        (["--control-vector", "{vector}", "--control-vector-layers", "5-99"], "layers"),
    ],
)
def test_refused(state, lora, vector, flags, why):
    with pytest.raises(RuntimeError, match=why):
        Server(state, *[f.format(lora=lora, vector=vector) for f in flags])
