"""Asks the real model for answers to random JSON schemas, at level 1 (no modulation) and at level 0.5, and says how many are
valid. Fails where an answer that ended with `stop` is not, or where fewer than 95 % end so."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import jsonschema
from conftest import BINARY, MODEL, running
from schemas import FORMATS, Generator

TOPICS = ("a bakery", "the moon", "a train journey", "a violin", "a chess game", "a garden", "an old map", "a storm")

formats = jsonschema.FormatChecker(formats=())
for name, shape in FORMATS.items():
    formats.checks(name)(lambda value, shape=shape: not isinstance(value, str) or shape.fullmatch(value) is not None)


def fault(schema: dict, text: str) -> str | None:
    """Why a text is no JSON or breaks its schema, or None."""
    try:
        value = json.loads(text)
        jsonschema.Draft202012Validator(schema, format_checker=formats).validate(value)
    except (ValueError, jsonschema.ValidationError) as error:
        return str(error).splitlines()[0]
    return None


def ask(client, model: str, seed: int, level: float, most: int):
    """One answer: how it ended, its text, its fault if any, and its tokens."""
    schema = Generator(seed).schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    answer = client.chat.completions.create(
        model=model, temperature=1, seed=seed, max_tokens=most,
        messages=[{"role": "user", "content": f"Describe {TOPICS[seed % len(TOPICS)]} as JSON."}],
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}},
        extra_body={"aim": {"utility": {"level": level}}},
    )
    choice = answer.choices[0]
    text = choice.message.content
    return choice.finish_reason, text, fault(schema, text), answer.usage.completion_tokens


def measure(client, model: str, level: float, options) -> bool:
    """All schemas at one level; prints the figures and every answer that is not as it should be."""
    start = time.monotonic()
    seeds = range(options.seed, options.seed + options.count)
    with ThreadPoolExecutor(options.jobs) as pool:
        answers = list(pool.map(lambda seed: ask(client, model, seed, level, options.max_tokens), seeds))
    ends = Counter(end for end, *_ in answers)
    invalid = 0
    for seed, (end, text, why, _) in zip(seeds, answers):
        if end == "stop" and why:
            invalid += 1
            print(f"INVALID seed {seed}: {why}\n  {json.dumps(Generator(seed).schema())}\n  {text!r}")
        elif end != "stop" and options.verbose:
            print(f"{end} seed {seed}: {json.dumps(Generator(seed).schema())}\n  {text!r}")
    share = ends["stop"] / len(answers)
    tokens, took = sum(answer[-1] for answer in answers), time.monotonic() - start
    print(
        f"level {level}: {len(answers)} schemas, {ends['stop']} ended with stop ({share:.1%}), of which {ends['stop'] - invalid} are valid; "
        f"{ends['length']} ended with length; {tokens} tokens in {took:.0f} s",
        flush=True,
    )
    return invalid == 0 and share >= 0.95


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="schemas at each level")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first schema; the others follow")
    parser.add_argument("--levels", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--jobs", type=int, default=8, help="requests at once, and slots of the server")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--state-dir", type=Path, help="folder that keeps the secret and the calibration for the next run")
    parser.add_argument("--verbose", action="store_true", help="print the answers that did not end with stop, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        state = options.state_dir or Path(temporary)
        secret = state / "secret"
        if not secret.exists():  # the same noise in every run
            state.mkdir(parents=True, exist_ok=True)
            secret.touch(mode=0o600)
            secret.write_bytes(b"aim test" * 4)
        if any(level < 1 for level in options.levels):
            subprocess.run([BINARY, "calibrate", MODEL, "--state-dir", state], stdout=subprocess.DEVNULL, check=True)
        with running(state, "--slots", str(options.jobs), "--log-level", "warn") as server:
            good = [measure(server.client(), server.model, level, options) for level in options.levels]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
