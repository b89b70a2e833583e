"""The events of one classic run, put into our words. Pure.

Vocabulary: `AgentStreamEvent` of azure-ai-agents 1.1.0. Unknown events are skipped.
"""

from typing import Any

from gateway.backends.json_values import Surrogates, as_object, as_word, parsed, usage_of
from gateway.backends.sse_reader import Frame
from gateway.backends.upstream_errors import run_failure
from gateway.errors import ActionRequired, GatewayError, UpstreamRunFailed, UpstreamUnavailable
from gateway.events import BackendEvent, FinishReason, RunCompleted, RunStarted, TextDelta

_FINISH_REASONS: dict[str, FinishReason] = {
    "max_tokens": "length",
    "max_completion_tokens": "length",
    "max_prompt_tokens": "length",
    "content_filter": "content_filter",
}


class ClassicRun:
    def __init__(self) -> None:
        self.wait_s: float | None = None  # the response's Retry-After, told ahead of a failure inside the run
        self._surrogates = Surrogates()
        self._spoken: set[object] = set()
        self._cut: FinishReason | None = None
        self.thread_id = ""
        self.run_id = ""
        self.over = False
        """The run has ended upstream: there is nothing to cancel."""

    def translate(self, frame: Frame) -> list[BackendEvent]:
        """Raises GatewayError where the run failed."""
        event, data = frame
        if event == "thread.message.delta":
            return self._delta(parsed(data))
        if data == b"[DONE]" or event.startswith("thread.run.step."):
            return []
        return self._step(event, parsed(data))

    def ended(self) -> GatewayError:
        """What it means that the stream is over without a final event."""
        return UpstreamUnavailable("the stream ended without a final event")

    def _step(self, kind: str, body: dict[str, Any]) -> list[BackendEvent]:
        match kind:
            case "thread.message.completed":
                return [] if body.get("id") in self._spoken else self._text(body.get("content"))
            case "thread.message.incomplete":
                self._cut = _FINISH_REASONS.get(_reason(body)) or self._cut
            case "thread.run.completed":
                return [*self._start(body), *self._complete(self._cut or "stop", body)]
            case "thread.run.incomplete":
                return [*self._start(body), *self._complete(_finish_reason(body), body)]
            case "thread.run.requires_action":
                raise ActionRequired("requires_action")
            case "thread.run.failed" | "thread.run.expired" | "thread.run.cancelled":
                self.over = True
                raise self._failure(kind, body)
            case "error":
                raise run_failure(as_object(body.get("error")) or body, "error event", self.wait_s)
            case _ if kind.startswith("thread.run."):
                return self._start(body)
        return []

    def _start(self, run: dict[str, Any]) -> list[BackendEvent]:
        run_id, thread_id = as_word(run.get("id")), as_word(run.get("thread_id"))
        if self.run_id or not run_id or not thread_id:
            return []
        self.run_id, self.thread_id = run_id, thread_id
        return [RunStarted(self.thread_id, self.run_id)]

    def _delta(self, message: dict[str, Any]) -> list[BackendEvent]:
        self._spoken.add(message.get("id"))
        return self._text(as_object(message.get("delta")).get("content"))

    def _text(self, content: object) -> list[BackendEvent]:
        parts = content if isinstance(content, list) else []
        values = [as_object(as_object(part).get("text")).get("value") for part in parts]
        text = self._surrogates.join("".join(value for value in values if isinstance(value, str)))
        if text and not self.run_id:
            raise UpstreamUnavailable("text before the run's id")
        return [TextDelta(text)] if text else []

    def _complete(self, reason: FinishReason, run: dict[str, Any]) -> list[BackendEvent]:
        self.over = True
        if not self.run_id:
            raise UpstreamUnavailable("an end without the run's id")
        rest = self._surrogates.rest()
        return [
            *([TextDelta(rest)] if rest else []),
            RunCompleted(reason, usage_of(run.get("usage"), "prompt_tokens", "completion_tokens")),
        ]

    def _failure(self, kind: str, run: dict[str, Any]) -> GatewayError:
        if kind != "thread.run.failed":
            return UpstreamRunFailed(kind)
        return run_failure(as_object(run.get("last_error")), kind, self.wait_s)


def _finish_reason(run: dict[str, Any]) -> FinishReason:
    """Raises UpstreamRunFailed for a reason that we cannot name."""
    reason = _FINISH_REASONS.get(_reason(run))
    if reason is None:
        raise UpstreamRunFailed(f"incomplete: {_reason(run)[:40]}")
    return reason


def _reason(body: dict[str, Any]) -> str:
    return str(as_object(body.get("incomplete_details")).get("reason"))
