"""What `aim models export-tokenizer` writes makes the same tokens of a text, in Hugging Face's library, as our server does."""

import json
import os
import random
import struct
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import conftest  # noqa: E402

DATA = Path(os.environ.get("AIM_SHARED", ROOT.parent / "shared")) / "testdata" / "eval"
MODELS = Path(os.environ.get("AIM_MODELS") or Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share", "aim", "models"))
SMOLLM = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA = MODELS / "gemma-3-270m-q4_k_m.gguf"

# What cuts of words, numbers, marks, spaces and special tokens disagree about.
ODD = [
    "12341234 789", "1234567890 7890,789.12",
    "  two   spaces \n\n\n\tand tabs\r\n\r\n", "1234567 12 3\u0663\u096a45\u00bd\u00b2", "cafe\u0301 caf\u00e9 \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4",
    "\U0001f642\U0001f469\u200d\U0001f467 \u00a0a\u2003b", "'s 'S it's IT'S we'LL \u017f 's\u017f", " ", "\n", "   x", "   \n  \n ", "\x00\x01\x7f",
    "_\u2581mark_ __", "\u0130stanbul \u212a", "<|im_start|>user\nhi<|im_end|>\n", "x<bos>y <start_of_turn>z", " <|im_end|> ", "<h1>t</h1>\n\n\n        y",
]


def noise(seed: int, count: int) -> list[str]:
    """Texts of letters, numbers, marks and spaces from all over Unicode."""
    r = random.Random(seed)
    ranges = [(32, 127), (32, 127), (9, 14), (32, 33), (0xA0, 0x2FFF), (0x3000, 0xD7FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF)]
    return ["".join(chr(r.randrange(*r.choice(ranges))) for _ in range(r.randrange(1, 60))) for _ in range(count)]


def strings(value):
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for v in value.values() if isinstance(value, dict) else value:
            yield from strings(v)


def items() -> list[str]:
    """The texts of the items, none where there are none."""
    return [s for f in sorted(DATA.glob("*.jsonl")) for line in f.read_text().splitlines() for s in strings(json.loads(line)) if s]


def export(model: Path, folder: Path) -> Path:
    """The tokenizer.json of a model."""
    subprocess.run([conftest.BINARY, "models", "export-tokenizer", model, folder], check=True)
    return folder / "tokenizer.json"


def packed(text: str) -> bytes:
    """A string as GGUF has it."""
    return struct.pack("<Q", len(text.encode())) + text.encode()


# Tokens that tell how numbers are cut, with merges to them. None leads to 789, which is a token for who looks for whole words only.
NUMBERS = {"12": "1 2", "34": "3 4", "123": "12 3", "1234": "123 4", "789": "12 34"}
NUMBER = "12341234 789"


def relabelled(model: Path, pre: str, folder: Path) -> Path:
    """A copy of a model with another pre-tokenizer, and with NUMBERS for its last tokens that no others are made of.

    The chat template makes up for the length, so that the weights stay in their place.
    """
    merges = json.loads(export(model, folder / "original").read_text())["model"]["merges"]
    seen = Counter(t for m in merges for t in (*m, "".join(m)))
    spare = [m for m in reversed(merges) if seen["".join(m)] == 1]
    kind = packed("tokenizer.ggml.pre") + struct.pack("<I", 8)
    changes = [(kind + packed("smollm"), kind + packed(pre))]
    for (left, right), (token, merge) in zip(spare, NUMBERS.items()):
        changes += [(packed(left + right), packed(token)), (packed(f"{left} {right}"), packed(merge))]
    data = model.read_bytes()
    header, weights = data[: 8 << 20], data[8 << 20 :]
    size = len(header)
    for old, new in changes:
        assert header.count(old) == 1, old
        header = header.replace(old, new)
    name = packed("tokenizer.chat_template") + struct.pack("<I", 8)
    at = header.index(name) + len(name)
    end = at + 8 + struct.unpack_from("<Q", header, at)[0]
    template = "{{ messages[0].content }}".ljust(end - at - 8 + size - len(header))
    header = header[:at] + packed(template) + header[end:]
    assert len(header) == size
    path = folder / f"{pre}.gguf"
    path.write_bytes(header + weights)
    return path


def prefixed(model: Path, folder: Path) -> Path:
    """A copy of a model whose texts get a space before them, as Llama 2's do."""
    data = model.read_bytes()
    key = packed("tokenizer.ggml.add_space_prefix") + struct.pack("<I", 7)
    assert data.count(key + b"\0") == 1
    data = data.replace(key + b"\0", key + b"\1")
    path = folder / "prefixed.gguf"
    path.write_bytes(data)
    return path


# What becomes of NUMBER.
CUTS = {
    "gpt-2": "1234 1234 Ġ 7 8 9",
    "starcoder": "1 2 3 4 1 2 3 4 Ġ 7 8 9",
    "llama-bpe": "123 4 12 34 Ġ 789",
    "dbrx": "123 4 12 34 Ġ 7 8 9",
    "qwen2": "1 2 3 4 1 2 3 4 Ġ 7 8 9",
}

KINDS = {
    "smollm": (SMOLLM, lambda folder: SMOLLM),
    **{pre: (SMOLLM, lambda folder, pre=pre: relabelled(SMOLLM, pre, folder)) for pre in CUTS},
    "gemma": (GEMMA, lambda folder: GEMMA),
    "llama 2": (GEMMA, lambda folder: prefixed(GEMMA, folder)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_the_servers(kind, tmp_path, monkeypatch):
    needed, make = KINDS[kind]
    if not needed.exists():
        pytest.skip(f"no {needed}: run `make model` or `make model-gemma`")
    model = make(tmp_path)
    ours = Tokenizer.from_file(str(export(model, tmp_path / "out")))
    if kind in CUTS:
        assert " ".join(ours.encode(NUMBER, add_special_tokens=False).tokens) == CUTS[kind]
    monkeypatch.setattr(conftest, "MODEL", model)
    texts = ODD + noise(1, 1000) + items()
    with conftest.running(tmp_path, "--slots", "1", "--log-level", "error") as server:

        def tokens(text: str, special: bool) -> list[int]:
            body = json.dumps({"prompt": text, "add_special_tokens": special}).encode()
            request = urllib.request.Request(f"{server.url}/tokenize", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["tokens"]

        for special, part in ((False, texts), (True, ODD)):
            differ = [t for t in part if ours.encode(t, add_special_tokens=special).ids != tokens(t, special)]
            assert not differ, f"{len(differ)} of {len(part)} texts, such as {differ[:3]!r}"
    print(f"{kind}: {len(texts)} texts give the same tokens")
