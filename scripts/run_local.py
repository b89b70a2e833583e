"""`make run`: the service, and without Azure settings the local emulator behind it. Ctrl-C ends both, SIGTERM drains.

The service listens on the setting PORT, the emulator on EMULATOR_PORT (8100).
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from gateway.settings import Settings, read_settings

HOST = "127.0.0.1"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_S = 20.0
STOP_S = 8.0


def main() -> None:
    settings = read_settings()
    _on_endings(_interrupt)
    signal.signal(signal.SIGTERM, _terminate)
    children: list[subprocess.Popen[bytes]] = []
    try:
        _refuse_if_taken(settings.port, "PORT")
        if _names_an_upstream(settings):
            children.append(_start("gateway", settings, {}))
            _wait_for(f"http://{HOST}:{settings.port}/health", children)
            _say(settings.port, "Answers come from Azure, as your settings say.")
        else:
            emulator_port = _emulator_port()
            _refuse_if_taken(emulator_port, "EMULATOR_PORT")
            children.append(_start("emulator", settings, {}, "--port", str(emulator_port)))
            _wait_for(f"http://{HOST}:{emulator_port}/_seen", children)
            children.append(_start("gateway", settings, _emulated(emulator_port)))
            _wait_for(f"http://{HOST}:{settings.port}/health", children)
            _say(settings.port, "Answers come from the local emulator, NOT from Azure.")
        _wait_for_the_first_to_end(children)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
    except _Terminated:
        print("\ndraining", flush=True)
        _drain(children[-1:], settings.drain_s)
    finally:
        _stop(children)


def _names_an_upstream(settings: Settings) -> bool:
    names = ("azure_ai_endpoint", "azure_ai_project_endpoint", "azure_ai_agent_id", "azure_openai_endpoint")
    return any(getattr(settings, name) for name in names)


def _emulator_port() -> int:
    given = os.environ.get("EMULATOR_PORT") or "8100"
    if not given.isdecimal() or not 0 < int(given) < 65_536:
        sys.exit("chat-api: EMULATOR_PORT: must be a port's number.")
    return int(given)


def _emulated(port: int) -> dict[str, str]:
    project = f"http://{HOST}:{port}/api/projects/local"
    return {"AZURE_AI_PROJECT_ENDPOINT": project, "AZURE_AI_AGENT_ID": "local-agent"}


def _traced() -> dict[str, str]:
    """`make run TRACE=1`"""
    return {"OTEL_TRACES_EXPORTER": "console"} if os.environ.get("TRACE", "0") != "0" else {}


def _defaults(settings: Settings) -> dict[str, str]:
    """What a person at a terminal wants, where neither they nor `.env` say otherwise."""
    wanted = {"CHAT_PAGE": "true", "DOCS": "true", "LOG_FORMAT": "text", "LOG_LEVEL": "WARNING"}
    return {name: value for name, value in wanted.items() if name.lower() not in settings.model_fields_set}


def _start(module: str, settings: Settings, more: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**_defaults(settings), **_traced(), **os.environ, **more}
    # A group of its own: a terminal's Ctrl-C would reach it beside ours, and two of them mean: at once.
    return subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment, process_group=0)


def _wait_for(url: str, children: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if any(child.poll() is not None for child in children):
            sys.exit(1)  # it has said why
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit(f"chat-api: {url} did not answer within {START_S:g} s.")


def _wait_for_the_first_to_end(children: list[subprocess.Popen[bytes]]) -> NoReturn:
    while all(child.poll() is None for child in children):
        time.sleep(0.2)
    sys.exit(next(child.returncode for child in children if child.returncode is not None))


def _drain(gateway: list[subprocess.Popen[bytes]], drain_s: float) -> None:
    """Open answers may end, and the emulator is there until they have. A second signal is not waited for."""
    with suppress(KeyboardInterrupt):
        _end(gateway, signal.SIGTERM, drain_s + STOP_S)


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    _on_endings(signal.SIG_IGN)
    _end(children, signal.SIGINT, STOP_S)


def _end(children: list[subprocess.Popen[bytes]], how: signal.Signals, within_s: float) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(how)
    for child in children:
        try:
            child.wait(within_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _refuse_if_taken(port: int, setting: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            sys.exit(f"chat-api: port {port} is taken: set {setting} to another.")


def _on_endings(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in ENDINGS:
        signal.signal(number, handler)


class _Terminated(BaseException):
    """SIGTERM came."""


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    _on_endings(_interrupt)
    raise _Terminated


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    _on_endings(signal.SIG_IGN)  # an impatient second one must not leave a child behind
    raise KeyboardInterrupt


def _say(port: int, whose: str) -> None:
    url = f"http://{HOST}:{port}"
    print(
        f"""
chat-api listens on {url}
{whose}

Open it in a browser, or try it in another terminal:
  curl --no-buffer {url}/api/chat -H 'content-type: application/json' -d '{{"message": "Hello!"}}'

Ctrl-C stops it.
""",
        flush=True,
    )


if __name__ == "__main__":
    main()
