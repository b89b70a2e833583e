"""Translates the events of one response into `gateway.events`. Pure.

Vocabulary: https://platform.openai.com/docs/api-reference/responses-streaming, and what Foundry adds to it;
`tests/recordings/` has real ones. Branches on `type` alone: unknown events are skipped.
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
from gateway.backends.responses.said_parts import SaidParts, text_of_part, texts_of_item
from gateway.backends.sse_reader import Frame
from gateway.backends.upstream_errors import error_from_run, error_of_frame
from gateway.errors import ActionRequired, Cancelled, GatewayError, UpstreamRunFailed, UpstreamUnavailable
from gateway.events import BackendEvent, FinishReason, RunCompleted, RunStarted, TextDelta, Thread, ThreadId

_TEXT_DELTAS = {"response.output_text.delta", "response.refusal.delta", "response.text.delta"}
_TEXT_DONES = {"response.output_text.done": "text", "response.refusal.done": "refusal", "response.text.done": "text"}
_KNOWN = {
    *_TEXT_DELTAS,
    *_TEXT_DONES,
    "error",
    "response.created",
    "response.cancelled",
    "response.completed",
    "response.content_part.done",
    "response.failed",
    "response.incomplete",
    "response.output_item.done",
}
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
        self._said = SaidParts()
        self.failed: GatewayError | None = None
        """Set by a `response.failed` without a reason: the `error` event that follows has it."""
        self.pending_actions: dict[str, dict[str, Any]] = {}
        """Items that the agent asks its client to answer, by call or request id."""

    def translate(self, frame: Frame) -> list[BackendEvent]:
        """Return the frame's events. Raises GatewayError if the run failed."""
        name, data = frame
        event = parse_object(data)
        if event is None:
            check_heartbeat(data, is_known=name in _KNOWN)
            return []
        kind = event.get("type")
        if not isinstance(kind, str) or name == "error":
            kind = name
        if kind in _TEXT_DELTAS and not self.failed:
            return self._translate_delta(event)
        error = error_of_frame(kind, event)
        if error is not None:
            raise error_from_run(error, "error event", self.retry_after_s)
        return [] if self.failed and kind != "response.failed" else self._translate_other(kind, event)

    def premature_end_error(self) -> GatewayError:
        """Return the error for a stream that ends without a final event."""
        return self.failed or UpstreamUnavailable("the stream ended without a final event")

    def _translate_other(self, kind: str, event: dict[str, Any]) -> list[BackendEvent]:
        response = as_object(event.get("response"))
        match kind:
            case "response.failed":
                return self._fail(response)
            case "response.cancelled":
                raise Cancelled("upstream")
            case "response.output_item.done":
                item = as_object(event.get("item"))
                self._track_action(item)
                return self._translate_item(item, event.get("output_index"))
            case "response.content_part.done":
                return self._translate_whole(event, text_of_part(as_object(event.get("part"))))
            case "response.completed" | "response.incomplete":
                return [*self._start(response), *self._complete(kind, response)]
            case _ if kind in _TEXT_DONES:
                return self._translate_whole(event, event.get(_TEXT_DONES[kind]))
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

    def _translate_delta(self, event: dict[str, Any]) -> list[BackendEvent]:
        delta = event.get("delta")
        if not isinstance(delta, str) or not delta:
            return []
        self._said.add(event.get("output_index"), event.get("content_index"), event.get("item_id"))
        return self._say(delta)

    def _translate_whole(self, event: dict[str, Any], text: object) -> list[BackendEvent]:
        """Say a text that comes whole, unless it was said in deltas."""
        place = event.get("output_index"), event.get("content_index"), event.get("item_id")
        if not isinstance(text, str) or not text or self._said.has(*place):
            return []
        self._said.add(*place)
        return self._say(text)

    def _translate_item(self, item: dict[str, Any], output_index: object) -> list[BackendEvent]:
        events: list[BackendEvent] = []
        for content_index, text in texts_of_item(item):
            place = {"output_index": output_index, "content_index": content_index, "item_id": item.get("id")}
            events += self._translate_whole(place, text)
        return events

    def _say(self, text: str) -> list[BackendEvent]:
        joined = self._surrogates.join(text)
        return [*self._start_late(), TextDelta(joined)] if joined else []

    def _fail(self, response: dict[str, Any]) -> list[BackendEvent]:
        error = as_object(response.get("error"))
        if not error:
            self.failed = UpstreamRunFailed("failed without a reason")
            return []
        raise error_from_run(error, "response failed", self.retry_after_s)

    def _track_action(self, item: dict[str, Any]) -> None:
        kind = as_string(item.get("type"))
        if kind in _CLIENT_CALLS or (kind == "tool_search_call" and item.get("execution") == "client"):
            self.pending_actions[str(item.get("call_id"))] = item
        elif kind in _APPROVALS:
            self.pending_actions[str(item.get("id"))] = item
        else:
            self.pending_actions.pop(str(item.get("call_id")), None)  # some tools that look client-side run upstream

    def _complete(self, kind: str, response: dict[str, Any]) -> list[BackendEvent]:
        output = response.get("output")
        events: list[BackendEvent] = []
        for index, value in enumerate(output if isinstance(output, list) else []):
            item = as_object(value)
            self._track_action(item)
            events += self._translate_item(item, index)
        if self.pending_actions:
            raise ActionRequired(", ".join(str(item.get("type")) for item in self.pending_actions.values()))
        reason = self._finish_reason_from(kind, response)
        rest = self._surrogates.flush()
        events += [*self._start_late(), *([TextDelta(rest)] if rest else [])]
        return [*events, RunCompleted(reason, usage_from(response.get("usage"), "input_tokens", "output_tokens"))]

    def _finish_reason_from(self, kind: str, response: dict[str, Any]) -> FinishReason:
        """Raise what the response says of itself, if it is neither complete nor cut short for a reason that we know."""
        status, details = response.get("status"), as_object(response.get("incomplete_details"))
        if status == "cancelled":
            raise Cancelled("upstream")
        if status not in (None, "completed", "incomplete"):
            raise error_from_run(as_object(response.get("error")), "response ended unfinished", self.retry_after_s)
        if kind == "response.completed" and status != "incomplete" and not details:
            return "stop"
        reason = _FINISH_REASONS.get(str(details.get("reason")))
        if reason is None:
            raise UpstreamRunFailed(f"incomplete: {code_for_log(details.get('reason'))}")
        return reason
