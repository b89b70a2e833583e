"use client";

// Copy this file with chat-client.js and chat-client.d.ts (from a running service: /chat-client.js, /chat-client.d.ts).
// .env.local: NEXT_PUBLIC_CHAT_API_URL=https://your-chat-api.example
// On the service: ALLOWED_ORIGINS must name the origin of this frontend.
import { useEffect, useRef, useState, type FormEvent } from "react";

import { chat, ChatError } from "./chat-client.js";

const API = `${process.env.NEXT_PUBLIC_CHAT_API_URL}/api/chat`;

interface Message {
  from: "person" | "agent";
  text: string;
}

export function ChatBox() {
  const [messages, setMessages] = useState<Message[]>([]);
  const [failure, setFailure] = useState<ChatError | null>(null);
  const [busy, setBusy] = useState(false);
  const threadId = useRef<string | null>(null);
  const stop = useRef<AbortController | null>(null);

  useEffect(() => () => stop.current?.abort(), []); // leaving the page ends the answer

  function append(text: string) {
    setMessages((all) => [...all.slice(0, -1), { from: "agent", text: all[all.length - 1].text + text }]);
  }

  async function ask(message: string) {
    const controller = (stop.current = new AbortController());
    setBusy(true);
    setFailure(null);
    setMessages((all) => [...all, { from: "person", text: message }, { from: "agent", text: "" }]);
    let newThread: string | null = null;
    try {
      for await (const event of chat(API, { message, threadId: threadId.current, signal: controller.signal })) {
        if (event.type === "metadata") newThread = event.thread_id;
        if (event.type === "chunk") append(event.content);
        if (event.type === "done") threadId.current = newThread; // after an error, the one before stays good
      }
    } catch (error) {
      if (error instanceof ChatError) setFailure(error);
      else if (!controller.signal.aborted) throw error;
    } finally {
      setBusy(false);
    }
  }

  function onSubmit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const message = String(new FormData(form).get("message") ?? "");
    if (busy || !message.trim()) return;
    form.reset();
    void ask(message);
  }

  return (
    <section aria-label="Chat">
      <ol>
        {messages.map(({ from, text }, index) => (
          <li key={index} data-from={from} style={{ whiteSpace: "pre-wrap" }}>
            {text}
          </li>
        ))}
      </ol>
      {failure && (
        <p role="alert">
          {failure.message} {failure.requestId && <small>Request id: {failure.requestId}</small>}
        </p>
      )}
      <form onSubmit={onSubmit}>
        <input name="message" aria-label="Your message" autoComplete="off" />
        {busy ? (
          <button key="stop" type="button" onClick={() => stop.current?.abort()}>
            Stop
          </button>
        ) : (
          <button key="send" type="submit">
            Send
          </button>
        )}
      </form>
    </section>
  );
}
