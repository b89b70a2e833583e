"""Is what the Dockerfile says fit to run? The image itself is built in CI; its commands run here."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from gateway.settings import Settings
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def command(instruction: str) -> list[str]:
    """In exec form, with this Python for the image's."""
    found = re.findall(rf"^{instruction} (?:.*\\\n    CMD )?(\[.*\])$", DOCKERFILE, re.MULTILINE)
    program, *arguments = json.loads(found[-1])
    assert program == "python"
    return [sys.executable, *arguments]


@contextmanager
def running(port: int) -> Generator[subprocess.Popen[bytes]]:
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "DRAIN_S": "1"}
    process = subprocess.Popen(command("CMD"), cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def health(port: int) -> int:
    """The status of /health, asked until there is one."""
    pause = threading.Event()
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return int(answer.status)
        except OSError:
            pause.wait(0.1)
    raise AssertionError("no answer in 20 s")


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_command_honours_port_answers_the_healthcheck_and_ends_well_on_sigterm() -> None:
    port = free_port()
    with running(port) as process:
        assert health(port) == 200
        env = {"PATH": os.environ["PATH"], "PORT": str(port)}
        assert subprocess.run(command("HEALTHCHECK"), env=env, timeout=20, check=False).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_healthcheck_fails_where_nothing_listens() -> None:
    env = {"PATH": os.environ["PATH"], "PORT": str(free_port())}
    done = subprocess.run(command("HEALTHCHECK"), env=env, capture_output=True, timeout=20, check=False)
    assert done.returncode != 0


def test_image_is_small_in_rights() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.13-slim", "python:3.13-slim"]
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0
    assert "--require-hashes" in DOCKERFILE
    assert f"PORT={Settings(_env_file=None).port}\n" in DOCKERFILE


def test_only_what_runs_gets_in() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert [rule for rule in rules if rule.startswith("!")] == ["!main.py", "!gateway/", "!requirements.txt"]
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert copied == ["requirements.txt", "main.py", "gateway"]
