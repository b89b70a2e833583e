/**
 * Markdown that is still being written, as DOM. Work is bound to animation frames, and to what can still change:
 * a block is settled when two others follow it (a list may go on after an empty line), and is not touched again.
 *
 * Nothing an agent writes can run or load: raw HTML is shown as text, what marked makes is sanitized by DOMPurify
 * against a short list, images of other hosts become links, and the page's Content-Security-Policy stands behind.
 */
import { Lexer, Marked } from "./vendor/marked.esm.js";
import "./vendor/purify.min.js";

const { DOMPurify } = globalThis;
const FRAME_BUDGET_MS = 8;
const BREATH = 2; // after a render over the budget: pause this many times as long

const ALLOWED = {
  ALLOWED_TAGS: ["a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "input", "kbd"]
    .concat(["li", "ol", "p", "pre", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"]),
  ALLOWED_ATTR: ["align", "alt", "checked", "class", "disabled", "href", "src", "start", "title", "type"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, // and data: for an image, which DOMPurify allows by itself
  ADD_URI_SAFE_ATTR: ["align", "checked", "disabled", "start", "type"],
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const PICTURE = /^data:image\/(?:png|jpeg|gif|webp);/i;
const HARMLESS_TAG = /<(?!\/?(?:br|kbd|sub|sup)\s*\/?>)/gi;

const markdown = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => text.replace(HARMLESS_TAG, "&lt;"),
    image({ href, text, title }) {
      return PICTURE.test(href) ? false : this.link({ href, title, tokens: [{ type: "text", raw: "", text: text || href }] });
    },
  },
});

export class LiveMarkdown {
  #source = "";
  #settled = 0; // characters of the source whose blocks are final
  #links = {}; // reference definitions among them
  #live = []; // nodes that the next text may change
  #frame = 0;
  #notBefore = 0;

  /** `onrender` is called after each change of `element`. */
  constructor(element, onrender) {
    this.element = element;
    this.onrender = onrender;
  }

  write(text) {
    this.#source += text.replaceAll("\r", "");
    this.#frame ||= requestAnimationFrame((now) => this.#onFrame(now));
  }

  /** Renders what is left, at once. */
  end() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const tokens = this.#tokens();
    if (Object.keys(this.#links).length || tokens.some(({ type }) => type === "def")) {
      this.element.replaceChildren(rendered(lexed(this.#source, {}), true)); // a definition may stand after its use
    } else {
      this.#replaceLive(rendered(tokens, true));
    }
    this.onrender();
  }

  #onFrame(now) {
    this.#frame = 0;
    if (now < this.#notBefore) return this.write("");
    const start = performance.now();
    this.#render();
    this.onrender();
    const cost = performance.now() - start;
    this.#notBefore = cost > FRAME_BUDGET_MS ? now + cost * (1 + BREATH) : 0;
  }

  #render() {
    const tokens = this.#tokens();
    const settled = tokens.slice(0, firstLive(tokens));
    const raw = settled.map((token) => token.raw).join("");
    const keep = raw !== "" && this.#source.startsWith(raw, this.#settled);
    this.#replaceLive(keep ? rendered(settled, true) : "");
    if (keep) this.#settle(settled, raw);
    this.#replaceLive(rendered(keep ? tokens.slice(settled.length) : tokens, false));
  }

  #tokens() {
    return lexed(this.#source.slice(this.#settled), this.#links);
  }

  #settle(tokens, raw) {
    this.#live = [];
    this.#settled += raw.length;
    for (const { type, tag, href, title } of tokens) if (type === "def") this.#links[tag] = { href, title };
  }

  #replaceLive(content) {
    for (const node of this.#live) node.remove();
    this.#live = content ? [...content.childNodes] : [];
    this.element.append(content);
  }
}

/** The whole of a text that has been written. */
export function markdownOf(text) {
  return rendered(lexed(text, {}), true);
}

function lexed(source, links) {
  const lexer = new Lexer(markdown.defaults);
  lexer.tokens.links = Object.create(links);
  return lexer.lex(source);
}

/** Of the last two blocks the next text may still change the kind. */
function firstLive(tokens) {
  const blocks = tokens.flatMap(({ type }, at) => (type === "space" ? [] : [at]));
  return blocks.length > 2 ? blocks.at(-2) : 0;
}

function rendered(tokens, settled) {
  const fragment = DOMPurify.sanitize(markdown.parser(tokens), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) Object.assign(link, { target: "_blank", rel: "noopener noreferrer" });
  for (const box of fragment.querySelectorAll("input")) if (box.type !== "checkbox") box.remove();
  for (const pre of fragment.querySelectorAll("pre")) pre.replaceWith(codeBlock(pre, settled));
  for (const table of fragment.querySelectorAll("table")) table.replaceWith(scrollable(table));
  return fragment;
}

function codeBlock(pre, settled) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = /language-(\S+)/.exec(pre.firstElementChild?.className)?.[1] ?? "text";
  pre.tabIndex = 0; // it scrolls: the keyboard must reach it
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", `Code, ${caption.textContent}`);
  figure.append(caption, pre.cloneNode(true));
  if (settled) caption.append(copyButton());
  return figure;
}

function copyButton() {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "copy", textContent: "Copy" });
  return button;
}

function scrollable(table) {
  const box = document.createElement("div");
  Object.assign(box, { className: "table", tabIndex: 0 });
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Table");
  box.append(table.cloneNode(true));
  return box;
}
