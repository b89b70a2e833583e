"""Translates the events of one response into `gateway.events`. Pure.

Vocabulary: https://platform.openai.com/docs/api-reference/responses-streaming, and what Foundry adds to it;
`tests/recordings/` has real ones. Branches on `type` alone: unknown events are skipped.
"""

from typing import Any

from gateway.backends.json_values import Surrogates, as_object, parse_object, usage_from
from gateway.backends.sse_reader import Frame
from gateway.backends.upstream_errors import error_from_run
from gateway.errors import ActionRequired, GatewayError, UpstreamRunFailed, UpstreamUnavailable
from gateway.events import BackendEvent, FinishReason, RunCompleted, RunStarted, TextDelta, Thread, ThreadId

_TEXT_DELTAS = {"response.output_text.delta", "response.refusal.delta"}
_TEXT_DONES = {"response.output_text.done": "text", "response.refusal.done": "refusal"}
_FAILURE_EVENTS = {"error", "response.failed"}  # after a failure without a reason, all others are skipped
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
    """A response's stream so far.

    `thread`: the conversation that it stands in. In a chain, or where it begins one, its own id continues that.
    """

    def __init__(self, thread: Thread | None) -> None:
        self._conversation = None if thread is None or thread.is_chain else thread
        self.retry_after_s: float | None = None
        """`Retry-After` of the HTTP response, used if the run itself is rate-limited later."""
        self._started = False
        self._surrogates = Surrogates()
        self._current_item: object = None
        self._items_with_text: set[object] = set()
        self.failed: GatewayError | None = None
        """Set by a `response.failed` without a reason: the `error` event that follows has it."""
        self.pending_actions: dict[str, dict[str, Any]] = {}
        """Items that the agent asks its client to answer, by call or request id."""

    def translate(self, frame: Frame) -> list[BackendEvent]:
        """Return the frame's events. Raises GatewayError if the run failed."""
        _, data = frame
        if data == b"[DONE]":
            return []
        event = parse_object(data)
        kind = event.get("type")
        if self.failed and kind not in _FAILURE_EVENTS:
            return []
        if kind in _TEXT_DELTAS:
            if event.get("item_id") != self._current_item or not self._items_with_text:
                self._current_item = event.get("item_id")
                self._items_with_text.add(self._current_item)
            return self._translate_text(event.get("delta"))
        if kind in _TEXT_DONES:
            already_sent = event.get("item_id") in self._items_with_text
            return [] if already_sent else self._translate_text(event.get(_TEXT_DONES[str(kind)]))
        return self._translate_other(kind, event)

    def premature_end_error(self) -> GatewayError:
        """Return the error for a stream that ends without a final event."""
        return self.failed or UpstreamUnavailable("the stream ended without a final event")

    def _translate_other(self, kind: object, event: dict[str, Any]) -> list[BackendEvent]:
        response = as_object(event.get("response"))
        match kind:
            case "error":
                raise error_from_run(as_object(event.get("error")) or event, "error event", self.retry_after_s)
            case "response.failed":
                return self._fail(response)
            case "response.cancelled":
                raise UpstreamRunFailed("cancelled upstream")
            case "response.output_item.done":
                self._track_action(as_object(event.get("item")))
            case "response.completed" | "response.incomplete":
                return [*self._start(response), *self._complete(response)]
        return self._start(response)

    def _start(self, response: dict[str, Any]) -> list[BackendEvent]:
        run_id = response.get("id")
        if self._started or not isinstance(run_id, str) or not run_id:
            return []
        self._started = True
        return [RunStarted(self._conversation or Thread(ThreadId(run_id), is_chain=True), run_id)]

    def _start_late(self) -> list[BackendEvent]:
        """Emit RunStarted late if no event has carried the response's id yet."""
        if self._started:
            return []
        if self._conversation is None:
            raise UpstreamUnavailable("an answer without the response's id")
        self._started = True
        return [RunStarted(self._conversation, "")]

    def _translate_text(self, delta: object) -> list[BackendEvent]:
        text = self._surrogates.join(delta) if isinstance(delta, str) else ""
        return [*self._start_late(), TextDelta(text)] if text else []

    def _fail(self, response: dict[str, Any]) -> list[BackendEvent]:
        error = as_object(response.get("error"))
        if not error:
            self.failed = UpstreamRunFailed("failed without a reason")
            return []
        raise error_from_run(error, "response failed", self.retry_after_s)

    def _track_action(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind in _CLIENT_CALLS or (kind == "tool_search_call" and item.get("execution") == "client"):
            self.pending_actions[str(item.get("call_id"))] = item
        elif kind in _APPROVALS:
            self.pending_actions[str(item.get("id"))] = item
        else:
            self.pending_actions.pop(str(item.get("call_id")), None)  # some tools that look client-side run upstream

    def _complete(self, response: dict[str, Any]) -> list[BackendEvent]:
        output = response.get("output")
        for item in output if isinstance(output, list) else []:
            self._track_action(as_object(item))
        if self.pending_actions:
            raise ActionRequired(", ".join(str(item.get("type")) for item in self.pending_actions.values()))
        reason = _finish_reason_from(response)
        rest = [*self._start_late(), *self._translate_text(self._surrogates.flush())]
        return [*rest, RunCompleted(reason, usage_from(response.get("usage"), "input_tokens", "output_tokens"))]


def _finish_reason_from(response: dict[str, Any]) -> FinishReason:
    """Raise UpstreamRunFailed for a reason that the contract has no name for."""
    details = as_object(response.get("incomplete_details"))
    if response.get("status") != "incomplete" and not details:
        return "stop"
    reason = _FINISH_REASONS.get(str(details.get("reason")))
    if reason is None:
        raise UpstreamRunFailed(f"incomplete: {str(details.get('reason'))[:40]}")
    return reason
