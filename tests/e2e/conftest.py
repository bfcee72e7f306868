"""Starts the built program on a free port, and gives the tests clients for it."""

import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("AIM_BIN", ROOT / "bin" / "aim"))
MODEL = os.environ.get("AIM_TEST_MODEL", "SmolLM2-135M-Instruct.Q4_1")


class Server:
    """A running server. Whatever happens, its process ends with the test."""

    def __init__(self, state: Path, *flags: str, config: Path | None = None):
        model = ["--config", config] if config else ["--model", MODEL]
        command = [BINARY, "serve", *model, "--addr", "127.0.0.1:0", "--state-dir", state, *flags]
        self.log = []
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        # Nobody else reads the log, and a full pipe would stop the server.
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self._reader.start()
        greeting = self.process.stdout.readline()
        match = re.search(r"Aim serves (.+) at (http://\S+)/v1", greeting)
        if not match:
            self.process.kill()
            self._reader.join()
            raise RuntimeError(f"no greeting but {greeting!r}\n{''.join(self.log)}")
        self.model, self.url = match.groups()

    def client(self) -> OpenAI:
        """A client that repeats nothing: a test shall see every failure."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=300)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(timeout=300)


@contextmanager
def running(state: Path, *flags: str, config: Path | None = None):
    server = Server(state, *flags, config=config)
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait()
        except subprocess.TimeoutExpired:
            server.process.kill()
            raise
        finally:
            print("".join(server.log))


@pytest.fixture(scope="session")
def state(tmp_path_factory) -> Path:
    """The folder of the owner's secret: one for all servers, and in every run, so that chance decides no test."""
    return with_secret(tmp_path_factory.mktemp("state"))


def with_secret(folder: Path) -> Path:
    """The folder, with the owner's secret of the tests in it."""
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(b"aim test" * 4)
    return folder


@pytest.fixture(scope="session")
def server(state):
    """The server that most tests share."""
    with running(state, "--slots", "4") as server:
        yield server


@pytest.fixture
def start(state):
    """Starts servers of a test's own, to be used as context managers."""
    return lambda *flags: running(state, *flags)


@pytest.fixture
def client(server) -> OpenAI:
    return server.client()


@pytest.fixture
def ask(client, server):
    """Asks one question and returns the whole answer, reproducible unless told otherwise."""

    def ask(text: str = "What is gravity?", **parameters):
        parameters = {"temperature": 0, "max_tokens": 24, **parameters}
        return client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": text}], **parameters
        )

    return ask
