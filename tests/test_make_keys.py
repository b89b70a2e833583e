"""Is the secret that signs conversations made once, and never in CI? infra/hooks/make_keys.py as azd runs it."""

import subprocess
import sys
from pathlib import Path

HOOK = Path(__file__).resolve().parents[1] / "infra/hooks/make_keys.py"


def hook(folder: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """What it did, and with which words it called azd."""
    called = folder / "called"
    azd = folder / "azd"
    azd.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {called}\n')
    azd.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, HOOK],
        env={"PATH": f"{folder}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return ran, called.read_text() if called.exists() else ""


def test_key_is_made_long_enough_and_not_shown(tmp_path: Path) -> None:
    ran, said_to_azd = hook(tmp_path)
    assert ran.returncode == 0
    command, _, key = said_to_azd.strip().rpartition(" ")
    assert command == "env set CONVERSATION_KEYS"
    assert len(key) >= 32
    assert key not in ran.stdout + ran.stderr


def test_key_that_is_there_stays(tmp_path: Path) -> None:
    ran, said_to_azd = hook(tmp_path, CONVERSATION_KEYS="x" * 32)
    assert (ran.returncode, ran.stdout, said_to_azd) == (0, "", "")


def test_ci_makes_none(tmp_path: Path) -> None:
    ran, said_to_azd = hook(tmp_path, CI="true")
    assert ran.returncode == 1
    assert "azd pipeline config" in ran.stderr
    assert said_to_azd == ""
