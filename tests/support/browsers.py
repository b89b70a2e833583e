"""A real browser for tests: Debian's Chromium through Playwright; and what else the machine must have."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect, sync_playwright
from starlette.types import ASGIApp

from emulator.app import create_app as create_emulator
from gateway.app import create_app
from gateway.backends.base import Backend
from gateway.settings import Settings
from tests.support.callers import foundry
from tests.support.servers import serving

WAIT_MS = 10_000
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_STATUS = "Failed to load resource: the server responded with a status of"  # the browser's own note on any 4xx, 5xx
OLDER_BROWSER = """
delete ReadableStream.prototype[Symbol.asyncIterator];
delete ReadableStream.prototype.values;
"""  # Safari up to 26.6, Chrome before 124: `for await` over a stream fails

expect.set_options(timeout=WAIT_MS)


def absent(sentence: str) -> NoReturn:
    """Skips, saying how to get what is not there. In CI nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


def program(name: str, sentence: str) -> str:
    return shutil.which(name) or absent(sentence)


def chromium() -> str:
    """CHROMIUM names another one."""
    names = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else _NAMES
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or absent("No Chromium was found: `apt-get install chromium`, or set CHROMIUM to a browser's path.")


@contextmanager
def browsing() -> Generator[Browser]:
    """For one module of tests: while it is open, nothing else in this thread can run an event loop."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Complaints:
    """What the browser complained of: errors of scripts, violations of the page's policy, resources that failed."""

    forgiven: tuple[str, ...]
    said: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(known in message.text for known in self.forgiven):
            self.said.append(message.text)


@contextmanager
def visiting(browser: Browser, url: str, *forgiven: str, script: str = "", **profile: Any) -> Generator[Page]:
    """A page in a fresh profile. It fails when the browser complained of anything but statuses and `forgiven`.

    `script` runs before the page's own: it can make an older browser of this one.
    """
    complaints = Complaints((_STATUS, *forgiven))
    context: BrowserContext = browser.new_context(**profile)
    context.set_default_timeout(WAIT_MS)
    if script:
        context.add_init_script(script)
    page = context.new_page()
    page.on("console", complaints.hear)
    page.on("pageerror", lambda error: complaints.said.append(str(error)))
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    assert complaints.said == []


@dataclass
class Visit:
    """The page of a service in front of an emulator."""

    page: Page
    url: str
    emulator: str

    def ask(self, text: str) -> None:
        self.page.get_by_label("Your message").fill(text)
        self.page.keyboard.press("Enter")

    def answered(self) -> Locator:
        """The newest answer, when it has ended."""
        expect(self.page.get_by_role("button", name="Send")).to_be_visible()
        return self.newest

    @property
    def newest(self) -> Locator:
        return self.page.locator(".answer").last

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name)

    def streams(self) -> dict[str, list[str]]:
        """Of the emulator: which were opened, finished, left."""
        seen: dict[str, dict[str, list[str]]] = httpx.get(f"{self.emulator}/_seen").json()
        return seen["streams"]


def page_of(settings: Settings, backend: Backend | None = None) -> ASGIApp:
    return create_app(settings.model_copy(update={"chat_page": True}), backend)


@contextmanager
def chatting(browser: Browser, *forgiven: str, pace: float = 0, **profile: Any) -> Generator[Visit]:
    """`pace` in deltas a second; 0: as fast as it goes."""
    with (
        serving(create_emulator(pace=pace)) as emulator,
        serving(page_of(foundry(emulator))) as url,
        visiting(browser, url, *forgiven, **profile) as page,
    ):
        yield Visit(page, url, emulator)
