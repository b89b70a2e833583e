"""Requests nobody thought of: made by schemathesis from the service's own OpenAPI, and a list of hostile headers."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.core.result import Ok

from gateway.app import create_app
from tests.support.callers import calling, foundry, unread
from tests.test_authentication import KEY, KEYS, ask
from tests.test_request_body import refused

SCHEMA = schemathesis.openapi.from_dict(create_app(unread()).openapi())
CASES = st.one_of(
    [
        found.ok().as_strategy(generation_mode=mode)
        for found in SCHEMA.get_all_operations()
        for mode in GenerationMode
        if isinstance(found, Ok)
    ]
)
FOREIGN = ("emulator", "conv_", "resp_", "Traceback", ".py", "azure", "aiohttp", "pydantic", "/api/projects")


def checked(answer: httpx.Response) -> None:
    """No 5xx, no foreign words, and a problem whenever it is not an answer."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        refused(answer)
        assert not [word for word in FOREIGN if word in answer.text]


@pytest.mark.parametrize("identity", [{}, {"x-api-key": KEYS["ann"]}], ids=["nobody", "ann"])
def test_no_request_from_our_own_description_breaks_us(emulator: str, identity: dict[str, str]) -> None:
    with calling(foundry(emulator, **KEY, max_streams_per_caller=500)) as client:

        @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=CASES)
        def sent(case: Case[Any]) -> None:
            body = None if case.body is NOT_SET else json.dumps(case.body, default=repr)
            headers = {"content-type": "application/json", **identity}
            checked(client.request(case.method, case.formatted_path, content=body, headers=headers))

        sent()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"},
        {"authorization": "Bearer " + "x" * 30_000},
        {"authorization": b"Bearer \xff\xfe"},
        {"x-api-key": b"\xff" * 100},
        {"x-api-key": "' OR 1=1 --"},
        {"x-forwarded-for": "," * 5_000},
        {"x-forwarded-for": b"\xff, ::1, [::1"},
        {"x-forwarded-for": "fe80::1%eth0"},
        {"x-forwarded-proto": b"\xff"},
        {"x-request-id": "a\tb"},
        {"origin": "null"},
        {"content-length": "99999999999"},
        {"content-type": "application/json; charset=\u00fc".encode()},
        {"x-ms-client-principal-id": b"\xff"},
        {"host": "evil.example"},
    ],
    ids=lambda headers: next(iter(headers)),
)
@pytest.mark.parametrize("mode", [{}, KEY], ids=["none", "key"])
def test_hostile_headers_break_nothing(emulator: str, headers: dict[str, str | bytes], mode: dict[str, str]) -> None:
    with calling(foundry(emulator, **mode, trusted_hops=1, rate_limit="100/minute")) as client:
        url = urlsplit(str(client.base_url))
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
        connection.request(
            "POST", "/api/chat", b'{"message": "[echo] hi"}', {"content-type": "application/json", **headers}
        )
        answer = connection.getresponse()
        checked(httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read()))
        connection.close()
        assert ask(client, {"x-api-key": KEYS["ann"]}).status_code == 200
