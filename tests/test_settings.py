"""What the environment may say, what is made of it, and that the documentation says the same."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.backends import create_backend
from gateway.errors import NotConfigured
from gateway.settings import Settings, SettingsError, list_setting_names, read_settings
from tests.support.callers import calling, chat, unread
from tests.support.environment import ROOT, bare_environment
from tests.support.recording_upstream import Recorder
from tests.support.servers import serving
from tests.support.wire_formats import answer, framed

PROJECT = "https://x.services.ai.azure.com/api/projects/p"
OTHER = "https://y.services.ai.azure.com/api/projects/q"
OPENAI = "https://x.openai.azure.com"


class Environment:
    """The process's, without any setting but those a test gives; and a `.env`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        for name in list_setting_names():
            monkeypatch.delenv(name, raising=False)
        self._set = monkeypatch.setenv
        self._dotenv = folder / ".env"

    def read(self, dotenv: str = "", **environment: str) -> Settings:
        self._dotenv.write_text(dotenv)
        for name, value in environment.items():
            self._set(name, value)
        return read_settings(str(self._dotenv))

    def refusal(self, dotenv: str = "", **environment: str) -> str:
        with pytest.raises(SettingsError) as refused:
            self.read(dotenv, **environment)
        return str(refused.value)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        {"AZURE_AI_PROJECT_ENDPOINT": PROJECT},
        {"FOUNDRY_PROJECT_ENDPOINT": PROJECT},
        {"PROJECT_ENDPOINT": PROJECT},
        {"AZURE_AI_PROJECT_ENDPOINT": f"{PROJECT}/"},
        {"AZURE_AI_PROJECT_ENDPOINT": f" {PROJECT}\n"},
        {"AZURE_AI_ENDPOINT": "https://x.services.ai.azure.com", "AZURE_AI_PROJECT_NAME": "p"},
        {"AZURE_AI_ENDPOINT": "https://x.services.ai.azure.com/", "AZURE_AI_PROJECT_NAME": "p"},
        {"AZURE_AI_ENDPOINT": "https://x.cognitiveservices.azure.com", "AZURE_AI_PROJECT_NAME": "p"},
        {"AZURE_AI_ENDPOINT": "https://x.cognitiveservices.azure.com/", "AZURE_AI_PROJECT_NAME": "p"},
        {"AZURE_AI_ENDPOINT": PROJECT},
        {"AZURE_AI_ENDPOINT": f"{PROJECT}/", "AZURE_AI_PROJECT_NAME": "another"},
        {"AZURE_AI_PROJECT_ENDPOINT": PROJECT, "AZURE_AI_ENDPOINT": "https://y.z", "AZURE_AI_PROJECT_NAME": "q"},
        {"AZURE_AI_PROJECT_ENDPOINT": PROJECT, "PROJECT_ENDPOINT": PROJECT},
        {"AZURE_AI_PROJECT_ENDPOINT": "", "PROJECT_ENDPOINT": PROJECT},
    ],
)
def test_the_project_endpoint_however_it_is_given(given: dict[str, str], env: Environment) -> None:
    assert env.read(**given).project_endpoint == PROJECT


@pytest.mark.parametrize("name", ["AZURE_AI_AGENT_ID", "AZURE_AI_AGENT_NAME"])
@pytest.mark.parametrize("value", ["asst_abc123", "my-agent", "my-agent:3"])
def test_the_agent_however_it_is_named(name: str, value: str, env: Environment) -> None:
    assert env.read(**{name: value}).azure_ai_agent_id == value


@pytest.mark.parametrize("name", ["CONVERSATION_POOL_SIZE", "CONVERSATION_STOCK"])
def test_the_conversation_pool_by_its_new_and_its_former_name(name: str, env: Environment) -> None:
    assert env.read(**{name: "3"}).conversation_pool_size == 3


def test_the_environment_wins_over_the_file_whatever_the_names(env: Environment) -> None:
    file = f"AZURE_AI_PROJECT_ENDPOINT={OTHER}\nAZURE_AI_AGENT_ID=other\nMAX_STREAMS=7\nPING_S=0.5"
    settings = env.read(file, PROJECT_ENDPOINT=PROJECT, AZURE_AI_AGENT_NAME="agent", MAX_STREAMS="3")
    assert (settings.project_endpoint, settings.azure_ai_agent_id) == (PROJECT, "agent")
    assert (settings.max_streams, settings.ping_s) == (3, 0.5)


