// Reads one answer with the client that is named, and prints its events as one JSON array: node read.mjs <client> <url> <message>
const [client, url, message] = process.argv.slice(2);
const request = {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ message }),
};

// The README's example, which knows no library.
async function byFetch() {
  const events = [];
  const answer = await fetch(url, request);
  let rest = "";
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames.filter((frame) => frame.startsWith("data: "))) {
      events.push(JSON.parse(frame.slice(6)));
    }
  }
  return events;
}

async function byFetchEventSource() {
  globalThis.window ??= globalThis; // it was written for browsers alone
  globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };
  const { fetchEventSource } = await import("@microsoft/fetch-event-source");
  const events = [];
  await fetchEventSource(url, {
    ...request,
    openWhenHidden: true,
    onopen: async () => {},
    onmessage: ({ data }) => data && events.push(JSON.parse(data)), // a ping is a message without data to it
    onerror(error) {
      throw error; // or it posts the message again
    },
  });
  return events;
}

async function byEventSourceParser() {
  const { EventSourceParserStream } = await import("eventsource-parser/stream");
  const answer = await fetch(url, request);
  const events = [];
  const frames = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  for await (const { data } of frames) events.push(JSON.parse(data));
  return events;
}

const ways = {
  "fetch": byFetch,
  "fetch-event-source": byFetchEventSource,
  "eventsource-parser": byEventSourceParser,
};
console.log(JSON.stringify(await ways[client]()));
