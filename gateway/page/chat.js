/** The chat page: what the person does, and what becomes of it. The wire is in chat-client.js. */
import { ChatError, chat } from "../chat-client.js";
import { Answer, question } from "./answer.js";
import { Conversation } from "./conversation.js";

const API = new URL("api/chat", document.baseURI);
const NEAR_PX = 48; // this near to the end counts as at the end
const READ_OUT_MS = 5000;

const byId = (id) => document.getElementById(id);
const [log, messages, welcome, latest, status] = ["log", "messages", "welcome", "latest", "status"].map(byId);
const [composer, input, send, stop] = ["composer", "message", "send", "stop"].map(byId);

let conversation = Conversation.restored();
let turn = null; // the one being answered: {answer, controller}
let last = null; // the newest Answer
let following = true;

function ask(text) {
  show(question(text));
  conversation.messages.push({ role: "user", text });
  return answerTo(text);
}

async function answerTo(text) {
  last?.settle();
  const message = { role: "assistant", text: "", ending: "interrupted" };
  conversation.messages.push(message);
  const mine = { answer: shownAnswer(message), controller: new AbortController(), sentThread: conversation.threadId };
  turn = mine;
  following = true;
  begin(mine);
  try {
    await stream(text, mine);
    message.ending = "done";
  } catch (error) {
    if (turn !== mine) return; // a new chat was started, or the page is being left
    fail(mine, error);
  }
  end(mine);
}

async function stream(text, { answer, controller, sentThread }) {
  const { conversationId } = conversation;
  for await (const event of chat(API, { message: text, threadId: sentThread, conversationId, signal: controller.signal })) {
    if (event.type === "metadata") {
      conversation.conversationId = event.conversation_id;
      answer.threadId = event.thread_id;
      conversation.threadId ??= event.thread_id; // stopped from here on, the answer is still remembered
    } else if (event.type === "chunk") {
      answer.write(event.content);
    } else if (event.type === "done") {
      conversation.threadId = answer.threadId;
      answer.message.finishReason = event.finish_reason;
    }
  }
}

function begin({ answer }) {
  answer.begin();
  [send.hidden, stop.hidden] = [true, false];
  say("The answer is being written.");
  conversation.save();
  follow();
}

/** An error leaves the thread that was sent: it stays good. */
function fail({ answer, controller, sentThread }, error) {
  const { message } = answer;
  message.ending = controller.signal.aborted ? "stopped" : "failed";
  if (message.ending === "stopped") return;
  conversation.threadId = sentThread;
  const { code, retryable, requestId, retryAfter = 0 } = error;
  const words = error instanceof ChatError ? error.message : "Something went wrong on this page.";
  message.error = { message: words, code, requestId, retryable, retryAt: Date.now() + retryAfter * 1000 };
  if (!(error instanceof ChatError)) console.error(error);
}

function end({ answer }) {
  turn = null;
  answer.end();
  const stopHadFocus = document.activeElement === stop;
  [send.hidden, stop.hidden] = [false, true];
  if (stopHadFocus) focusInput();
  say(answer.message.error ? "" : answer.words || "The answer was stopped.");
  conversation.save();
  follow();
}

/** The same message again, in the place of an answer without a word, else below it. */
function retry() {
  const failed = conversation.messages.at(-1);
  if (!failed.text) {
    conversation.messages.pop();
    last.settle();
    last.element.remove();
  }
  focusInput();
  return answerTo(conversation.messages.findLast(({ role }) => role === "user").text);
}

function startAnew() {
  turn?.controller.abort();
  last?.settle();
  turn = last = null;
  conversation = new Conversation();
  conversation.save();
  messages.replaceChildren();
  [welcome.hidden, send.hidden, stop.hidden, following] = [false, false, true, true];
  say("New chat.");
  onScroll();
  input.focus();
}

function show(element) {
  welcome.hidden = true;
  messages.append(element);
}

function shownAnswer(message) {
  last = new Answer(message, { actions: { retry, startAnew }, onrender: follow });
  show(last.element);
  return last;
}

/** For screen readers: whole texts, not every delta. Gone again soon, so that a search finds a word once. */
function say(text) {
  status.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (status.textContent = ""), READ_OUT_MS);
}

function follow() {
  if (following) log.scrollTop = log.scrollHeight;
  else latest.hidden = false;
}

function onScroll() {
  following = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_PX;
  latest.hidden = following;
}

/** Not on a phone, where the keyboard would cover the answer. */
function focusInput() {
  if (matchMedia("(pointer: fine)").matches) input.focus();
}

async function copyCode(button) {
  const code = button.closest("figure").querySelector("pre");
  const copied = await navigator.clipboard?.writeText(code.textContent.trimEnd()).then(() => true, () => false);
  if (!copied) getSelection().selectAllChildren(code); // no clipboard without https: one key is left to press
  button.textContent = copied ? "Copied" : "Selected";
  say(copied ? "Code copied." : "Code selected.");
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

function submit() {
  const text = input.value;
  if (turn || !text.trim()) return;
  input.value = "";
  ask(text);
}

composer.addEventListener("submit", (event) => (event.preventDefault(), submit()));
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return; // 229: an IME's Enter
  event.preventDefault();
  submit();
});
document.addEventListener("keydown", (event) => event.key === "Escape" && turn?.controller.abort());
stop.addEventListener("click", () => turn?.controller.abort());
byId("new").addEventListener("click", startAnew);
messages.addEventListener("click", ({ target }) => target.matches(".copy") && copyCode(target));
log.addEventListener("scroll", onScroll, { passive: true });
latest.addEventListener("click", () => ((following = true), follow()));
new ResizeObserver(() => following && follow()).observe(log);
addEventListener("pagehide", () => {
  conversation.save();
  turn = null; // its stream breaks off now, which is no failure
});
addEventListener("pageshow", ({ persisted }) => persisted && location.reload()); // as it was saved, without that stream

for (const message of conversation.messages) {
  if (message.role === "user") show(question(message.text));
  else {
    last?.settle();
    shownAnswer(message).end();
  }
}
follow();
focusInput();
