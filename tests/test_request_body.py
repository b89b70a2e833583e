"""What may come in, and what is answered to the rest: always a problem of the contract's table."""

import json
import time
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from gateway.web.content_type import has_json_body
from tests.support.callers import calling, foundry, unread

JSON = {"content-type": "application/json"}


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem that has all its members."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert problem["status"] == answer.status_code
    assert isinstance(problem["retryable"], bool)
    assert problem["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, problem["code"]


HOSTILE: list[tuple[bytes, dict[str, str], tuple[int, str]]] = [
    (b"", JSON, (400, "invalid_request")),
    (b"{", JSON, (400, "invalid_request")),
    (b'{"message": "\xff"}', JSON, (400, "invalid_request")),
    ('{"message": "hi"}'.encode("utf-16"), JSON, (400, "invalid_request")),
    (rb'{"message": "\ud800"}', JSON, (400, "invalid_request")),
    (b"[" * 100_000, JSON, (400, "invalid_request")),
    (b'{"message":' * 5_000, JSON, (400, "invalid_request")),
    (b'{"message": NaN}', JSON, (400, "invalid_request")),
    (b"null", JSON, (422, "invalid_request")),
    (b"[]", JSON, (422, "invalid_request")),
    (b"{}", JSON, (422, "invalid_request")),
    (b'{"message": ""}', JSON, (422, "invalid_request")),
    (b'{"message": " \\n\\t"}', JSON, (422, "invalid_request")),
    (b'{"message": null}', JSON, (422, "invalid_request")),
    (b'{"message": 1}', JSON, (422, "invalid_request")),
    (b'{"message": ["hi"]}', JSON, (422, "invalid_request")),
    (b'{"message": "a\\u0000b"}', JSON, (422, "invalid_request")),
    (b'{"message": "hi", "conversation_id": "a\\u0000b"}', JSON, (422, "invalid_request")),
    (b'{"message": "hi", "thread_id": "a\\u0000b"}', JSON, (404, "conversation_not_found")),
    (b'{"message": "hi", "stream": "yes"}', JSON, (422, "invalid_request")),
    (b'{"message": "hi", "thread_id": 7}', JSON, (422, "invalid_request")),
    (b'{"message": "hi", "conversation_id": "' + b"c" * 201 + b'"}', JSON, (422, "invalid_request")),
    (b'{"message": "hi", "thread_id": "../../x"}', JSON, (404, "conversation_not_found")),
    (b'{"message": "hi", "thread_id": "' + b"t" * 201 + b'"}', JSON, (404, "conversation_not_found")),
    (b'{"message": "hi"}', {}, (415, "unsupported_media_type")),
    (b'{"message": "hi"}', {"content-type": "text/plain"}, (415, "unsupported_media_type")),
    (b'{"message": "hi"}', {"content-type": "application/x+json"}, (415, "unsupported_media_type")),
    (b'{"message": "hi"}', {"content-type": "application/json; charset=utf-16"}, (415, "unsupported_media_type")),
    (b'{"message": "hi"}', {"content-type": "application/json; charset"}, (503, "not_configured")),
    (b'{"message": "hi"}', {"content-type": "text/plain; application/json"}, (415, "unsupported_media_type")),
    (b'{"message": "hi"}', {"content-type": "application/json, text/plain"}, (415, "unsupported_media_type")),
    (b'{"message": "hi"}', {**JSON, "content-encoding": "gzip"}, (415, "unsupported_media_type")),
    (b"\xef\xbb\xbf", JSON, (400, "invalid_request")),
    (b'\xef\xbb\xbf\xef\xbb\xbf{"message": "hi"}', JSON, (400, "invalid_request")),
    (b'{"message": "hi"}\xef\xbb\xbf', JSON, (400, "invalid_request")),
    (b'\xef\xbb\xbf{"message": "\xff"}', JSON, (400, "invalid_request")),
    ('{"message": "hi"}'.encode("utf-16-le"), JSON, (400, "invalid_request")),
    ('{"message": "hi"}'.encode("utf-32"), JSON, (400, "invalid_request")),
    (b'{"message": "' + b"x" * 32_001 + b'"}', JSON, (413, "message_too_large")),
    (b'{"message": "' + b"x" * 1_100_000 + b'"}', JSON, (413, "message_too_large")),
]


def test_hostile_bodies_are_refused_by_the_table() -> None:
    with calling(unread()) as client:
        for path in ("/api/chat", "/api/v1/chat/stream"):
            for body, headers, expected in HOSTILE:
                if "v1" in path and (b"_id" in body or b'"stream"' in body):
                    continue  # it knows no such fields
                assert refused(client.post(path, content=body, headers=headers)) == expected, body[:60]


ACCEPTED_TYPES = [
    "application/json",
    "Application/JSON",
    "application/json;",
    "application/json ; ;",
    "application/json; charset=utf-8;",
    "application/json;charset=UTF-8; profile=x",
    "application/json; profile=x; charset=utf8",
    'application/json; charset="utf-8"; odata.metadata=minimal',
    'application/json; profile="a;charset=utf-16"; charset="UTF-8" ;',
    r'application/json; profile="a\";charset=utf-16"',
    "application/json; charset = utf-8",
    "application/json; charset=",
    "application/json; x-charset=utf-16",
]
REFUSED_TYPES = [
    "",
    ";charset=utf-8",
    "application/jsonp; charset=utf-8",
    "text/plain; charset=utf-8",
    'text/plain; x="; application/json"',
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "application/json; charset=utf-8; charset=utf-16",
    "application/json; profile=x; CHARSET=iso-8859-1;",
    'application/json; profile="x"; charset="utf-16"',
    "application/json; charset=utf-8x",
]


def test_the_parameters_of_a_content_type_are_told_apart() -> None:
    """Field case F13 (media-typer#3, superagent#1112): a semicolon or a parameter after the charset was a 415."""
    with calling(unread()) as client:

        def answer(content_type: str) -> httpx.Response:
            return client.post("/api/chat", content=b'{"message": "hi"}', headers={"content-type": content_type})

        for accepted in ACCEPTED_TYPES:
            assert refused(answer(accepted)) == (503, "not_configured"), accepted
        for wrong in REFUSED_TYPES:
            assert refused(answer(wrong)) == (415, "unsupported_media_type"), wrong


def test_an_endless_content_type_holds_nobody_up() -> None:
    began = time.monotonic()
    for part in (";", '; a="', '; a="\\', "; charset=utf-8", ";" + " " * 10_000):
        content_type = "application/json" + part * (200_000 // len(part))
        assert has_json_body(Headers({"content-type": content_type})), part
    assert time.monotonic() - began < 5


def test_a_byte_order_mark_before_the_json_is_no_part_of_it(emulator: str) -> None:
    """Field case F14 (REST clients of editors, .NET): RFC 8259, 8.1, lets a reader skip it; it was a 400."""
    with calling(foundry(emulator)) as client:
        body = b'\xef\xbb\xbf{"message": "[echo] \xef\xbb\xbfhi", "stream": false}'
        for path in ("/api/chat", "/api/v1/chat/stream", "/api/chat/cancel"):
            answer = client.post(path, content=body, headers=JSON)
            assert answer.status_code == (422 if path.endswith("cancel") else 200), answer.text
        assert client.post("/api/chat", content=body, headers=JSON).json()["response"] == "\ufeffhi"


def test_a_body_without_a_length_is_cut_at_its_limit() -> None:
    with calling(unread(max_body_bytes=1_000)) as client:
        parts = (b" " * 100 for _ in range(50))
        assert refused(client.post("/api/chat", content=parts, headers=JSON)) == (413, "message_too_large")


def test_a_validation_problem_says_where() -> None:
    with calling(unread()) as client:
        errors = client.post("/api/chat", json={"message": 7, "stream": "no"}).json()["errors"]
    assert [(error["loc"], error["type"]) for error in errors] == [
        (["body", "message"], "string_type"),
        (["body", "stream"], "bool_type"),
    ]
    assert all(set(error) == {"loc", "msg", "type"} for error in errors)


def test_no_path_is_redirected() -> None:
    """It would go to the Host header's host over http, where many clients follow with the message and their key."""
    with calling(unread(docs=True, chat_page=True, trusted_hops=1)) as client:
        paths = sorted(path for path in client.get("/openapi.json").json()["paths"])
        assert "/api/chat" in paths
        for path in [*paths, "/docs", "/chat-client.js", "/nothing"]:
            for method in ("GET", "POST"):
                answer = client.request(method, f"{path}/", json={"message": "hi"}, headers={"host": "evil.example"})
                assert refused(answer) == (404, "not_found"), (method, path)
                assert "location" not in answer.headers


def test_unknown_paths_and_methods_are_problems() -> None:
    with calling(unread()) as client:
        assert refused(client.get("/nothing")) == (404, "not_found")
        assert refused(client.get("/api/chat")) == (405, "method_not_allowed")
        assert refused(client.delete("/health")) == (405, "method_not_allowed")


def test_a_label_that_is_too_long_is_said_to_be(emulator: str) -> None:
    with calling(foundry(emulator)) as client:
        answer = client.post("/api/chat", json={"message": "hi", "conversation_id": "x" * 201})
    (error,) = answer.json()["errors"]
    assert error == {
        "loc": ["body", "conversation_id"],
        "msg": "String should have at most 200 characters",
        "type": "string_too_long",
    }


def test_null_and_empty_fields_are_absent_ones() -> None:
    with calling(unread()) as client:
        body: dict[str, Any] = {
            "message": "hi",
            "thread_id": None,
            "conversation_id": "",
            "stream": None,
            "unknown": {},
        }
        assert refused(client.post("/api/chat", json=body)) == (503, "not_configured")


def test_without_settings_the_service_lives_and_says_which_one_is_missing() -> None:
    with calling(unread()) as client:
        assert client.get("/health").json()["status"] == "healthy"
        problem = client.post("/api/chat", json={"message": "hi"}).json()
        assert "AZURE_AI_PROJECT_ENDPOINT" in problem["detail"]
        assert "make run" in problem["detail"]
        assert refused(client.get("/ready")) == (503, "not_configured")


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.x_Y", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("a;b", False)]
)
def test_a_request_id_is_kept_when_it_is_one(given: str, kept: bool) -> None:
    with calling(unread()) as client:
        answer = client.get("/health", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is kept


def preflight(client: httpx.Client, origin: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    return client.options("/api/chat", headers=headers)


def test_pages_of_allowed_origins_may_call_and_read_what_they_need() -> None:
    with calling(unread(allowed_origins="https://a.example, https://b.example/")) as client:
        assert preflight(client, "https://b.example").status_code == 200
        answer = client.post("/api/chat", json={"message": "hi"}, headers={"origin": "https://a.example"})
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-expose-headers"] == "x-request-id, retry-after"


def test_pages_of_other_origins_may_not() -> None:
    with calling(unread(allowed_origins="https://a.example")) as client:
        assert refused(preflight(client, "https://evil.example")) == (400, "invalid_request")
        answer = client.post("/api/chat", json={"message": "hi"}, headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers


def test_all_origins_get_no_credentials() -> None:
    with calling(unread(allowed_origins="*")) as client:
        answer = client.post("/api/chat", json={"message": "hi"}, headers={"origin": "https://x.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


def test_an_unhandled_exception_is_a_problem_too_and_inside_cors() -> None:
    from gateway.app import create_app  # noqa: PLC0415
    from tests.support.callers import calling_app  # noqa: PLC0415

    app = create_app(unread(allowed_origins="https://a.example"))

    @app.get("/bug")
    async def bug() -> dict[str, Any]:
        raise RuntimeError("secret words")

    with calling_app(app) as client:
        answer = client.get("/bug", headers={"origin": "https://a.example"})
    assert refused(answer) == (500, "internal_error")
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert "secret" not in answer.text


def test_a_long_message_is_counted_without_its_margins() -> None:
    with calling(unread(max_message_chars=5)) as client:
        assert refused(client.post("/api/chat", json={"message": "  12345  "}))[0] == 503
        assert refused(client.post("/api/chat", json={"message": "123456"}))[0] == 413


def test_health_is_what_probes_expect() -> None:
    with calling(foundry("http://127.0.0.1:9")) as client:
        expected = {"status": "healthy", "service": "chat-api", "version": "0.1.0"}
        assert client.get("/health").json() == client.get("/api/health").json() == expected


def test_monitors_may_ask_by_head(emulator: str) -> None:
    with calling(foundry(emulator, chat_page=True, docs=True)) as client:
        for path in ("/health", "/api/health", "/ready", "/", "/chat-client.js", "/openapi.json"):
            got, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            for name in ("content-type", "cache-control", "content-length"):
                assert head.headers.get(name) == got.headers.get(name), (path, name)
        assert [
            set(entry)
            for path, entry in client.get("/openapi.json").json()["paths"].items()
            if path in ("/health", "/ready")
        ] == [{"get"}] * 2
    with calling(unread()) as client:
        not_ready = client.head("/ready")
        assert (not_ready.status_code, not_ready.content) == (503, b"")
        assert not_ready.headers["content-type"] == "application/problem+json"
        assert client.head("/api/chat").status_code == 405
        assert client.head("/nothing").status_code == 404


def test_the_document_is_valid_openapi() -> None:
    from openapi_spec_validator import validate  # noqa: PLC0415

    with calling(unread(docs=True)) as client:
        document = client.get("/openapi.json").json()
    validate(document)
    content = document["paths"]["/api/chat"]["post"]["responses"]["200"]["content"]
    assert content["text/event-stream"]["itemSchema"] == {"$ref": "#/components/schemas/ChatEvent"}
    event = document["components"]["schemas"]["ChatEvent"]
    assert set(event["discriminator"]["mapping"]) == {"metadata", "chunk", "done", "error"}
    assert "data: " in content["text/event-stream"]["example"]
    assert json.dumps(document).count('"ChatRequest"') >= 1