def test_an_empty_value_is_an_unset_one(env: Environment) -> None:
    settings = env.read("AZURE_AI_AGENT_ID=agent\nPORT=", AZURE_AI_AGENT_ID="", MAX_STREAMS="", AZURE_CLIENT_ID="")
    assert (settings.azure_ai_agent_id, settings.max_streams, settings.port) == ("agent", 200, 8000)
    assert settings.azure_client_id is None


LINES = "AZURE_AI_AGENT_ID=agent\n# Schlüssel\nPORT=9000\n"


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode("utf-16"),
        LINES.encode("utf-16-le"),
        LINES.encode("utf-16-be"),
        LINES.encode("utf-32"),
        LINES.encode("cp1252"),
        LINES.encode("ascii", "ignore").decode().encode("utf-16-le"),
        b"AZURE_AI_AGENT_ID=agent\n" + "PORT=9000\n".encode("utf-16-le"),
        b"AZURE_AI_AGENT_ID=agent\r\n" + "PORT=9000\r\n".encode("utf-16"),
        b"AZURE_AI_AGENT_ID=agent\0",
    ],
    ids=range(9),
)
def test_an_env_file_in_another_encoding_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    """Field case F11 (PowerShell's `>>`; python-dotenv#637): a stack trace, or settings that were not seen."""
    file = tmp_path / "other.env"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        read_settings(str(file))
    reason = "is not in UTF-8: save it as UTF-8 (PowerShell's >> may have written UTF-16)."
    assert str(refused.value) == f"chat-api: {file} {reason}"


@pytest.mark.parametrize(
    "content", [LINES.encode(), LINES.encode("utf-8-sig"), LINES.replace("\n", "\r\n").encode()], ids=range(3)
)
def test_an_env_file_in_utf_8_is_read_whole(content: bytes, tmp_path: Path) -> None:
    """Field case F11 (PowerShell's `>>`; python-dotenv#637): Windows editors begin UTF-8 with a byte order mark."""
    (tmp_path / "other.env").write_bytes(content)
    settings = read_settings(str(tmp_path / "other.env"))
    assert (settings.azure_ai_agent_id, settings.port) == ("agent", 9000)


def test_an_env_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to("/proc/self/mem")  # readable by nobody, root included
    with pytest.raises(SettingsError) as refused:
        read_settings(str(tmp_path / ".env"))
    assert str(refused.value) == f"chat-api: {tmp_path / '.env'} cannot be read: Input/output error."
    assert read_settings(str(tmp_path / "missing.env")).port == 8000
    assert read_settings(str(tmp_path)).port == 8000


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127.1.2.3"])
def test_http_is_for_this_machine(host: str, env: Environment) -> None:
    endpoint = f"http://{host}:8100/api/projects/p"
    assert env.read(AZURE_AI_PROJECT_ENDPOINT=endpoint).project_endpoint == endpoint


@pytest.mark.parametrize(
    "reference",
    [
        "akvs://00000000-0000-0000-0000-000000000001/kv-x/conversation-keys",
        " AKVS://sub/kv/a-name-that-is-longer-than-32-bytes",
        "@Microsoft.KeyVault(SecretUri=https://kv-x.vault.azure.net/secrets/keys)",
        f"{'x' * 32},akvs://sub/kv/a-name-that-is-longer-than-32-bytes",
    ],
)
@pytest.mark.parametrize(
    "name", ["CONVERSATION_KEYS", "API_KEYS", "AZURE_OPENAI_API_KEY", "RATE_LIMIT_STORAGE_URI", "AUTH_AUDIENCE"]
)
def test_a_reference_to_a_key_vault_is_no_value(reference: str, name: str, env: Environment) -> None:
    said = env.refusal(**{name: reference})
    assert said == f"chat-api: {name}: is a reference to a key vault that nobody resolved: set the value itself."


NOT_HTTPS = "must be https (http is for this machine alone)."


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("AZURE_AI_PROJECT_ENDPOINT", "http://x.services.ai.azure.com/api/projects/p", NOT_HTTPS),
        ("PROJECT_ENDPOINT", "http://192.168.0.7/api/projects/p", NOT_HTTPS),
        ("AZURE_AI_ENDPOINT", "http://localhost.example", NOT_HTTPS),
        ("AZURE_OPENAI_ENDPOINT", "http://x.openai.azure.com", NOT_HTTPS),
        ("PORT", "70000", "input should be less than or equal to 65535."),
        ("MAX_STREAMS", "0", "input should be greater than 0."),
        ("DRAIN_S", "nan", "input should be a finite number."),
        ("LOG_LEVEL", "loud", "input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'."),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_variable(
    name: str, value: str, reason: str, env: Environment
) -> None:
    assert env.refusal(**{name: value}) == f"chat-api: {name}: {reason}"


