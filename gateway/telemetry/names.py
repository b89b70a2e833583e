"""Every name that leaves the service in its telemetry; docs/observability.md and infra's queries use these alone.

`http.*`, `url.*`, `server.*`, `error.type`: OpenTelemetry's semantic conventions 1.44.0. `gen_ai.*`: the GenAI
conventions as of the same version, in development, since then in a repository of their own
(https://github.com/open-telemetry/semantic-conventions-genai). `chat_api.*`: ours, where the conventions have no name.
"""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

# spans
REQUEST_METHOD = "http.request.method"
RESPONSE_STATUS = "http.response.status_code"
RESEND_COUNT = "http.request.resend_count"
ROUTE = "http.route"
URL_PATH = "url.path"
URL_SCHEME = "url.scheme"
URL_FULL = "url.full"
URL_TEMPLATE = "url.template"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
AGENT_ID = "gen_ai.agent.id"
MODEL = "gen_ai.request.model"
THREAD_ID = "gen_ai.conversation.id"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105  not that sort of token
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
REQUEST_ID = "chat_api.request_id"
CONVERSATION_LABEL = "chat_api.conversation_id"
UPSTREAM = "chat_api.upstream"
CALLER = "chat_api.caller"
ENDING = "chat_api.ending"
DELTAS = "chat_api.deltas"
CHARACTERS = "chat_api.characters"
FIRST_CHUNK_MS = "chat_api.first_chunk_ms"
MEAN_GAP_MS = "chat_api.mean_gap_ms"
LONGEST_GAP_MS = "chat_api.longest_gap_ms"
UPSTREAM_MS = "chat_api.upstream_ms"
RETRIES = "chat_api.retries"
FIRST_CHUNK_EVENT = "chat_api.first_chunk"

SPAN_ATTRIBUTES = frozenset({
    REQUEST_METHOD, RESPONSE_STATUS, RESEND_COUNT, ROUTE, URL_PATH, URL_SCHEME, URL_FULL, URL_TEMPLATE, SERVER_ADDRESS,
    SERVER_PORT, ERROR_TYPE, OPERATION, PROVIDER, AGENT_ID, MODEL, THREAD_ID, RESPONSE_ID, FINISH_REASONS,
    INPUT_TOKENS, OUTPUT_TOKENS, INPUT_MESSAGES, OUTPUT_MESSAGES, REQUEST_ID, CONVERSATION_LABEL, UPSTREAM, CALLER,
    ENDING, DELTAS, CHARACTERS, FIRST_CHUNK_MS, MEAN_GAP_MS, LONGEST_GAP_MS, UPSTREAM_MS, RETRIES, FIRST_CHUNK_EVENT,
})  # fmt: skip

# metrics: name → unit
DURATION = "gen_ai.client.operation.duration"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
MEAN_GAP = "chat_api.turn.mean_gap"
LONGEST_GAP = "chat_api.turn.longest_gap"
TOKENS = "gen_ai.client.token.usage"
ENDINGS = "chat_api.turn.endings"
UPSTREAM_RETRIES = "chat_api.upstream.retries"
OPEN_TURNS = "chat_api.turns.open"
PREPARED_CONVERSATIONS = "chat_api.conversations.prepared"
START = "chat_api.start.duration"

UNITS = {
    DURATION: "s",
    FIRST_CHUNK: "s",
    MEAN_GAP: "s",
    LONGEST_GAP: "s",
    TOKENS: "{token}",
    ENDINGS: "{turn}",
    UPSTREAM_RETRIES: "{request}",
    OPEN_TURNS: "{turn}",
    PREPARED_CONVERSATIONS: "{conversation}",
    START: "s",
}

CLIENT_DISCONNECT = "client_disconnect"
"""The ending of a turn whose client disconnected. The others are finish reasons and the codes of `errors.py`."""
