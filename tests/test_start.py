"""How the service starts: without a warning, whatever WEB_CONCURRENCY says; with one sentence if it cannot."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.callers import events_of, text_of
from tests.support.environment import bare_environment
from tests.support.ports import free_port
from tests.support.processes import environment, running, uvicorn

KEY = {"AUTH": "key", "API_KEYS": "ann:" + "0" * 64, "CONVERSATION_KEYS": "x" * 32}
LIMITS = {
    "RATE_LIMIT": "20/minute",
    "CHAT_PAGE": "true",
    "PUBLIC_PAGES": "true",
    "ALLOWED_ORIGINS": "https://a.example",
}
COMMANDS = [["uvicorn", "main:app", "--port", "0"], ["gateway"], ["scripts.run_local"], ["agent"]]


@pytest.mark.parametrize("workers", ["1", "4", "0", "auto", ""])
@pytest.mark.parametrize("program", ["gateway", "scripts.run_local"])
def test_the_environments_workers_do_not_keep_it_from_starting(program: str, workers: str, emulator: str) -> None:
    """Field case F10 (datasette#633): with WEB_CONCURRENCY set, the image's command ended at once with 3."""
    port = free_port()
    settings = environment(emulator, PORT=str(port), WEB_CONCURRENCY=workers)
    with running(["-m", program], settings, port) as process:
        answer = httpx.post(f"{process.url}/api/chat", json={"message": "[echo] hi"}, timeout=20)
        assert text_of(events_of(answer.text)) == "hi"
        children = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children").read_text().split()
        assert len(children) == (1 if program == "scripts.run_local" else 0), "one process is one replica"
        process.popen.send_signal(signal.SIGTERM)
        assert process.ended(20) == 0


@pytest.mark.parametrize("settings", [{}, {"AZURE_AI_AGENT_ID": "asst_1"}, {**KEY, **LIMITS}, LIMITS])
def test_it_starts_and_ends_without_a_warning(settings: dict[str, str], emulator: str) -> None:
    port = free_port()
    for command in (["-W", "error", "-m", "gateway"], ["-W", "error", *uvicorn(), str(port)]):
        given = environment(emulator, PORT=str(port), **settings)
        with running(command, given, port, output=subprocess.PIPE) as process:
            assert httpx.get(f"{process.url}/ready", timeout=20).status_code in (200, 401)
            process.popen.send_signal(signal.SIGTERM)
            assert process.popen.communicate(timeout=20) == (b"", b"")
            assert process.popen.returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_an_env_file_that_is_not_utf_8_is_one_sentence(command: list[str], encoding: str, tmp_path: Path) -> None:
    """Field case F11 (PowerShell's `>>`; python-dotenv#637): a stack trace."""
    (tmp_path / ".env").write_text("# Schlüssel\nPORT=8000\n", encoding)
    line, given = [sys.executable, "-m", *command], bare_environment()
    run = subprocess.run(line, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode != 0
    assert run.stdout == ""
    (said,) = run.stderr.splitlines()
    assert said.startswith("chat-api: .env is not in UTF-8: save it as UTF-8 (")
