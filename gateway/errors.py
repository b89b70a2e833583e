"""Every error that a caller can get: code, status, whether a retry can help, and the public message.

One class for each thing that a caller would do differently. `str(error)` is for the log and may name
anything; only `title`, `public_message` and the numbers leave the service.

GatewayError
├── the caller's request:  InvalidRequest UnreadableRequest NotFound MethodNotAllowed RequestTimeout
│                          UnsupportedMediaType MessageTooLarge
├── the conversation:      ConversationNotFound ConversationBusy ConversationTooLong ContentFiltered NoActiveRun
│                          Cancelled
├── the caller:            Unauthenticated Forbidden RateLimited
├── this replica:          Overloaded ShuttingDown NotConfigured InternalError
└── the upstream:          UpstreamRateLimited UpstreamDenied AgentNotFound ActionRequired UpstreamRunFailed
                           UpstreamUnavailable UpstreamTimeout
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


class InvalidRequest(GatewayError):
    code, status, title = "invalid_request", 422, "Invalid request"
    public_message = "The request does not fit: see `errors`."


class UnreadableRequest(GatewayError):
    code, status, title = "invalid_request", 400, "Invalid request"
    public_message = "The body is not JSON in UTF-8."


class NotFound(GatewayError):
    code, status, title = "not_found", 404, "Not found"
    public_message = "There is nothing at this address."


class MethodNotAllowed(GatewayError):
    code, status, title = "method_not_allowed", 405, "Method not allowed"
    public_message = "This address does not answer that method."


class RequestTimeout(GatewayError):
    code, status, title = "request_timeout", 408, "Request timeout"
    public_message = "The request's body did not arrive in time."
    retryable = True


class UnsupportedMediaType(GatewayError):
    code, status, title = "unsupported_media_type", 415, "Unsupported media type"
    public_message = "Send the body as application/json, in UTF-8 and not compressed."


class MessageTooLarge(GatewayError):
    code, status, title = "message_too_large", 413, "Message too large"
    public_message = "The message is longer than this service accepts."


class ConversationNotFound(GatewayError):
    code, status, title = "conversation_not_found", 404, "Conversation not found"
    public_message = "This conversation does not exist. Start a new one without thread_id."


class ConversationBusy(GatewayError):
    code, status, title = "conversation_busy", 409, "Conversation busy"
    public_message = "An answer is still being written in this conversation. Try again when it has ended."
    retryable = True


class ContentFiltered(GatewayError):
    code, status, title = "content_filtered", 400, "Content filtered"
    public_message = "The content filter refused this message. Please put it differently."


class ConversationTooLong(GatewayError):
    code, status, title = "conversation_too_long", 400, "Conversation too long"
    public_message = "The conversation or this message no longer fits the model. Please start a new one, or write less."


class NoActiveRun(GatewayError):
    code, status, title = "no_active_run", 404, "No active run"
    public_message = "Nothing is being written in this conversation."


class Cancelled(GatewayError):
    code, status, title = "cancelled", 499, "Cancelled"
    public_message = "The answer was stopped."


class Unauthenticated(GatewayError):
    code, status, title = "unauthenticated", 401, "Unauthenticated"
    public_message = "Please sign in: this service answers only callers whom it knows."


class Forbidden(GatewayError):
    code, status, title = "forbidden", 403, "Forbidden"
    public_message = "You are signed in, but may not use this service."


class RateLimited(GatewayError):
    code, status, title = "rate_limited", 429, "Rate limited"
    public_message = "You have sent too many messages. Please wait a moment."
    retryable = True


class Overloaded(GatewayError):
    code, status, title = "overloaded", 503, "Overloaded"
    public_message = "The service is answering as many people as it can. Please try again in a moment."
    retryable = True


class ShuttingDown(GatewayError):
    code, status, title = "shutting_down", 503, "Shutting down"
    public_message = "This instance of the service is shutting down. Please try again."
    retryable = True


class NotConfigured(GatewayError):
    code, status, title = "not_configured", 503, "Not configured"
    public_message = "The service has no agent to talk to."


class InternalError(GatewayError):
    code, status, title = "internal_error", 500, "Internal error"
    public_message = "Something went wrong in the service. The request id helps to find out what."


class UpstreamRateLimited(GatewayError):
    code, status, title = "upstream_rate_limited", 429, "Model rate limited"
    public_message = "The model's quota is used up for the moment. Please try again later."
    retryable = True


class UpstreamDenied(GatewayError):
    code, status, title = "upstream_denied", 502, "Upstream denied"
    public_message = "The service is not allowed to use the agent: its identity lacks a role in Azure."


class AgentNotFound(GatewayError):
    code, status, title = "agent_not_found", 502, "Agent not found"
    public_message = "The agent that this service is configured for does not exist."


class ActionRequired(GatewayError):
    code, status, title = "action_required", 502, "Action required"
    public_message = "The agent asked for a function or an approval that this service does not offer."


class UpstreamRunFailed(GatewayError):
    code, status, title = "run_failed", 502, "Run failed"
    public_message = "The agent could not finish its answer. Please try again."
    retryable = True


class UpstreamUnavailable(GatewayError):
    code, status, title = "upstream_unavailable", 502, "Upstream unavailable"
    public_message = "The agent could not be reached, or its answer broke off. Please try again."
    retryable = True


class UpstreamTimeout(GatewayError):
    code, status, title = "upstream_timeout", 504, "Upstream timeout"
    public_message = "The agent did not answer in time. Please try again."
    retryable = True


BY_CODE: dict[str, type[GatewayError]] = {error.code: error for error in reversed(GatewayError.__subclasses__())}


def round_up_seconds(seconds: float) -> int:
    """Round up, to at least one second: a caller who retries too early is refused again."""
    return max(1, -int(-seconds // 1))