@pytest.mark.parametrize("name", ["AZURE_AI_AGENT_ID", "AZURE_AI_AGENT_NAME", "AZURE_AI_PROJECT_NAME"])
def test_a_name_cannot_reach_out_of_its_place_in_a_path(name: str, env: Environment) -> None:
    for value in ("../x", "a/b", "a?b", "a b", "a:b:c", "å"):
        assert env.refusal(f"{name}={value}").startswith(f"chat-api: {name}: ")


def test_two_names_of_one_setting_with_different_values_are_refused(env: Environment) -> None:
    words = "name the same setting with different values."
    assert env.refusal(f"PROJECT_ENDPOINT={PROJECT}\nFOUNDRY_PROJECT_ENDPOINT={OTHER}") == (
        f"chat-api: FOUNDRY_PROJECT_ENDPOINT and PROJECT_ENDPOINT {words}"
    )
    assert env.refusal(AZURE_AI_AGENT_ID="a", AZURE_AI_AGENT_NAME="b") == (
        f"chat-api: AZURE_AI_AGENT_ID and AZURE_AI_AGENT_NAME {words}"
    )


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "AZURE_AI_PROJECT_ENDPOINT"),
        ({"azure_ai_agent_id": "agent"}, "AZURE_AI_PROJECT_ENDPOINT"),
        ({"azure_ai_project_endpoint": PROJECT}, "AZURE_AI_AGENT_ID"),
        ({"azure_ai_endpoint": "https://x.y", "azure_ai_agent_id": "agent"}, "AZURE_AI_PROJECT_NAME"),
        ({"azure_openai_endpoint": OPENAI}, "AZURE_OPENAI_DEPLOYMENT_NAME"),
        (
            {
                "azure_ai_agent_id": "agent",
                "azure_openai_endpoint": OPENAI,
                "azure_openai_deployment_name": "gpt",
                "azure_openai_api_key": "key",
            },
            "AZURE_AI_PROJECT_ENDPOINT",
        ),
    ],
)
def test_what_is_missing_is_named_and_nothing_else_answers_instead(given: dict[str, str], missing: str) -> None:
    with pytest.raises(NotConfigured) as refused:
        asyncio.run(create_backend(unread(**given)))
    assert refused.value.public_message == f"{missing} is not set. `make run` runs without Azure."


@pytest.mark.parametrize("agent", [True, False])
def test_an_agent_wins_over_azure_openai(agent: bool) -> None:
    recorder = Recorder({"/conversations": {"id": "conv_1"}, "/responses": framed(answer("Hi"))})
    with serving(recorder.app) as url:
        key = {"azure_openai_deployment_name": "gpt", "azure_openai_api_key": "key"}
        project = {"azure_ai_project_endpoint": f"{url}/api/projects/p", "azure_ai_agent_id": "agent"}
        chosen = {**key, **(project if agent else {})}
        with calling(unread(azure_openai_endpoint=url, conversation_pool_size=0, **chosen)) as client:
            chat(client, "Hi")
    assert recorder.sent[-1].path == f"{'/api/projects/p' if agent else ''}/openai/v1/responses"


@pytest.mark.parametrize("command", [["uvicorn", "main:app", "--port", "0"], ["gateway"], ["scripts.run_local"]])
def test_a_bad_value_stops_the_start_with_its_sentence_and_nothing_else(command: list[str], tmp_path: Path) -> None:
    line, environment = [sys.executable, "-m", *command], bare_environment(PORT="eighty")
    run = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode != 0
    assert run.stderr == "chat-api: PORT: input should be a valid integer, unable to parse string as an integer.\n"
    assert run.stdout == ""


def settings_section() -> list[str]:
    """The rows of README's settings table."""
    section = (ROOT / "README.md").read_text().split("\n## Settings\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_readme_has_every_setting_and_no_other() -> None:
    rows = settings_section()
    first_cells = {name for row in rows for name in re.findall(r"`([A-Z0-9_]+)`", row.split("|")[1])}
    words = {name for row in rows for name in re.findall(r"`([A-Z0-9]+(?:_[A-Z0-9]+)+)`", row)}
    assert first_cells | words == list_setting_names()


def test_the_example_file_names_every_setting_and_can_be_used_as_it_is(env: Environment) -> None:
    text = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|^[A-Z]+(?==)", text, re.MULTILINE)) == list_setting_names()
    assert env.read(text) == unread()
