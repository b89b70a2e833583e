"""Is CONVERSATION_KEYS made once, and never in CI or on a second machine? infra/hooks/make_keys.py as azd runs it."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.support.azd_hooks import Azd, run_hook


def hook(folder: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What it did, and with which words it called azd."""
    azd = Azd(folder)
    return run_hook("make_keys.py", azd, **environment), azd.commands()


def test_key_is_made_long_enough_and_not_shown(tmp_path: Path) -> None:
    ran, said_to_azd = hook(tmp_path)
    assert ran.returncode == 0
    command, mark = said_to_azd
    before, _, key = command.partition("=")
    assert before == "env set CONVERSATION_KEYS"
    assert len(key) >= 32
    assert key not in ran.stdout + ran.stderr
    assert mark == f"env set CONVERSATION_KEYS_MADE_HERE={hashlib.sha256(key.encode()).hexdigest()[:16]}"


def test_azd_never_takes_a_key_for_an_option(tmp_path: Path) -> None:
    """One key in 64 began with `-` once, and `azd up` ended there."""
    azd = Azd(tmp_path)
    for _ in range(20):
        assert run_hook("make_keys.py", azd).returncode == 0
    words = [command.split(" ") for command in azd.commands()]
    assert len(words) == 2 * 20
    assert all(len(each) == 3 and not each[2].startswith("-") and each[2].split("=")[1].isalnum() for each in words)


def test_key_that_is_there_stays(tmp_path: Path) -> None:
    ran, said_to_azd = hook(tmp_path, CONVERSATION_KEYS="x" * 32, AZURE_CHAT_API_URI="https://chat.example.com")
    assert (ran.returncode, ran.stdout, said_to_azd) == (0, "", [])


def test_ci_makes_none(tmp_path: Path) -> None:
    ran, said_to_azd = hook(tmp_path, CI="true")
    assert ran.returncode == 1
    assert "azd pipeline config" in ran.stderr
    assert said_to_azd == []


@pytest.mark.parametrize(
    "sign", [{"AZURE_CHAT_API_URI": "https://chat.example.com"}, {"SERVICE_CHAT_API_RESOURCE_EXISTS": "true"}]
)
def test_a_second_machine_makes_none(sign: dict[str, str], tmp_path: Path) -> None:
    ran, said_to_azd = hook(tmp_path, **sign)
    assert ran.returncode == 1
    assert "Another key would end every conversation.\nNext: `azd env get-value CONVERSATION_KEYS`" in ran.stderr
    assert said_to_azd == []


def test_an_environment_whose_first_deployment_is_still_to_come_gets_its_key(tmp_path: Path) -> None:
    ran, said_to_azd = hook(tmp_path, SERVICE_CHAT_API_RESOURCE_EXISTS="false", AZURE_CHAT_API_URI="")
    assert (ran.returncode, len(said_to_azd)) == (0, 2)
