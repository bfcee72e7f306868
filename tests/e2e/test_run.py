"""`aim run`: in a pipe, and at a terminal."""

import os
import pty
import select
import subprocess
import termios

import pytest
from conftest import BINARY, MODEL

PROMPT = ">>> "


def command(state, *arguments):
    return [str(BINARY), "run", "--model", MODEL, "--state-dir", str(state), "--temperature", "0", *arguments]


def test_pipe_gives_just_the_answer(state):
    piped = subprocess.run(
        command(state, "--max-tokens", "8"), input="What is gravity?\n", capture_output=True, text=True, check=True
    )
    asked = subprocess.run(
        command(state, "--max-tokens", "8", "What is gravity?"), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert piped.stdout == asked.stdout
    assert piped.stdout.strip() and piped.stderr == ""


class Terminal:
    """`aim run` at a terminal of its own."""

    def __init__(self, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(arguments[0], arguments)
        termios.tcsetwinsize(self.fd, (24, 120))
        self.unread = b""

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def until(self, text: str) -> str:
        """What is shown up to a text; what follows it is left for the next call."""
        while text.encode() not in self.unread:
            if not select.select([self.fd], [], [], 120)[0]:
                raise TimeoutError(f"no {text!r} in {self.unread.decode(errors='replace')!r}")
            self.unread += os.read(self.fd, 4096)
        shown, _, self.unread = self.unread.partition(text.encode())
        return shown.decode(errors="replace")

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(state, tmp_path):
    # A copy of the secret, so that the history of lines is the test's own.
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_bytes((state / "secret").read_bytes())
    terminal = Terminal(*command(tmp_path))
    terminal.until(PROMPT)
    yield terminal
    os.close(terminal.fd)


def test_chat_at_a_terminal(terminal, tmp_path):
    terminal.type("/set foc\t water 4\r")
    assert "water raised by 4" in terminal.until("system")
    terminal.until(PROMPT)

    terminal.type("Tell a very long story.\r")
    terminal.until("\r\n")  # the end of the line typed; the answer begins
    terminal.until(" ")
    terminal.type("\x03")
    terminal.until("\r\n\r\n" + PROMPT)  # the answer has ended, the program has not

    # The prompt is shown a moment before Ctrl-C is a key again; who sees a letter appear knows that it is.
    terminal.type("x")
    terminal.until("x")
    terminal.type("\x7f\x03")
    terminal.until("/bye or Ctrl-D leaves")
    terminal.until(PROMPT)
    terminal.type("\x04")
    assert terminal.status() == 0
    assert (tmp_path / "history").read_text().splitlines()[-1] == "Tell a very long story."
