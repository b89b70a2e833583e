/** Types of chat-client.js. The events are those of the wire: see the service's /openapi.json. */

export interface MetadataEvent {
  type: "metadata";
  conversation_id: string;
  /** Send it as `threadId` with the next message. It may change from turn to turn. */
  thread_id: string;
}

export interface ChunkEvent {
  type: "chunk";
  content: string;
}

export interface DoneEvent {
  type: "done";
  /** All chunks, joined. */
  full_response: string;
  timestamp: string;
  finish_reason: "stop" | "length" | "content_filter";
  usage?: { input_tokens: number; output_tokens: number; total_tokens: number };
}

/** Later versions of the service may send other types: skip what you do not know. */
export type ChatEvent = MetadataEvent | ChunkEvent | DoneEvent;

export interface ChatRequest {
  message: string;
  /** What the last `metadata` gave; absent for a new conversation. */
  threadId?: string | null;
  /** Your own label, echoed in `metadata`. */
  conversationId?: string | null;
  /** Aborting it closes the stream, and the service stops the run. The loop then throws the signal's reason. */
  signal?: AbortSignal;
  /** Or a function that gives them, called once for each message: for a token that is renewed. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** As for `fetch`; "include" sends cookies to another origin. */
  credentials?: RequestCredentials;
}

/** What goes wrong on the way to the service or back. All other codes are the service's own. */
export type ClientCode = "network" | "incomplete" | "invalid_response" | "http_error";

export class ChatError extends Error {
  readonly name: "ChatError";
  readonly code: ClientCode | (string & {});
  /** Whether the same message may succeed later. */
  readonly retryable: boolean;
  /** Seconds to wait before that, where they are known. */
  readonly retryAfter?: number;
  /** Names this request in the service's log. */
  readonly requestId?: string;
  /** The HTTP status; 200 when the stream had begun; absent when no answer came. */
  readonly status?: number;
}

/**
 * Sends one message and yields the events of its answer, up to and including `done`.
 * Throws a ChatError, or the signal's reason when it was aborted. Never sends a message twice.
 */
export function chat(url: string | URL, request: ChatRequest): AsyncGenerator<ChatEvent, void, undefined>;
