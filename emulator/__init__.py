"""A stand-in for Azure's agents service, for development and tests: `python -m emulator --port 8100`.

It speaks Foundry's wire under `/api/projects/<any>` (conversations, responses, agents; classic threads and runs) and
Azure OpenAI's at `/openai/v1`, as azure-ai-projects 2.10, azure-ai-agents 1.1.0 and openai 3.52 use them. It checks
tokens and bodies, remembers conversations while it runs, and its answers say what was said before. Any agent, assistant
(`asst_…`) and deployment exists, except those whose names begin with `missing` (`asst_missing`).

Its options are `--host`, `--pace` (deltas a second, 0: as fast as it can) and `--no-conversations` (Azure OpenAI alone
of previous_response_id). `EMULATOR_MODEL_URL` (the base with `/v1`), `EMULATOR_MODEL` and `EMULATOR_MODEL_KEY` put the
words of any OpenAI-compatible server in place of its own.

`GET /_seen` tells `requests`, `messages` (of people, as far as they were accepted; a 5xx and a reset count too),
`streams` (ids: `opened`, and then `finished`, `left` by their reader or `broken` by us), `cancelled` and `active_runs`;
`DELETE /_seen` forgets.

A message can order trouble, by words anywhere in it (before `[echo]`), also several together:

| word | what happens |
|---|---|
| `[echo] text` | the answer is exactly `text`; what follows `[echo]` gives no orders |
| `[long]` `[long:N]` | an answer of 2,000 (N) deltas |
| `[slow]` `[slow:S]` | the first event only after 2 (S) seconds, then 5 deltas a second |
| `[unknown]` | events of unknown kinds in between |
| `[surrogate]` | an emoji as two escapes in two deltas |
| `[crlf]` · `[bytes]` | the stream with CRLF · with each byte written by itself |
| `[refuse]` | refusal deltas (classic: text) |
| `[function]` · `[approval]` | wants a function called · an MCP call approved; all else is refused until answered |
| `[429]` `[429:S]` `[429 once]` | HTTP 429 with Retry-After 7 (S); 1 second, and only at the message's first time |
| `[filter]` | HTTP 400, code content_filter |
| `[busy]` | HTTP 400: conversation_locked, for a thread an active run |
| `[denied]` · `[forbidden]` | HTTP 401 PermissionDenied · 403 |
| `[500]` · `[html]` · `[empty]` | HTTP 500 with JSON · 502 with HTML · 503 with nothing |
| `[reset]` | the connection is reset before the head |
| `[quota]` | a quota inside the run, before any text; responses: failed without a reason, then `error` |
| `[fail]` · `[expired]` · `[cancelled]` | after three deltas the run fails · expires · is cancelled |
| `[length]` · `[filtered answer]` | after three deltas: incomplete, for its length · for the content filter |
| `[stall]` | after three deltas nothing, for ever |
| `[silent]` · `[comments]` | nothing after the head · but a comment a second (with `[stall]`: after the deltas) |
| `[drop]` · `[cut]` | after three deltas the connection is reset inside a frame · ends cleanly, too early |

Faults before the head take precedence. A classic run goes on when its stream was
left or broken: its thread stays locked until the run is cancelled or ends (30 s after `[drop]` and `[cut]`).
"""
