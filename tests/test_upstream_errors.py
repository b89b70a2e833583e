"""What an upstream's codes and words mean, in the forms in which people met them. test_turn_endings.py has the rest."""

import json
from typing import Any

import pytest

from gateway.backends.upstream_errors import error_from_response, error_from_run
from gateway.errors import GatewayError
from gateway.events import ThreadId

TOO_LONG: list[dict[str, Any]] = [
    {"code": "context_length_exceeded"},
    {"code": "string_above_max_length", "param": "additional_messages[0].content"},
    {"code": "tokens_limit_reached"},
    {"message": "This model's maximum context length is 8192 tokens, however you requested 9000 tokens."},
    {"message": "Your input exceeds the context window of this model.", "type": "invalid_request_error"},
    {"message": "Invalid 'input': string too long. Expected a string with maximum length 10485760."},
    {"code": "BadRequest", "innererror": {"code": "context_length_exceeded"}},
    {"code": "InvalidRequest", "details": [None, {"code": "context_length_exceeded"}]},
    {"code": "server_error", "message": "This model's maximum context length is 8192 tokens."},
]
FILTERED: list[dict[str, Any]] = [
    {"code": "invalid_prompt", "message": "Invalid prompt: your prompt was flagged."},
    {"code": "content_filter"},
    {"code": "content_policy_violation"},
    {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}},
]
REFUSED: list[dict[str, Any]] = [
    {"code": "invalid_image_format"},
    {"code": "unsupported_value", "param": "reasoning.effort"},
    {"code": "moon_phase", "type": "invalid_request_error"},
    {"code": "vector_store_not_found"},
    {"code": "BadRequest"},
    {"code": "InvalidParameter"},
    {"code": "tool_user_error"},
    {"code": "image_too_large"},
    {"code": 400},
    {"code": "422"},
]


def meaning(error: GatewayError) -> tuple[str, bool]:
    return error.code, error.retryable


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *((error, "conversation_too_long") for error in TOO_LONG),
        *((error, "content_filtered") for error in FILTERED),
        *((error, "run_failed") for error in REFUSED),
    ],
)
def test_what_would_be_refused_again_is_known_as_a_status_and_inside_a_run(error: dict[str, Any], code: str) -> None:
    assert meaning(error_from_run(error, "in a test")) == (code, False)
    for body in ({"error": error}, error):
        assert meaning(error_from_response(400, {}, json.dumps(body).encode(), None)) == (code, False)


@pytest.mark.parametrize(
    "body",
    [
        b"This model's maximum context length is 8192 tokens.",
        b'{"error": "This model\'s maximum context length is 8192 tokens."}',
        b'{"error": "Bad Request", "message": "input is too long for the requested model"}',
        b'{"detail": "maximum context length"}',
        b'\xef\xbb\xbf{"error": {"code": "context_length_exceeded"}}',
        b'{"error": {"code": "string_above_max_length", "mess',
        b'{"error": {"type": "invalid_request_error", "code": "context_length_exceeded", "message": "' + b"x" * 70_000,
    ],
)
def test_words_are_found_in_whatever_body_they_come(body: bytes) -> None:
    assert meaning(error_from_response(400, {}, body, None)) == ("conversation_too_long", False)


@pytest.mark.parametrize(
    ("status", "body", "means"),
    [
        (429, b'{"error":{"code":"insufficient_quota","mess', ("upstream_rate_limited", False)),
        (429, b'{"error":{"code":"rate_limit_exceeded","mess', ("upstream_rate_limited", True)),
        (400, b'{"error":{"code":"content_filter","mess', ("content_filtered", False)),
        (
            400,
            b'{"error":{"code":null,"innererror":{"code":"ResponsibleAIPolicyViolation"',
            ("content_filtered", False),
        ),
        (400, b'{"error":{"code":"previous_response_not_found","mess', ("conversation_not_found", False)),
    ],
)
def test_a_refusal_that_was_cut_off_is_known_by_what_came(status: int, body: bytes, means: tuple[str, bool]) -> None:
    assert meaning(error_from_response(status, {}, body, None)) == means


