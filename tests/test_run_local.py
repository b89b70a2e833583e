"""`make run`, as a person at a terminal sees it."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.callers import events_of, text_of
from tests.support.environment import bare_environment
from tests.support.playback_upstream import Playback
from tests.support.ports import free_port
from tests.support.servers import serving
from tests.support.wire_formats import answer, framed

RUN = [sys.executable, "-m", "scripts.run_local"]


class Terminal:
    """`make run`'s program in a session of its own, as a terminal has it."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self._said = b""
        self.process = subprocess.Popen(
            RUN,
            cwd=folder,
            env=bare_environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def says(self, words: str) -> str:
        """All that it said, as soon as `words` are in it."""
        assert self.process.stdout
        deadline = time.monotonic() + 20
        while words.encode() not in self._said:
            readable, _, _ = select.select([self.process.stdout], [], [], deadline - time.monotonic())
            part = os.read(self.process.stdout.fileno(), 65_536) if readable else b""
            assert part, f"{words!r} did not come: {self._said.decode()}"
            self._said += part
        return self._said.decode()

    def end(self) -> tuple[int, str]:
        """Exit code and stderr, when it has ended."""
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors.decode()

    def left(self, program: str = "") -> list[int]:
        """The processes that it started and that still are: all, or those of one `program`."""
        command = ["pgrep", "-s", str(self.process.pid), "-f", program]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return [int(pid) for pid in found.stdout.split()]


@contextmanager
def running(folder: Path, **settings: str) -> Generator[Terminal]:
    terminal = Terminal(folder, settings)
    try:
        yield terminal
    finally:
        for pid in terminal.left():
            os.kill(pid, signal.SIGKILL)
        terminal.process.communicate(timeout=10)


def free_ports() -> tuple[str, str]:
    return str(free_port()), str(free_port())


def test_it_says_where_it_is_and_who_answers_and_its_curl_line_works(tmp_path: Path) -> None:
    port, emulator_port = free_ports()
    with running(tmp_path, PORT=port, EMULATOR_PORT=emulator_port) as terminal:
        said = terminal.says("Ctrl-C stops it.")
        assert f"chat-api listens on http://127.0.0.1:{port}\n" in said
        assert "Answers come from the local emulator, NOT from Azure.\n" in said
        (curl,) = re.findall(r"^ +(curl .*)$", said, re.MULTILINE)
        told = subprocess.run(["sh", "-c", f"{curl} --silent"], capture_output=True, text=True, timeout=20, check=True)
        events = events_of(told.stdout)
        assert [event["type"] for event in (events[0], events[-1])] == ["metadata", "done"]
        assert text_of(events) == events[-1]["full_response"] != ""


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-c twice", "SIGINT", "SIGTERM", "SIGHUP"])
def test_it_ends_with_all_that_it_started_and_without_complaint(how: str, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole process group in front; a signal only the one it is sent to."""
    port, emulator_port = free_ports()
    with running(tmp_path, PORT=port, EMULATOR_PORT=emulator_port) as terminal:
        terminal.says("Ctrl-C stops it.")
        if how.startswith("ctrl-c"):
            os.killpg(terminal.process.pid, signal.SIGINT)
            if "twice" in how:
                terminal.says("stopping")
                os.killpg(terminal.process.pid, signal.SIGINT)
        else:
            terminal.process.send_signal(getattr(signal, how))
        code, errors = terminal.end()
        assert (code, "Traceback" in errors) == (0, False), errors
        assert terminal.left() == []


def test_when_one_of_the_two_dies_the_other_ends_too(tmp_path: Path) -> None:
    port, emulator_port = free_ports()
    with running(tmp_path, PORT=port, EMULATOR_PORT=emulator_port) as terminal:
        terminal.says("Ctrl-C stops it.")
        (emulator,) = terminal.left("m emulator")
        os.kill(emulator, signal.SIGKILL)
        code, _ = terminal.end()
        assert code != 0
        assert terminal.left() == []


@pytest.mark.parametrize("taken", ["PORT", "EMULATOR_PORT"])
def test_a_taken_port_is_one_sentence(taken: str, tmp_path: Path) -> None:
    port, emulator_port = free_ports()
    ports = {"PORT": port, "EMULATOR_PORT": emulator_port}
    with socket.create_server(("127.0.0.1", int(ports[taken]))), running(tmp_path, **ports) as terminal:
        assert terminal.end() == (1, f"chat-api: port {ports[taken]} is taken: set {taken} to another.\n")
        assert terminal.left() == []


def test_a_port_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with running(tmp_path, PORT=free_ports()[0], EMULATOR_PORT="eighty") as terminal:
        assert terminal.end() == (1, "chat-api: EMULATOR_PORT: must be a port's number.\n")


def test_what_the_env_file_says_is_not_overruled(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CHAT_PAGE=false\nLOG_LEVEL=\n")
    port, emulator_port = free_ports()
    with running(tmp_path, PORT=port, EMULATOR_PORT=emulator_port) as terminal:
        terminal.says("Ctrl-C stops it.")
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404
        assert httpx.get(f"http://127.0.0.1:{port}/docs").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_with_azure_settings_it_starts_the_service_alone_and_says_so(tmp_path: Path) -> None:
    with serving(Playback(framed(answer("Hello"))).app) as upstream:
        port = str(free_port())
        (tmp_path / ".env").write_text(
            f"AZURE_AI_PROJECT_ENDPOINT={upstream}/api/projects/p\nAZURE_AI_AGENT_ID=agent\n"
        )
        with running(tmp_path, PORT=port, EMULATOR_PORT=upstream.rpartition(":")[2]) as terminal:
            said = terminal.says("Ctrl-C stops it.")
            assert "Answers come from Azure, as your settings say.\n" in said
            assert "emulator" not in said
            got = httpx.post(f"http://127.0.0.1:{port}/api/chat", json={"message": "Hi"}, timeout=10)
            assert text_of(events_of(got.text)) == "Hello"
            assert len(terminal.left("m gateway")) == 1
            assert terminal.left("m emulator") == []
