"""How the page looks in light, dark, on a phone and with an error: no serious fault of accessibility, and pictures.

SCREENSHOTS=docs/images writes the pictures there (`make screenshots`).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, Page, expect

from tests.support.browsers import Visit, browsing, chatting

ANSWER = """\
[echo] Three steps, without reading the file into memory:

1. Open it as **text**, with its encoding named.
2. Go through it *line by line*.
3. Keep the best, and a count.

```python
from pathlib import Path

def longest_line(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return max(lines, key=len, default="")
```

| way | memory | good for |
|---|---|---|
| `read_text()` | the whole file | small files |
| line by line | one line | logs |

> More in the [documentation](https://docs.python.org/3/library/pathlib.html).
"""
DESKTOP = {"width": 1100, "height": 820}
PHONE = {"width": 390, "height": 780}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": DESKTOP},
    "dark": {"color_scheme": "dark", "viewport": DESKTOP},
    "phone": {
        "color_scheme": "light",
        "viewport": PHONE,
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    },
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


def assert_no_serious_fault(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [(fault["id"], fault["nodes"]) for fault in found if fault["impact"] in ("serious", "critical")]
    assert serious == []


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"chat-{name}.png", animations="disabled", caret="hide")


def converse(visit: Visit) -> None:
    """In the picture, the question stands where the order to the emulator was."""
    visit.ask(ANSWER)
    visit.answered()
    visit.page.locator(".question .text").last.evaluate(
        "(e) => (e.textContent = 'How do I find the longest line of a large file?')"
    )
    visit.page.locator("#log").evaluate("(log) => log.scrollTo(0, 0)")


@pytest.mark.parametrize("look", LOOKS)
def test_a_conversation_has_no_serious_fault_of_accessibility(browser: Browser, look: str) -> None:
    with chatting(browser, **LOOKS[look]) as visit:
        assert_no_serious_fault(visit.page)
        converse(visit)
        assert_no_serious_fault(visit.page)
        picture(visit.page, look)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_error_has_no_serious_fault_of_accessibility(browser: Browser, scheme: str) -> None:
    with chatting(browser, color_scheme=scheme, viewport=DESKTOP) as visit:
        converse(visit)
        visit.ask("[429:20] And the shortest?")
        expect(visit.answered().get_by_role("alert")).to_be_visible()
        visit.page.locator(".question .text").last.evaluate("(e) => (e.textContent = 'And the shortest?')")
        assert_no_serious_fault(visit.page)
        if scheme == "light":
            picture(visit.page, "error")


@pytest.mark.parametrize("width", [320, 390, 768, 1600])
def test_nothing_sticks_out_at_any_width(browser: Browser, width: int) -> None:
    with chatting(browser, viewport={"width": width, "height": 700}) as visit:
        visit.ask(f"{ANSWER}\n{'verylongword' * 40} `{'code' * 60}`")
        visit.answered()
        assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert visit.page.evaluate("(log => log.scrollWidth - log.clientWidth)(document.getElementById('log'))") <= 0
