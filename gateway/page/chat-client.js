/**
 * The browser client of chat-api: one file, no dependencies. Copy it, with chat-client.d.ts, into a frontend.
 * It works wherever fetch streams: browsers, Node 18+, Deno, Bun. How to use it: docs/clients.md.
 * Event streams are read as https://html.spec.whatwg.org/multipage/server-sent-events.html says.
 */

const MAY_PASS = [408, 425, 429, 502, 503, 504];
const REST_MS = 1000;

/** Every failure: of the service (its own code and words), of the way to it, or of the answer's form. */
export class ChatError extends Error {
  constructor(message, { code, retryable = false, retryAfter, requestId, status, cause }) {
    super(message, { cause });
    Object.assign(this, { name: "ChatError", code, retryable, retryAfter, requestId, status });
  }
}

/**
 * Sends one message and yields the events of its answer, up to and including `done`.
 * Throws a ChatError, or the signal's reason when it was aborted. Never sends a message twice.
 */
export async function* chat(url, { message, threadId, conversationId, signal, headers, credentials }) {
  const body = JSON.stringify({ message, thread_id: threadId, conversation_id: conversationId });
  const given = typeof headers === "function" ? await headers() : headers;
  const all = new Headers(given);
  all.set("content-type", "application/json");
  all.set("accept", "text/event-stream");
  signal?.throwIfAborted();
  const response = await fetch(url, { method: "POST", headers: all, body, signal, credentials }).catch((cause) => {
    throw signal?.aborted ? signal.reason : lost("The chat service could not be reached.", { cause });
  });
  const about = { status: response.status, requestId: response.headers.get("x-request-id") ?? undefined };
  if (!response.ok) {
    const refused = await refusal(response, about);
    throw signal?.aborted ? signal.reason : refused;
  }
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    response.body?.cancel().catch(() => {});
    throw invalid("This address does not answer with an event stream.", about);
  }
  yield* events(response.body.getReader(), about, signal);
}

async function* events(reader, about, signal) {
  try {
    for await (const data of dataOf(reader)) {
      signal?.throwIfAborted();
      const event = parsed(data, about);
      if (event.type === "error") throw failure(event, about);
      yield event;
      if (event.type === "done") {
        return await atRest(reader);
      }
    }
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw cause instanceof ChatError ? cause : lost("The connection broke off.", { ...about, cause });
  } finally {
    reader.cancel().catch(() => {});
  }
  signal?.throwIfAborted();
  throw new ChatError("The answer broke off before its end.", { ...about, code: "incomplete", retryable: true });
}

/** Read to its end, the connection can be used again; a server that does not end it is not waited for. */
async function atRest(reader) {
  let timer;
  const patience = new Promise((resolve) => (timer = setTimeout(resolve, REST_MS)));
  await Promise.race([reader.read().catch(() => {}), patience]);
  clearTimeout(timer);
}

/** The data of each event. What stands after the last empty line is no event. */
async function* dataOf(reader) {
  const data = [];
  for await (const line of linesOf(reader)) {
    if (line === "") {
      if (data.length) yield data.splice(0).join("\n");
    } else if (line === "data" || line.startsWith("data:")) {
      data.push(line.slice(line[5] === " " ? 6 : 5));
    }
  }
}

/** Lines end in LF, CRLF or CR. A CR at the end of what has come ends its line at once: LF may never follow. */
async function* linesOf(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  let afterCR = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    let text = decoder.decode(value, { stream: true });
    if (!text) continue;
    if (afterCR && text[0] === "\n") text = text.slice(1);
    afterCR = text ? text.endsWith("\r") : false;
    if (!/[\r\n]/.test(text)) {
      rest += text;
      continue;
    }
    const lines = (rest + text).split(/\r\n|\n|\r/);
    rest = lines.pop();
    yield* lines;
  }
}

function parsed(data, about) {
  try {
    const event = JSON.parse(data);
    if (typeof event?.type === "string") return event;
  } catch {
    // said below
  }
  throw invalid("The answer holds an event that this client cannot read.", about);
}

/** An `error` event. */
function failure({ error, code, retryable, retry_after, request_id }, about) {
  return new ChatError(error, { ...about, code, retryable, retryAfter: retry_after, requestId: request_id ?? about.requestId });
}

/** A problem body (RFC 9457), or whatever a proxy said instead. */
async function refusal(response, about) {
  const problem = await response.json().catch(() => null);
  const words = [problem?.detail, problem?.title].find((each) => typeof each === "string");
  return new ChatError(words ?? `The chat service answered with status ${about.status}.`, {
    code: problem?.code ?? "http_error",
    retryable: problem?.retryable ?? MAY_PASS.includes(about.status),
    retryAfter: seconds(response.headers.get("retry-after")),
    requestId: problem?.request_id ?? about.requestId,
    status: about.status,
  });
}

/** `Retry-After` is a number of seconds or a date. */
function seconds(value) {
  const given = value ? Number(value) : NaN;
  const wait = Number.isNaN(given) ? (Date.parse(value) - Date.now()) / 1000 : given;
  return Number.isNaN(wait) ? undefined : Math.max(0, Math.ceil(wait));
}

const lost = (message, about) => new ChatError(message, { ...about, code: "network", retryable: true });
const invalid = (message, about) => new ChatError(message, { ...about, code: "invalid_response" });
