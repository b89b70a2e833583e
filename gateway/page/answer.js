/** Messages on the page: what the person said, and an answer while and after it is written. */
import { LiveMarkdown, markdownOf } from "./markdown.js";

const NOTES = {
  interrupted: "The page was left before the end of this answer.",
  stopped: "Stopped.",
  length: "The answer reached its greatest length and ends here.",
  content_filter: "The content filter ended this answer here.",
};

/** An element with properties and children. */
function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function question(text) {
  const words = made("div", { className: "text", textContent: text, dir: "auto" });
  return made("li", { className: "question" }, made("h2", { className: "unseen", textContent: "You said" }), words);
}

export class Answer {
  #text = made("div", { className: "text", dir: "auto" });
  #markdown;
  #clock;

  /** `message` as conversation.js describes it; `actions` are {retry, startAnew}. */
  constructor(message, { actions, onrender }) {
    this.message = message;
    this.actions = actions;
    this.#markdown = new LiveMarkdown(this.#text, onrender);
    this.element = made("li", { className: "answer" }, made("h2", { className: "unseen", textContent: "Answer" }), this.#text);
    if (message.text) this.#text.append(markdownOf(message.text));
  }

  get words() {
    return this.#text.innerText;
  }

  begin() {
    this.element.classList.add("writing");
    this.element.setAttribute("aria-busy", "true");
  }

  write(text) {
    this.message.text += text;
    this.#markdown.write(text);
  }

  /** The message has its ending: the rest is rendered, and why it ended is said. */
  end() {
    if (this.element.classList.contains("writing")) this.#markdown.end();
    this.element.classList.remove("writing");
    this.element.removeAttribute("aria-busy");
    const { ending, finishReason, error } = this.message;
    const note = NOTES[ending] ?? NOTES[finishReason];
    if (note) this.element.append(made("p", { className: "note", textContent: note }));
    if (error) this.#showError(error);
  }

  /** Another turn has begun: nothing can be done about this one any more. */
  settle() {
    clearInterval(this.#clock);
    this.element.querySelector(".actions")?.remove();
  }

  #showError({ message, code, requestId, retryable, retryAt }) {
    const box = made("div", { className: "failure" }, made("p", { textContent: message }));
    box.setAttribute("role", "alert");
    if (requestId) box.append(made("p", { className: "request" }, "Request id: ", made("code", { textContent: requestId })));
    this.element.append(box);
    if (retryable) this.#offer("Try again", this.actions.retry, retryAt);
    else if (code === "conversation_not_found") this.#offer("Start a new chat", this.actions.startAnew);
  }

  /** A button outside of the alert, so that its countdown is not read out. */
  #offer(label, onclick, from = 0) {
    const button = made("button", { type: "button", textContent: label, onclick });
    const count = () => {
      const wait = Math.ceil((from - Date.now()) / 1000);
      button.disabled = wait > 0;
      button.textContent = wait > 0 ? `${label} in ${wait} s` : label;
      if (wait <= 0) clearInterval(this.#clock);
    };
    this.element.append(made("div", { className: "actions" }, button));
    this.#clock = setInterval(count, 250);
    count();
  }
}
