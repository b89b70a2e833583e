"""The events of one response, put into our words. Pure.

Vocabulary: https://platform.openai.com/docs/api-reference/responses-streaming, and what Foundry adds to it;
`tests/recordings/` has real ones. Branches on `type` alone: unknown events are skipped.
"""

from typing import Any

from gateway.backends.json_values import Surrogates, as_object, parsed, usage_of
from gateway.backends.sse_reader import Frame
from gateway.backends.upstream_errors import run_failure
from gateway.errors import ActionRequired, GatewayError, UpstreamRunFailed, UpstreamUnavailable
from gateway.events import BackendEvent, FinishReason, RunCompleted, RunStarted, TextDelta

_TEXT_DELTAS = {"response.output_text.delta", "response.refusal.delta"}
_TEXT_DONES = {"response.output_text.done": "text", "response.refusal.done": "refusal"}
_REASONS = {"error", "response.failed"}  # all that may follow a failure without one
_CLIENT_CALLS = {
    "function_call",
    "custom_tool_call",
    "computer_call",
    "local_shell_call",
    "shell_call",
    "apply_patch_call",
}
_APPROVALS = {"mcp_approval_request", "oauth_consent_request"}
_FINISH_REASONS: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponseRun:
    """`thread_id` None: the response's own id continues the conversation."""

    def __init__(self, thread_id: str | None, wait_s: float | None = None) -> None:
        self._thread_id = thread_id
        self._wait_s = wait_s  # the response's Retry-After, told ahead of a failure inside the run
        self._started = False
        self._surrogates = Surrogates()
        self._speaking: object = None
        self._spoken: set[object] = set()
        self.failed: GatewayError | None = None
        """Set by a `response.failed` that tells no reason: the `error` that follows does."""
        self.unanswered: dict[str, dict[str, Any]] = {}
        """What the agent asked its client for, by call or request id."""

    def translate(self, frame: Frame) -> list[BackendEvent]:
        """Raises GatewayError where the run failed."""
        _, data = frame
        if data == b"[DONE]":
            return []
        event = parsed(data)
        kind = event.get("type")
        if self.failed and kind not in _REASONS:
            return []
        if kind in _TEXT_DELTAS:
            if event.get("item_id") != self._speaking or not self._spoken:
                self._speaking = event.get("item_id")
                self._spoken.add(self._speaking)
            return self._text(event.get("delta"))
        if kind in _TEXT_DONES:
            heard = event.get("item_id") in self._spoken
            return [] if heard else self._text(event.get(_TEXT_DONES[str(kind)]))
        return self._step(kind, event)

    def ended(self) -> GatewayError:
        """What it means that the stream is over without a final event."""
        return self.failed or UpstreamUnavailable("the stream ended without a final event")

    def _step(self, kind: object, event: dict[str, Any]) -> list[BackendEvent]:
        response = as_object(event.get("response"))
        match kind:
            case "error":
                raise run_failure(as_object(event.get("error")) or event, "error event", self._wait_s)
            case "response.failed":
                return self._fail(response)
            case "response.cancelled":
                raise UpstreamRunFailed("cancelled upstream")
            case "response.output_item.done":
                self._note(as_object(event.get("item")))
            case "response.completed" | "response.incomplete":
                return [*self._start(response), *self._complete(response)]
        return self._start(response)

    def _start(self, response: dict[str, Any]) -> list[BackendEvent]:
        run_id = response.get("id")
        if self._started or not isinstance(run_id, str) or not run_id:
            return []
        self._started = True
        return [RunStarted(self._thread_id or run_id, run_id)]

    def _start_late(self) -> list[BackendEvent]:
        """What has to stand before a word or an end, where no event told the response's id."""
        if self._started:
            return []
        if self._thread_id is None:
            raise UpstreamUnavailable("an answer without the response's id")
        self._started = True
        return [RunStarted(self._thread_id, "")]

    def _text(self, delta: object) -> list[BackendEvent]:
        text = self._surrogates.join(delta) if isinstance(delta, str) else ""
        return [*self._start_late(), TextDelta(text)] if text else []

    def _fail(self, response: dict[str, Any]) -> list[BackendEvent]:
        error = as_object(response.get("error"))
        if not error:
            self.failed = UpstreamRunFailed("failed without a reason")
            return []
        raise run_failure(error, "response failed", self._wait_s)

    def _note(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind in _CLIENT_CALLS or (kind == "tool_search_call" and item.get("execution") == "client"):
            self.unanswered[str(item.get("call_id"))] = item
        elif kind in _APPROVALS:
            self.unanswered[str(item.get("id"))] = item
        else:
            self.unanswered.pop(str(item.get("call_id")), None)  # some tools that look client-side run upstream

    def _complete(self, response: dict[str, Any]) -> list[BackendEvent]:
        output = response.get("output")
        for item in output if isinstance(output, list) else []:
            self._note(as_object(item))
        if self.unanswered:
            raise ActionRequired(", ".join(str(item.get("type")) for item in self.unanswered.values()))
        reason = _finish_reason(response)
        rest = [*self._start_late(), *self._text(self._surrogates.rest())]
        return [*rest, RunCompleted(reason, usage_of(response.get("usage"), "input_tokens", "output_tokens"))]


def _finish_reason(response: dict[str, Any]) -> FinishReason:
    """Raises UpstreamRunFailed for a reason that says the answer is not whole in a way we cannot name."""
    details = as_object(response.get("incomplete_details"))
    if response.get("status") != "incomplete" and not details:
        return "stop"
    reason = _FINISH_REASONS.get(str(details.get("reason")))
    if reason is None:
        raise UpstreamRunFailed(f"incomplete: {str(details.get('reason'))[:40]}")
    return reason
