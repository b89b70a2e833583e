"""The span of a turn and of an upstream call, as values. Pure; names: `names.py`. No OpenTelemetry in here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.telemetry import names
from gateway.telemetry.destination import UpstreamInfo
from gateway.telemetry.trace_context import SpanIds
from gateway.telemetry.turn_record import TurnRecord
from gateway.telemetry.upstream_calls import UpstreamCall

Value = str | int | list[str]


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has ended. Times in ns since the epoch. `server`: of a request to us, else to the upstream."""

    name: str
    server: bool
    span_ids: SpanIds
    attributes: dict[str, Value]
    started_ns: int
    ended_ns: int
    first_chunk_ns: int | None = None
    failed: bool = False


def span_from_turn(record: TurnRecord, upstream: UpstreamInfo) -> Span:
    """Return a span that is `failed` if it was not the caller's fault, as the conventions want it."""
    first_chunk_s = record.first_chunk_s
    return Span(
        name=f"POST {record.request.route}",
        server=True,
        span_ids=record.request.span_ids,
        attributes=_drop_none(_build_turn_attributes(record, upstream)),
        started_ns=record.started_ns,
        ended_ns=record.ended_ns,
        first_chunk_ns=None if first_chunk_s is None else record.started_ns + int(first_chunk_s * 1e9),
        failed=record.failed is not None and record.failed.status >= 500,
    )


def span_from_call(call: UpstreamCall) -> Span:
    assert call.span_ids, "only listeners export calls"
    return Span(
        name=f"{call.method} {call.path}",
        server=False,
        span_ids=call.span_ids,
        attributes=_drop_none(_build_call_attributes(call)),
        started_ns=call.started_ns,
        ended_ns=call.ended_ns,
        failed=call.error is not None,
    )


def _drop_none(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _build_turn_attributes(record: TurnRecord, upstream: UpstreamInfo) -> dict[str, Value | None]:
    usage = record.usage
    return {
        names.REQUEST_METHOD: "POST",
        names.ROUTE: record.request.route,
        names.URL_PATH: record.request.route,
        names.URL_SCHEME: record.request.scheme,
        names.RESPONSE_STATUS: record.status,
        names.ERROR_TYPE: record.ending if record.failed else None,
        names.OPERATION: upstream.operation,
        names.PROVIDER: upstream.provider,
        names.AGENT_ID: upstream.agent_id,
        names.MODEL: upstream.model,
        names.THREAD_ID: record.thread_id,
        names.RESPONSE_ID: record.run_id,
        names.FINISH_REASONS: [record.ending] if record.finished else None,
        names.INPUT_TOKENS: usage.input_tokens if usage else None,
        names.OUTPUT_TOKENS: usage.output_tokens if usage else None,
        names.REQUEST_ID: record.request.request_id,
        names.CONVERSATION_LABEL: record.turn.conversation_id,
        names.UPSTREAM: upstream.kind,
        names.CALLER: record.request.caller_kind,
        names.ENDING: record.ending,
        names.DELTAS: record.deltas,
        names.CHARACTERS: record.characters,
        names.FIRST_CHUNK_MS: record.first_chunk_ms,
        names.MEAN_GAP_MS: record.mean_gap_ms,
        names.LONGEST_GAP_MS: record.longest_gap_ms,
        names.UPSTREAM_MS: record.upstream_ms,
        names.RETRIES: record.retries,
        **_build_message_attributes(record),
    }


def _build_call_attributes(call: UpstreamCall) -> dict[str, Value | None]:
    """Return them without the URL's ids and query, which belong to conversations."""
    url = urlsplit(call.url)
    return {
        names.REQUEST_METHOD: call.method,
        names.URL_FULL: f"{url.scheme}://{url.netloc}{call.path}",
        names.URL_TEMPLATE: call.path,
        names.SERVER_ADDRESS: url.hostname,
        names.SERVER_PORT: url.port,
        names.RESPONSE_STATUS: call.status,
        names.RESEND_COUNT: call.resend or None,
        names.ERROR_TYPE: call.error,
    }


def _build_message_attributes(record: TurnRecord) -> dict[str, Value]:
    """Return the texts, only if OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT asks for them."""
    if record.text_parts is None:
        return {}
    sent = {"role": "user", "parts": [{"type": "text", "content": record.turn.message}]}
    answered = {"role": "assistant", "parts": [{"type": "text", "content": "".join(record.text_parts)}]}
    if record.finished:
        answered["finish_reason"] = record.ending
    return {names.INPUT_MESSAGES: json.dumps([sent]), names.OUTPUT_MESSAGES: json.dumps([answered])}
