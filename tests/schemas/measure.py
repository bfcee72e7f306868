"""Measures whether answers hold to JSON schemas: random ones, on the real model, as it is and modulated.

    make schemas            # 200 schemas at levels 1 and 0.5

Prints for each level how many answers ended by themselves (`stop`), how many of those are valid, and how many were cut off
(`length`), which no grammar can prevent. Exits with 1 where an answer that ended is invalid.
"""

import argparse
import json
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import running  # noqa: E402

WORDS = "city name color price count tags kind size notes date owner items active score".split()


def schema(rng: random.Random, depth: int) -> dict:
    """A schema whose texts are of bounded length, so that an answer can end."""
    kinds = ["string", "pattern", "enum", "integer", "boolean", "const", "null or", "format"]
    if depth > 0:
        kinds += ["array", "object", "object", "any of"]
    match rng.choice(kinds):
        case "string":
            return {"type": "string", "minLength": rng.randint(0, 2), "maxLength": rng.randint(3, 20)}
        case "pattern":
            return {"type": "string", "pattern": rng.choice(["^[A-Z]{2}-[0-9]{3}$", "^(yes|no)$", "^[a-f0-9]{6}$"])}
        case "enum":
            return {"enum": rng.sample(["red", "green", "blue", 1, 2.5, True, None, "déjà vu"], rng.randint(1, 5))}
        case "integer":
            low = rng.randint(-50, 50)
            return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 2000)}
        case "boolean":
            return {"type": "boolean"}
        case "const":
            return {"const": rng.choice(["fixed", 7, False, "a \"quoted\" text"])}
        case "null or":
            return {"anyOf": [{"type": "null"}, schema(rng, 0)]}
        case "format":
            return {"type": "string", "format": rng.choice(["date", "uuid", "date-time"])}
        case "array":
            low = rng.randint(0, 2)
            return {"type": "array", "items": schema(rng, depth - 1), "minItems": low, "maxItems": low + rng.randint(0, 2)}
        case "any of":
            return {"anyOf": [schema(rng, depth - 1) for _ in range(rng.randint(1, 3))]}
        case _:
            return record(rng, depth - 1)


def record(rng: random.Random, depth: int) -> dict:
    names = rng.sample(WORDS, rng.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: schema(rng, depth) for name in names},
        "required": [name for name in names if rng.random() < 0.7],
        "additionalProperties": False,
    }


def ask(client, model: str, form: dict, seed: int, level: float) -> tuple[str, str]:
    answer = client.chat.completions.create(
        model=model, seed=seed, max_tokens=512,
        messages=[{"role": "user", "content": "Invent an example of a record and write it as JSON."}],
        response_format={"type": "json_schema", "json_schema": {"name": "record", "schema": form, "strict": True}},
        extra_body={"aim": {"utility": {"level": level}}} if level < 1 else {},
    )
    return answer.choices[0].finish_reason, answer.choices[0].message.content


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=200, help="number of schemas")
    options.add_argument("--levels", type=float, nargs="+", default=[1.0, 0.5])
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()

    rng = random.Random(args.seed)
    forms = [record(rng, 2) for _ in range(args.count)]
    invalid = 0
    with tempfile.TemporaryDirectory() as state, running(Path(state), "--slots", "8", "--queue", "64", "--log-level", "warn") as server:
        client = server.client().with_options(max_retries=20)
        for level in args.levels:
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda job: ask(client, server.model, job[1], job[0], level), enumerate(forms)))
            ended, bad = 0, []
            for form, (finish, text) in zip(forms, answers, strict=True):
                if finish != "stop":
                    continue
                ended += 1
                try:
                    jsonschema.validate(json.loads(text), form, cls=jsonschema.Draft202012Validator)
                except ValueError as e:
                    bad.append((form, text, str(e)))
                except jsonschema.ValidationError as e:
                    bad.append((form, text, e.message))
            invalid += len(bad)
            print(f"level {level}: of {len(forms)} answers {ended} ended ({ended / len(forms):.1%}), {ended - len(bad)} of them valid; {len(forms) - ended} cut off")
            for form, text, why in bad:
                print(f"  invalid: {why}\n    {json.dumps(form)}\n    {text}")
    return 1 if invalid else 0


if __name__ == "__main__":
    sys.exit(main())
