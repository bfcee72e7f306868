"""The code blocks of the documents do what they say: each is run as it stands, against a server of its own."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest
from conftest import BINARY, ROOT, running

# The address that the documents write.
WRITTEN = "127.0.0.1:8080"
# How many blocks may be left out, each with a reason that stands before it: <!-- not run: REASON -->
MOST_LEFT_OUT = 5
RUN = {"sh": "sh", "bash": "sh", "shell": "sh", "python": "python", "js": "js", "javascript": "js", "json": "json", "yaml": "yaml"}


@dataclass
class Block:
    path: Path
    line: int
    language: str
    text: str
    reason: str | None
    follows: "Block | None" = None

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document."""
    found, last = [], ""
    lines = iter(enumerate(path.read_text().split("\n"), 1))
    for number, line in lines:
        fence = re.fullmatch(r"( *)```([\w+-]*)", line)
        if not fence:
            last = line if line.strip() else last
            continue
        text = []
        for _, inner in lines:
            if inner.strip() == "```":
                break
            text.append(inner.removeprefix(fence[1]))
        reason = re.fullmatch(r" *<!-- not run: (.+) -->", last)
        found.append(Block(path, number, fence[2], "\n".join(text) + "\n", reason[1] if reason else None))
        last = ""
    for block, following in zip(found, found[1:]):
        block.follows = following
    return found


ALL = [b for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] for b in blocks(path)]
CODE = [b for b in ALL if b.language in RUN]
LEFT_OUT = [b for b in CODE if b.reason]
# A request as it goes over the wire, in a block without a language.
REQUESTS = [b for b in ALL if re.match(r"(GET|POST) /\S+\n", b.text)]


@pytest.fixture(scope="module")
def served(state):
    with running(state, "--slots", "4") as server:
        # Levels need a calibration; asked for here, it is nobody's to wait for.
        ask = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "aim": {"utility": {"level": 0.7}}}
        for _ in range(10):
            answer = httpx.post(f"{server.url}/v1/chat/completions", json=ask, timeout=300)
            if answer.status_code != 503:
                break
        assert answer.status_code == 200, answer.text
        yield server


# What stands for the program in a document's folder: serve comes back when the server answers, which then runs until the tests end.
WRAPPER = """#!/bin/sh
[ "$1" = serve ] || exec "$AIM_REAL" "$@"
shift
nohup "$AIM_REAL" serve --addr "$AIM_OWN" "$@" >serve.log 2>&1 </dev/null &
echo $! >serve.pid
for i in $(seq 600); do
  curl -q --fail http://$AIM_OWN/health >/dev/null 2>&1 && exit 0
  kill -0 $(cat serve.pid) 2>/dev/null || break
  sleep 0.2
done
cat serve.log
exit 1
"""


@dataclass
class Folder:
    """Where the blocks of a document run: with a state, a database and variables of their own, and a server where one of them starts it."""

    path: Path
    own: str

    def environment(self, served) -> dict:
        return {
            **os.environ, "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}", "CURL_HOME": str(self.path), "XDG_STATE_HOME": str(self.path / "state"),
            "AIM_DATABASE": str(self.path / "aim.db"), "AIM_REAL": str(BINARY), "AIM_OWN": self.own,
        }

    def address(self, served) -> str:
        return self.own if (self.path / "serve.pid").exists() else served.url.removeprefix("http://")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, state):
    made: dict[Path, Folder] = {}

    def folder(document: Path) -> Folder:
        if document not in made:
            at = tmp_path_factory.mktemp("docs")
            (at / "bin").mkdir()
            (at / "bin" / "aim").write_text(WRAPPER)
            (at / "bin" / "aim").chmod(0o755)
            # Calibrations are everyone's, so that each level is measured once.
            (at / "state").mkdir()
            (at / "state" / "aim").symlink_to(state)
            (at / "node_modules").symlink_to(ROOT / "tests" / "clients" / "js" / "node_modules")
            # An answer that says that something is wrong fails the block.
            (at / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
            with socket.create_server(("127.0.0.1", 0)) as free:
                made[document] = Folder(at, f"127.0.0.1:{free.getsockname()[1]}")
        return made[document]

    yield folder
    for folder in made.values():
        pid = folder.path / "serve.pid"
        if pid.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGTERM)


def test_few_blocks_are_left_out(capsys):
    with capsys.disabled():
        print(f"\n{len(CODE) - len(LEFT_OUT)} blocks of the documents are run, {len(LEFT_OUT)} are not", end="")
        for block in LEFT_OUT:
            print(f"\n  {block}: {block.reason}", end="")
    assert len(LEFT_OUT) <= MOST_LEFT_OUT
    assert len(CODE) > len(LEFT_OUT)
    unknown = {b.language for b in ALL} - set(RUN) - {""}
    assert not unknown, f"nobody knows how to run {unknown}"


@pytest.mark.parametrize("block", [pytest.param(b, id=str(b)) for b in CODE if not b.reason])
def test_block(block, served, folders):
    folder = folders(block.path)
    text = block.text.replace(WRITTEN, folder.address(served))
    kind = RUN[block.language]
    if kind == "json":
        written(served, json.loads(text))
        return
    if kind == "yaml":
        (folder.path / "aim.yaml").write_text(text)
        command = [BINARY, "config", "check", "aim.yaml"]
    elif kind == "js":
        (folder.path / "block.mjs").write_text(text)
        command = ["node", "block.mjs"]
    elif kind == "python":
        command = [sys.executable, "-c", text]
    else:
        # Variables that a block sets are there in the next one.
        command = ["bash", "-euo", "pipefail", "-c", f"[ ! -e variables ] || . ./variables\n{text}\nset +u; declare -p AIM_CONFIG AIM_KEY 2>/dev/null | sed 's/^declare -[-x]* /export /' >variables || true"]
    done = subprocess.run(command, cwd=folder.path, env=folder.environment(served), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def written(served, body):
    """What a block of JSON shows, if that is a request, is one that the server takes."""
    if "messages" in body and "object" not in body:
        answer = httpx.post(f"{served.url}/v1/chat/completions", json={"max_tokens": 8, **body}, timeout=300)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("block", [pytest.param(b, id=str(b)) for b in REQUESTS])
def test_request(block, served):
    """A request that a document shows is answered, with an error where the answer that follows it is one."""
    head, _, body = block.text.partition("\n")
    method, path = head.split(" ")
    answer = httpx.request(method, served.url + path, content=body.strip() or None, headers={"Content-Type": "application/json"}, timeout=300)
    shown = json.loads(block.follows.text) if block.follows and block.follows.language == "json" else {}
    if "error" in shown:
        assert answer.json() == shown
    else:
        assert answer.status_code == 200, answer.text
        if "text/event-stream" not in answer.headers["Content-Type"] and shown:
            assert set(shown) <= set(answer.json())
