/** chat-client.js against small servers. Run by tests/test_browser_client.py, or: node --test tests/browser_client/*.test.mjs */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

const source = readFileSync(new URL("../../gateway/page/chat-client.js", import.meta.url), "utf8");
const { ChatError, chat } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const metadata = { type: "metadata", conversation_id: "c", thread_id: "t" };
const chunk = { type: "chunk", content: "Grüße \u2028 🚀" };
const done = { type: "done", full_response: "Grüße \u2028 🚀", timestamp: "2026-11-21T10:00:00.000Z", finish_reason: "stop" };
const answer = [metadata, chunk, done];
const framed = (events, end = "\n") => events.map((event) => `data: ${JSON.stringify(event)}${end}${end}`).join("");

/** A server on a free port whose every answer is `handler`'s; what it gets is in `requests`. */
async function serving(t, handler) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    requests.push({ headers: request.headers, body: JSON.parse(body) });
    await handler(response, request);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), server.close()));
  return { url: `http://127.0.0.1:${server.address().port}/api/chat`, requests };
}

const streaming = (t, ...parts) =>
  serving(t, async (response) => {
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "x-request-id": "r-1" });
    for (const part of parts) {
      response.write(part);
      if (parts.length > 1) await new Promise(setImmediate);
    }
    response.end();
  });

async function all(url, request = { message: "Hi" }) {
  const events = [];
  for await (const event of chat(url, request)) events.push(event);
  return events;
}

async function failing(url, request) {
  const error = await all(url, request).then(() => assert.fail("it did not fail"), (error) => error);
  assert.ok(error instanceof ChatError, `not a ChatError: ${error.stack}`);
  const { message, code, retryable, retryAfter, requestId, status } = error;
  return { message, code, retryable, retryAfter, requestId, status };
}

test("events come as they are on the wire", async (t) => {
  const { url } = await streaming(t, framed(answer));
  assert.deepEqual(await all(url), answer);
});

test("the request is the contract's, with the caller's headers", async (t) => {
  const { url, requests } = await streaming(t, framed(answer));
  const headers = async () => ({ authorization: "Bearer x" });
  await all(url, { message: "Hi", threadId: "t", conversationId: "c", headers });
  await all(url, { message: "Again", headers: { "x-api-key": "k" } });
  assert.deepEqual(requests[0].body, { message: "Hi", thread_id: "t", conversation_id: "c" });
  assert.equal(requests[0].headers.authorization, "Bearer x");
  assert.equal(requests[0].headers["content-type"], "application/json");
  assert.equal(requests[0].headers.accept, "text/event-stream");
  assert.deepEqual(requests[1].body, { message: "Again" });
  assert.equal(requests[1].headers["x-api-key"], "k");
});

for (const [name, end] of [["LF", "\n"], ["CRLF", "\r\n"], ["CR", "\r"]]) {
  test(`${name}: whole, byte by byte, and split anywhere`, async (t) => {
    const bytes = Buffer.from(framed(answer, end));
    const whole = await streaming(t, bytes);
    assert.deepEqual(await all(whole.url), answer);
    const single = await streaming(t, ...Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)));
    assert.deepEqual(await all(single.url), answer);
    for (let at = 1; at < bytes.length; at += 7) {
      const halves = await streaming(t, bytes.subarray(0, at), bytes.subarray(at));
      assert.deepEqual(await all(halves.url), answer, `split at ${at}`);
    }
  });
}

test("a line that ends in CR is not held back for a LF that never comes", async (t) => {
  const { url } = await serving(t, async (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(framed([metadata], "\r"));
  });
  for await (const event of chat(url, { message: "Hi" })) {
    assert.deepEqual(event, metadata);
    break;
  }
});

test("comments, other fields, a BOM, multi-line data and a missing space are read by the standard", async (t) => {
  const { url } = await streaming(
    t,
    "\uFEFF: ping\n\nevent: message\nid: 7\nretry: 10\n\n",
    `event: x\ndata:${JSON.stringify(metadata)}\n\n: ping\n\n`,
    'data: {"type":\ndata: "chunk",\ndata:\ndata\ndata: "content": "x"}\n\n',
    framed([done]),
  );
  assert.deepEqual(await all(url), [metadata, { type: "chunk", content: "x" }, done]);
});

test("a type that nobody knows is passed on", async (t) => {
  const citation = { type: "citation", title: "x" };
  const { url } = await streaming(t, framed([metadata, citation, done]));
  assert.deepEqual(await all(url), [metadata, citation, done]);
});

test("an error event is a ChatError after the text that came", async (t) => {
  const error = { type: "error", error: "Sorry.", code: "run_failed", retryable: true, retry_after: 7, request_id: "r-2" };
  const { url } = await streaming(t, framed([metadata, chunk, error]));
  const seen = [];
  const reading = (async () => {
    for await (const event of chat(url, { message: "Hi" })) seen.push(event.type);
  })();
  await assert.rejects(reading, { name: "ChatError", message: "Sorry.", code: "run_failed", retryAfter: 7, requestId: "r-2", status: 200 });
  assert.deepEqual(seen, ["metadata", "chunk"]);
});

