"""Every error that a caller can get: code, status, whether a retry can help, and the public message.

One class for each thing that a caller would do differently, in the branches of this tree. `str(error)` is for the log
and may name anything; only `title`, `public_message` and the numbers leave the service.

GatewayError
├── RequestError       the request:       InvalidRequest UnreadableRequest NotFound MethodNotAllowed RequestTimeout
│                                         UnsupportedMediaType MessageTooLarge
├── ConversationError  the conversation:  ConversationNotFound ConversationBusy ConversationTooLong ContentFiltered
│                                         NoActiveRun Cancelled
├── CallerError        who calls:         Unauthenticated Forbidden RateLimited
├── ReplicaError       this replica:      Overloaded ShuttingDown NotConfigured InternalError
└── UpstreamFailure    the upstream:      UpstreamRateLimited UpstreamDenied AgentNotFound ActionRequired
                                          UpstreamRunFailed UpstreamUnavailable (with ConnectionRefused) UpstreamTimeout
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class GatewayError(Exception):
    """An error that a caller can get. `cause` is for the log alone; the other arguments override the class's values."""

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    public_message: str
    retryable: bool = False

    def __init__(  # noqa: PLR0913  all but the cause by name
        self,
        cause: str = "",
        *,
        public_message: str | None = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        errors: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(cause or self.title)
        self.headers = headers or {}
        self.retry_after_s = retry_after_s
        self.errors = errors
        if public_message is not None:
            self.public_message = public_message
        if retryable is not None:
            self.retryable = retryable


class RequestError(GatewayError):
    """A request that this service cannot take."""


class InvalidRequest(RequestError):
    code, status, title = "invalid_request", 422, "Invalid request"
    public_message = "The request does not fit: see `errors`."


class UnreadableRequest(RequestError):
    code, status, title = "invalid_request", 400, "Invalid request"
    public_message = "The body is not JSON in UTF-8."


class NotFound(RequestError):
    code, status, title = "not_found", 404, "Not found"
    public_message = "There is nothing at this address."


class MethodNotAllowed(RequestError):
    code, status, title = "method_not_allowed", 405, "Method not allowed"
    public_message = "This address does not answer that method."


class RequestTimeout(RequestError):
    code, status, title = "request_timeout", 408, "Request timeout"
    public_message = "The request's body did not arrive in time."
    retryable = True


class UnsupportedMediaType(RequestError):
    code, status, title = "unsupported_media_type", 415, "Unsupported media type"
    public_message = "Send the body as application/json, in UTF-8 and not compressed."


class MessageTooLarge(RequestError):
    code, status, title = "message_too_large", 413, "Message too large"
    public_message = "The message is longer than this service accepts."


class ConversationError(GatewayError):
    """A conversation that cannot take this message, or whose answer was stopped."""


class ConversationNotFound(ConversationError):
    code, status, title = "conversation_not_found", 404, "Conversation not found"
    public_message = "This conversation does not exist. Start a new one without thread_id."


class ConversationBusy(ConversationError):
    code, status, title = "conversation_busy", 409, "Conversation busy"
    public_message = "An answer is still being written in this conversation. Try again when it has ended."
    retryable = True


class ConversationTooLong(ConversationError):
    code, status, title = "conversation_too_long", 400, "Conversation too long"
    public_message = "The conversation or this message no longer fits the model. Please start a new one, or write less."


class ContentFiltered(ConversationError):
    code, status, title = "content_filtered", 400, "Content filtered"
    public_message = "The content filter refused this message. Please put it differently."


class NoActiveRun(ConversationError):
    code, status, title = "no_active_run", 404, "No active run"
    public_message = (
        "No answer is being written that could be stopped from here. "
        "To stop one that is still being read, close its stream."
    )


class Cancelled(ConversationError):
    code, status, title = "cancelled", 499, "Cancelled"
    public_message = "The answer was stopped."


class CallerError(GatewayError):
    """A caller who may not ask, or not now."""


class Unauthenticated(CallerError):
    code, status, title = "unauthenticated", 401, "Unauthenticated"
    public_message = "Please sign in: this service answers only callers whom it knows."


class Forbidden(CallerError):
    code, status, title = "forbidden", 403, "Forbidden"
    public_message = "You are signed in, but may not use this service."


class RateLimited(CallerError):
    code, status, title = "rate_limited", 429, "Rate limited"
    public_message = "You have sent too many messages. Please wait a moment."
    retryable = True


class ReplicaError(GatewayError):
    """A replica that cannot answer."""


class Overloaded(ReplicaError):
    code, status, title = "overloaded", 503, "Overloaded"
    public_message = "The service is answering as many people as it can. Please try again in a moment."
    retryable = True


class ShuttingDown(ReplicaError):
    code, status, title = "shutting_down", 503, "Shutting down"
    public_message = "This instance of the service is shutting down. Please try again."
    retryable = True


class NotConfigured(ReplicaError):
    code, status, title = "not_configured", 503, "Not configured"
    public_message = "The service has no agent to talk to."


class InternalError(ReplicaError):
    code, status, title = "internal_error", 500, "Internal error"
    public_message = "Something went wrong in the service. The request id helps to find out what."


class UpstreamFailure(GatewayError):
    """A failure of the upstream, or of our way to it."""


class UpstreamRateLimited(UpstreamFailure):
    code, status, title = "upstream_rate_limited", 429, "Model rate limited"
    public_message = "The model's quota is used up for the moment. Please try again later."
    retryable = True


class UpstreamDenied(UpstreamFailure):
    code, status, title = "upstream_denied", 502, "Upstream denied"
    public_message = "The service is not allowed to use the agent: its identity lacks a role in Azure."


class AgentNotFound(UpstreamFailure):
    code, status, title = "agent_not_found", 502, "Agent not found"
    public_message = "The agent that this service is configured for does not exist."


class ActionRequired(UpstreamFailure):
    code, status, title = "action_required", 502, "Action required"
    public_message = "The agent asked for a function or an approval that this service does not offer."


class UpstreamRunFailed(UpstreamFailure):
    code, status, title = "run_failed", 502, "Run failed"
    public_message = "The agent could not finish its answer. Please try again."
    retryable = True


class UpstreamUnavailable(UpstreamFailure):
    code, status, title = "upstream_unavailable", 502, "Upstream unavailable"
    public_message = "The agent could not be reached, or its answer broke off. Please try again."
    retryable = True


class ConnectionRefused(UpstreamUnavailable):
    """A connection that was not made: nothing was sent, so that a retry is safe."""


class UpstreamTimeout(UpstreamFailure):
    code, status, title = "upstream_timeout", 504, "Upstream timeout"
    public_message = "The agent did not answer in time. Please try again."
    retryable = True


def round_up_seconds(seconds: float) -> int:
    """Round up, to at least one second: a caller who retries too early is refused again."""
    return max(1, -int(-seconds // 1))
