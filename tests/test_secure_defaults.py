"""Settings that would leave the service open, headers of every answer, and what is imported when all of it is off."""

import hashlib
import io
import json
import logging
import subprocess
import sys

import pytest

from gateway.settings import Settings, SettingsError, read_settings
from gateway.telemetry.logs import JsonFormatter, TextFormatter
from tests.support.callers import calling, unread

GUID = "11111111-2222-3333-4444-555555555555"
LONG = "x" * 32
DIGEST = "ann:" + "0" * 64

REFUSED: list[tuple[dict[str, str], str]] = [
    ({"AUTH": "Key"}, "AUTH"),
    ({"AUTH": "key", "API_KEYS": DIGEST}, "CONVERSATION_KEYS"),
    ({"AUTH": "easyauth"}, "CONVERSATION_KEYS"),
    ({"AUTH": "key", "CONVERSATION_KEYS": LONG}, "API_KEYS"),
    ({"AUTH": "key", "CONVERSATION_KEYS": LONG, "API_KEYS": "ann:secret"}, "API_KEYS"),
    ({"AUTH": "key", "CONVERSATION_KEYS": LONG, "API_KEYS": f"ann:{hashlib.sha256().hexdigest()}"}, "API_KEYS"),
    ({"AUTH": "entra", "CONVERSATION_KEYS": LONG, "AUTH_AUDIENCE": "a"}, "AUTH_TENANT_ID"),
    ({"AUTH": "entra", "CONVERSATION_KEYS": LONG, "AUTH_AUDIENCE": "a", "AUTH_TENANT_ID": "common"}, "AUTH_TENANT_ID"),
    ({"AUTH": "entra", "CONVERSATION_KEYS": LONG, "AUTH_TENANT_ID": GUID}, "AUTH_AUDIENCE"),
    (
        {"AUTH": "entra", "CONVERSATION_KEYS": LONG, "AUTH_AUDIENCE": "a", "AUTH_TENANT_ID": GUID},
        "AUTH_ROLE",
    ),
    ({"API_KEYS": DIGEST}, "API_KEYS"),
    ({"AUTH_TENANT_ID": GUID}, "AUTH_TENANT_ID"),
    ({"AUTH": "easyauth", "CONVERSATION_KEYS": LONG, "AUTH_ROLE": "Chat"}, "AUTH_ROLE"),
    ({"CONVERSATION_KEYS": "x" * 31}, "CONVERSATION_KEYS"),
    ({"CONVERSATION_KEYS": f"{LONG},short"}, "CONVERSATION_KEYS"),
    ({"RATE_LIMIT": "many"}, "RATE_LIMIT"),
    ({"RATE_LIMIT": "20/minute,0/day"}, "RATE_LIMIT"),
    ({"RATE_LIMIT_STORAGE_URI": "http://x"}, "RATE_LIMIT_STORAGE_URI"),
    ({"TRUSTED_HOPS": "-1"}, "TRUSTED_HOPS"),
]


@pytest.mark.parametrize(("environment", "named"), REFUSED)
def test_half_a_configuration_refuses_to_start(
    environment: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refusal:
        read_settings(env_file=None)
    assert str(refusal.value).startswith(f"chat-api: {named}: ")
    assert "secret" not in str(refusal.value).replace("secrets", "")


def test_a_proxy_is_trusted_on_container_apps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTAINER_APP_NAME", raising=False)
    assert unread().trusted_hops == 0
    monkeypatch.setenv("CONTAINER_APP_NAME", "chat-api")
    assert unread().trusted_hops == 1


def test_secrets_do_not_show() -> None:
    shown = repr(unread(conversation_keys=LONG, rate_limit_storage_uri="redis://:word@h"))
    assert LONG not in shown
    assert "word" not in shown
    assert "api_keys" not in repr(Settings(_env_file=None))


def test_every_answer_has_the_safe_headers() -> None:
    with calling(unread(allowed_origins="https://a.example")) as client:
        preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
        answers = [
            client.get("/health"),
            client.get("/nothing"),
            client.post("/api/chat", json={"message": "hi"}),
            client.options("/api/chat", headers=preflight),
        ]
        for answer in answers:
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "strict-transport-security" not in answer.headers  # not over http: RFC 6797, 7.2
        over_tls = client.get("/health", headers={"x-forwarded-proto": "https"})
        assert over_tls.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("form", [JsonFormatter(), TextFormatter()])
def test_a_callers_words_cannot_forge_a_line_of_the_log(form: logging.Formatter) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(form)
    words = 'x\r\n12:00:00 INFO forged\u2028\u0085\x1b[2K"}\n{"level": "INFO"}'
    handler.emit(logging.LogRecord("gateway", logging.INFO, "", 0, "%s: %s", ("code", words), None))
    assert len(written.getvalue().splitlines()) == 1
    assert "\x1b" not in written.getvalue()
    if isinstance(form, JsonFormatter):
        assert json.loads(written.getvalue())["message"] == f"code: {words}"


def imported(environment: dict[str, str]) -> set[str]:
    program = """
import asyncio, sys
from gateway.app import create_app
app = create_app()
async def run():
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
asyncio.run(run())
print(*sys.modules)
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return set(ran.stdout.split())


def test_nothing_of_it_is_imported_when_it_is_off() -> None:
    optional = {
        "jwt",
        "itsdangerous",
        "redis",
        "cryptography",
        "gateway.access.identity.api_key",
        "gateway.access.rate_limits",
    }
    assert optional & imported({}) == set()
    key = {"AUTH": "key", "API_KEYS": DIGEST, "CONVERSATION_KEYS": LONG}
    assert optional & imported(key) == {"itsdangerous", "gateway.access.identity.api_key"}
