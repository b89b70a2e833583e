/**
 * What this tab remembers of the conversation, over a reload: its ids, and the messages as they were shown.
 * A message: {role: "user", text} or {role: "assistant", text, ending, finishReason?, error?},
 * with ending one of "interrupted" (as long as it is being written), "done", "stopped", "failed".
 */
const KEY = "chat-api.conversation";

export class Conversation {
  threadId = null;
  conversationId = null;
  messages = [];

  /** The one of this tab, or a new one. */
  static restored() {
    const conversation = new Conversation();
    try {
      Object.assign(conversation, JSON.parse(sessionStorage.getItem(KEY)));
    } catch {
      // no storage, or not what we wrote: begin anew
    }
    return conversation;
  }

  save() {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(this));
    } catch {
      // full or forbidden: the chat goes on, a reload forgets it
    }
  }
}