test("a problem body is a ChatError with its words and its wait", async (t) => {
  const { url } = await serving(t, (response) => {
    response.writeHead(429, { "content-type": "application/problem+json", "retry-after": "7", "x-request-id": "r-3" });
    response.end(JSON.stringify({ title: "No", status: 429, detail: "Later.", code: "rate_limited", retryable: true, request_id: "r-3" }));
  });
  const expected = { message: "Later.", code: "rate_limited", retryable: true, retryAfter: 7, requestId: "r-3", status: 429 };
  assert.deepEqual(await failing(url), expected);
});

test("a proxy's page of HTML is a ChatError too, retryable by its status", async (t) => {
  let status = 502;
  const { url } = await serving(t, (response) => response.writeHead(status, { "retry-after": new Date(Date.now() + 60_000).toUTCString() }).end("<h1>"));
  const { message, code, retryable, retryAfter } = await failing(url);
  assert.deepEqual([message, code, retryable], ["The chat service answered with status 502.", "http_error", true]);
  assert.ok(retryAfter > 50 && retryAfter <= 60, `${retryAfter}`);
  status = 403;
  assert.equal((await failing(url)).retryable, false);
});

test("an answer that is no event stream is not taken for an empty one", async (t) => {
  const { url } = await serving(t, (response) => response.writeHead(200, { "content-type": "text/html" }).end("<h1>"));
  assert.equal((await failing(url)).code, "invalid_response");
});

for (const bad of ["data: {not JSON\n\n", "data: 7\n\n", 'data: {"kind": 1}\n\n', "data: null\n\n"]) {
  test(`an unreadable event is invalid_response: ${JSON.stringify(bad)}`, async (t) => {
    const { url } = await streaming(t, framed([metadata]), bad);
    assert.deepEqual(await failing(url), {
      message: "The answer holds an event that this client cannot read.",
      code: "invalid_response", retryable: false, retryAfter: undefined, requestId: "r-1", status: 200,
    });
  });
}

for (const [name, tail] of [["between events", ""], ["inside an event", `data: ${JSON.stringify(done)}\n`], ["inside a letter", Buffer.from([0xf0, 0x9f])]]) {
  test(`an end without done is incomplete: ${name}`, async (t) => {
    const { url } = await streaming(t, framed([metadata, chunk]), tail || ":\n");
    const { code, retryable, status } = await failing(url);
    assert.deepEqual([code, retryable, status], ["incomplete", true, 200]);
  });
}

test("a connection that breaks is network", async (t) => {
  const { url } = await serving(t, async (response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "x-request-id": "r-4" });
    response.write(framed([metadata]));
    setTimeout(() => response.destroy(), 50);
  });
  const { code, retryable, requestId } = await failing(url);
  assert.deepEqual([code, retryable, requestId], ["network", true, "r-4"]);
});

test("a service that is not there is network, without a status", async () => {
  const { message, code, retryable, status } = await failing("http://127.0.0.1:9/api/chat");
  assert.deepEqual([message, code, retryable, status], ["The chat service could not be reached.", "network", true, undefined]);
});

test("nothing is ever sent twice", async (t) => {
  const { url, requests } = await serving(t, (response) => response.writeHead(503, { "retry-after": "0" }).end());
  await failing(url);
  assert.equal(requests.length, 1);
});

/** A server that never ends its stream, and a promise of its reader's leaving. */
async function endless(t, first = framed([metadata, chunk])) {
  let left;
  const leaving = new Promise((resolve) => (left = resolve));
  const { url, requests } = await serving(t, (response) => {
    response.on("close", left);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(first);
  });
  return { url, requests, leaving };
}

test("leaving the loop closes the connection", { timeout: 10_000 }, async (t) => {
  const { url, leaving } = await endless(t);
  for await (const event of chat(url, { message: "Hi" })) if (event.type === "chunk") break;
  await leaving;
});

test("aborting throws AbortError and closes the connection", { timeout: 10_000 }, async (t) => {
  const { url, leaving } = await endless(t);
  const stop = new AbortController();
  const reading = (async () => {
    for await (const event of chat(url, { message: "Hi", signal: stop.signal })) if (event.type === "chunk") setTimeout(() => stop.abort(), 20);
  })();
  await assert.rejects(reading, { name: "AbortError" });
  await leaving;
});

test("what had come already is not delivered after an abort", { timeout: 10_000 }, async (t) => {
  const { url } = await endless(t, framed([metadata, chunk, chunk]));
  const stop = new AbortController();
  const seen = [];
  const reading = (async () => {
    for await (const event of chat(url, { message: "Hi", signal: stop.signal })) seen.push(event.type), stop.abort(new Error("my reason"));
  })();
  await assert.rejects(reading, { message: "my reason" });
  assert.deepEqual(seen, ["metadata"]);
});

test("with a signal that is aborted already nothing is sent", async (t) => {
  const { url, requests } = await endless(t);
  await assert.rejects(all(url, { message: "Hi", signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.equal(requests.length, 0);
});

test("a server that keeps the connection open after done does not hold the loop", { timeout: 10_000 }, async (t) => {
  const { url } = await endless(t, framed(answer));
  assert.deepEqual(await all(url), answer);
});

test("a connection whose answer was read to its end is used again", async (t) => {
  const ports = new Set();
  const { url } = await serving(t, (response, request) => {
    ports.add(request.socket.remotePort);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(framed(answer));
  });
  for (let turn = 0; turn < 5; turn++) await all(url);
  assert.ok(ports.size < 5, `${ports.size} connections for 5 turns`);
});

test("the client is at most 4 kB gzipped", () => {
  assert.ok(gzipSync(source, { level: 9 }).length <= 4096);
});
