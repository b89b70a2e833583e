"""Translates the events of one classic run into `gateway.events`. Pure.

Vocabulary: `AgentStreamEvent` of azure-ai-agents 1.1.0. Unknown events are skipped.
"""

from typing import Any

from gateway.backends.json_values import (
    Surrogates,
    as_object,
    as_string,
    check_heartbeat,
    code_for_log,
    parse_object,
    usage_from,
)
from gateway.backends.sse_reader import Frame
from gateway.backends.upstream_errors import error_from_run, error_of_frame
from gateway.errors import ActionRequired, Cancelled, GatewayError, UpstreamRunFailed, UpstreamUnavailable
from gateway.events import BackendEvent, FinishReason, RunCompleted, RunStarted, TextDelta, Thread, ThreadId

_KNOWN = ("thread.run.", "thread.message.", "error")
_FINISH_REASONS: dict[str, FinishReason] = {
    "max_tokens": "length",
    "max_completion_tokens": "length",
    "max_prompt_tokens": "length",
    "content_filter": "content_filter",
}


class ClassicRun:
    def __init__(self) -> None:
        self.retry_after_s: float | None = None
        """`Retry-After` of the HTTP response, used if the run itself is rate-limited later."""
        self._surrogates = Surrogates()
        self._messages_with_text: set[str | None] = set()
        self._incomplete_reason: FinishReason | None = None
        self.thread_id = ThreadId("")
        self.run_id = ""
        self.has_ended = False
        """The run has ended upstream: there is nothing to cancel."""

    def translate(self, frame: Frame) -> list[BackendEvent]:
        """Return the frame's events. Raises GatewayError if the run failed."""
        name, data = frame
        if name.startswith("thread.run.step."):
            return []
        body = parse_object(data)
        if body is None:
            check_heartbeat(data, is_known=name.startswith(_KNOWN))
            return []
        return self._translate_delta(body) if name == "thread.message.delta" else self._translate_other(name, body)

    def premature_end_error(self) -> GatewayError:
        """Return the error for a stream that ends without a final event."""
        return UpstreamUnavailable("the stream ended without a final event")

    def _translate_other(self, kind: str, body: dict[str, Any]) -> list[BackendEvent]:
        match kind:
            case "thread.message.completed":
                already_sent = as_string(body.get("id")) in self._messages_with_text
                return [] if already_sent else self._translate_content(body.get("content"))
            case "thread.message.incomplete":
                self._incomplete_reason = _FINISH_REASONS.get(_read_reason(body)) or self._incomplete_reason
            case "thread.run.cancelled":
                self.has_ended = True
                raise Cancelled("upstream")
            case "thread.run.completed":
                return [*self._start(body), *self._complete(self._incomplete_reason or "stop", body)]
            case "thread.run.incomplete":
                self.has_ended = True
                return [*self._start(body), *self._complete(_finish_reason_from(body), body)]
            case "thread.run.requires_action":
                raise ActionRequired("requires_action")
            case "thread.run.failed" | "thread.run.expired":
                self.has_ended = True
                raise self._error_from(kind, body)
            case _ if kind.startswith("thread.run."):
                return self._start(body)
        error = error_of_frame(kind, body)
        if error is not None:
            raise error_from_run(error, "error event", self.retry_after_s)
        return []

    def _start(self, run: dict[str, Any]) -> list[BackendEvent]:
        run_id, thread_id = as_string(run.get("id")), as_string(run.get("thread_id"))
        if self.run_id or not run_id or not thread_id:
            return []
        self.run_id, self.thread_id = run_id, ThreadId(thread_id)
        return [RunStarted(Thread(self.thread_id), run_id)]

    def _translate_delta(self, message: dict[str, Any]) -> list[BackendEvent]:
        self._messages_with_text.add(as_string(message.get("id")))
        return self._translate_content(as_object(message.get("delta")).get("content"))

    def _translate_content(self, content: object) -> list[BackendEvent]:
        parts = content if isinstance(content, list) else []
        values = [as_object(as_object(part).get("text")).get("value") for part in parts]
        text = self._surrogates.join("".join(value for value in values if isinstance(value, str)))
        if text and not self.run_id:
            raise UpstreamUnavailable("text before the run's id")
        return [TextDelta(text)] if text else []

    def _complete(self, reason: FinishReason, run: dict[str, Any]) -> list[BackendEvent]:
        self.has_ended = True
        if not self.run_id:
            raise UpstreamUnavailable("an end without the run's id")
        rest = self._surrogates.flush()
        return [
            *([TextDelta(rest)] if rest else []),
            RunCompleted(reason, usage_from(run.get("usage"), "prompt_tokens", "completion_tokens")),
        ]

    def _error_from(self, kind: str, run: dict[str, Any]) -> GatewayError:
        if kind != "thread.run.failed":
            return UpstreamRunFailed(kind)
        return error_from_run(as_object(run.get("last_error")), kind, self.retry_after_s)


def _finish_reason_from(run: dict[str, Any]) -> FinishReason:
    """Raise UpstreamRunFailed for a reason that the contract has no name for."""
    reason = _FINISH_REASONS.get(_read_reason(run))
    if reason is None:
        raise UpstreamRunFailed(f"incomplete: {code_for_log(_read_reason(run))}")
    return reason


def _read_reason(body: dict[str, Any]) -> str:
    return str(as_object(body.get("incomplete_details")).get("reason"))