@pytest.mark.parametrize("status", [400, 402, 405, 410, 415, 422, 451])
def test_a_refusal_of_the_request_is_not_worth_sending_again(status: int) -> None:
    for body in (
        b"",
        b"<html>Bad Request: the maximum context</html>",
        b"[]",
        b'{"error": 7}',
        b'{"error": {"code": [1]}}',
    ):
        error = error_from_response(status, {}, body, None)
        assert meaning(error) == ("run_failed", False)
        assert "try again" not in error.public_message


@pytest.mark.parametrize(
    "code",
    [
        "server_error", "vector_store_timeout", "unknown_error", "empty_response", "invalid_response", "string_error",
        "image_generation_failed", "missing_tool_server_response", "", None, 500, "424", ["x"],
    ],
)  # fmt: skip
def test_a_run_that_failed_by_itself_is_worth_another_try(code: object) -> None:
    assert meaning(error_from_run({"code": code, "message": ["upstream words"]}, "in a test")) == ("run_failed", True)


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 529])
def test_what_passes_by_itself_is_worth_another_try(status: int) -> None:
    assert meaning(error_from_response(status, {}, b"", None)) == ("upstream_unavailable", True)


@pytest.mark.parametrize("status", [423, 424, 499])
def test_a_refusal_that_is_about_something_else_is_worth_another_try(status: int) -> None:
    """424: an MCP server's list of tools could not be had (microsoft/agent-framework#1210)."""
    assert meaning(error_from_response(status, {}, b"", None)) == ("run_failed", True)


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "RateLimitExceeded", "TooManyRequests", "429"])
def test_a_rate_limit_inside_a_run_has_more_than_one_spelling(code: str) -> None:
    assert meaning(error_from_run({"code": code}, "in a test")) == ("upstream_rate_limited", True)


WAITS: list[tuple[str, float | None]] = [
    ("Rate limit is exceeded. Try again in 60 seconds.", 60),
    ("Requests to the Create_Completion Operation have exceeded the rate limit. Please retry after 26 seconds.", 26),
    ("Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000. Please try again in 1.5s.", 1.5),
    ("Please try again in 6ms. Visit the page of limits to learn more.", 0.006),
    ("Limit: 3 / min. Please try again in 1m30.5s.", 90.5),
    ("Please try again in 1h2m3s.", 3_723),
    ("Please wait 5 minutes before you send the next request.", 300),
    ("Retry your request after 1 minute and 30 seconds", 90),
    ("Try again in 24 hours", 86_400),
    ("Try again in 25 hours", None),
    ("Try again in 1 day.", 86_400),
    ("Try again in 2 days", None),
    ("Try again later. The limit is 60 seconds of audio.", None),
    ("You may retry 3 times.", None),
    ("Limit 5 requests in 60 seconds", None),
    ("", None),
]


@pytest.mark.parametrize(("message", "wait_s"), WAITS)
def test_a_wait_that_only_the_sentence_names_is_read_from_it(message: str, wait_s: float | None) -> None:
    """LibreChat#6728, semantic-kernel#10287."""
    error = {"code": "rate_limit_exceeded", "message": message}
    assert error_from_run(error, "log").retry_after_s == wait_s
    body = json.dumps({"error": {**error, "code": "429"}}).encode()
    assert error_from_response(429, {}, body, None).retry_after_s == wait_s
    assert error_from_response(429, {"retry-after": "3"}, body, None).retry_after_s == 3
    assert error_from_run(error, "log", 3.0).retry_after_s == 3


def test_a_used_up_quota_has_no_wait() -> None:
    error = error_from_run({"code": "insufficient_quota", "message": "Try again in 60 seconds."}, "log")
    assert (error.retryable, error.retry_after_s) == (False, None)


@pytest.mark.parametrize("odd", [[], {}, ["x"], {"x": []}, 7, True, None])
def test_odd_json_in_an_error_is_no_unhandled_exception(odd: Any) -> None:
    for name in ("code", "type", "param", "message", "innererror", "details", "status"):
        for status in (400, 404, 429):
            body = json.dumps({"error": {"code": "x", "message": "y", name: odd}}).encode()
            assert isinstance(error_from_response(status, {}, body, ThreadId("conv_1")), GatewayError)
        assert isinstance(error_from_run({"code": "x", "message": "y", name: odd}, "log"), GatewayError)
    assert isinstance(error_from_response(400, {}, json.dumps({"error": odd}).encode(), None), GatewayError)
