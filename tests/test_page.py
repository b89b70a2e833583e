"""The chat page in a real browser: what a person sees who writes, waits, stops, reloads, looks away."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsers import OLDER_BROWSER, Visit, browsing, chatting


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


def until_left(visit: Visit, streams: int) -> None:
    for _ in range(100):
        if len(visit.streams()["left"]) == streams:
            return
        visit.page.wait_for_timeout(100)
    pytest.fail(f"not left within 10 s: {visit.streams()}")


@pytest.mark.parametrize("script", ["", OLDER_BROWSER], ids=["newest", "older"])
def test_the_first_text_is_visible_while_the_stream_still_runs(browser: Browser, script: str) -> None:
    with chatting(browser, script=script) as visit:
        visit.ask("[stall] Hello!")
        expect(visit.newest.locator(".text")).to_have_text("Hello from")
        expect(visit.button("Stop")).to_be_visible()
        assert visit.streams()["finished"] == []


def test_stop_closes_the_upstream_and_keeps_the_text_and_the_memory(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask("My name is Zoë.")
        visit.answered()
        visit.ask("[stall] Tell me a story.")
        expect(visit.newest).to_contain_text("Hello from")
        visit.button("Stop").click()
        expect(visit.answered()).to_contain_text("Hello from")
        expect(visit.newest.locator(".note")).to_have_text("Stopped.")
        until_left(visit, 1)
        visit.ask("And now?")
        expect(visit.answered()).to_contain_text("Earlier you said: “My name is Zoë.”")


def test_escape_stops_and_the_keyboard_stays_where_one_writes(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask("[stall] Hello!")
        expect(visit.newest).to_contain_text("Hello from")
        visit.page.keyboard.press("Escape")
        expect(visit.answered().locator(".note")).to_have_text("Stopped.")
        expect(visit.page.get_by_label("Your message")).to_be_focused()


def test_enter_sends_shift_enter_begins_a_line_and_blanks_are_not_sent(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask("   ")
        expect(visit.page.locator(".question")).to_have_count(0)
        visit.page.get_by_label("Your message").fill("")
        for key in ("o", "n", "e", "Shift+Enter", "t", "w", "o", "Enter"):
            visit.page.keyboard.press(key)
        expect(visit.page.locator(".question .text")).to_have_text("one\ntwo", use_inner_text=True)
        expect(visit.page.get_by_label("Your message")).to_have_value("")
        visit.answered()


def test_while_an_answer_is_written_enter_keeps_the_draft(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask("[stall] Hello!")
        expect(visit.newest).to_contain_text("Hello from")
        visit.ask("My next question")
        expect(visit.page.get_by_label("Your message")).to_have_value("My next question")
        expect(visit.page.locator(".question")).to_have_count(1)


def test_a_reload_keeps_the_conversation_and_the_next_turn_remembers(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask("My name is Zoë.")
        before = visit.answered().inner_html()
        visit.page.reload()
        expect(visit.page.locator(".question")).to_have_text(re.compile("My name is Zoë."))
        assert visit.newest.inner_html() == before
        visit.ask("What is my name?")
        expect(visit.answered()).to_contain_text("This is turn 2 of our conversation.")
        expect(visit.newest).to_contain_text("Earlier you said: “My name is Zoë.”")


def test_a_reload_in_mid_stream_keeps_what_had_come(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask("My name is Zoë.")
        visit.answered()
        visit.ask("[stall] Tell me a story.")
        expect(visit.newest).to_contain_text("Hello from")
        visit.page.reload()
        expect(visit.newest.locator(".text")).to_have_text("Hello from")
        expect(visit.newest.locator(".note")).to_have_text("The page was left before the end of this answer.")
        until_left(visit, 1)
        visit.ask("And now?")
        expect(visit.answered()).to_contain_text("Earlier you said: “My name is Zoë.”")


def test_a_new_chat_ends_the_old_stream_and_forgets(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask("[stall] My name is Zoë.")
        expect(visit.newest).to_contain_text("Hello from")
        visit.button("New chat").click()
        expect(visit.page.get_by_text("What would you like to know?")).to_be_visible()
        expect(visit.page.get_by_label("Your message")).to_be_focused()
        until_left(visit, 1)
        visit.ask("Who am I?")
        expect(visit.answered()).to_contain_text("This is turn 1 of our conversation.")
        expect(visit.page.locator(".answer")).to_have_count(1)
        visit.page.reload()
        expect(visit.page.locator(".question")).to_have_count(1)


def scrolled(page: Page) -> int:
    return int(page.locator("#log").evaluate("log => log.scrollTop"))


def from_the_end(page: Page) -> int:
    log = page.locator("#log")
    return int(log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight"))


def until_text_has(page: Page, word: str) -> None:
    expect(page.locator(".answer .text")).to_contain_text(word)


def test_the_page_follows_the_text_only_while_the_reader_is_at_the_bottom(browser: Browser) -> None:
    with chatting(browser, pace=200, viewport={"width": 600, "height": 400}) as visit:
        page = visit.page
        visit.ask("[long:700] Go on.")
        until_text_has(page, "word250 ")
        assert from_the_end(page) < 48
        page.locator("#log").hover()
        page.mouse.wheel(0, -300)
        expect(visit.button("Latest text")).to_be_visible()
        place = scrolled(page)
        until_text_has(page, "word450 ")
        assert scrolled(page) == place
        visit.button("Latest text").click()
        expect(visit.button("Latest text")).to_be_hidden()
        until_text_has(page, "word699")
        visit.answered()
        assert from_the_end(page) < 48


def test_screen_readers_are_told_finished_texts_and_not_each_delta(browser: Browser) -> None:
    with chatting(browser) as visit:
        status = visit.page.get_by_role("status")
        visit.ask("[stall] Hello!")
        expect(visit.newest).to_contain_text("Hello from")
        expect(visit.newest).to_have_attribute("aria-busy", "true")
        expect(status).to_have_text("The answer is being written.")
        assert visit.page.locator(".answer [aria-live], .answer[aria-live], [role=log]").count() == 0
        visit.button("Stop").click()
        expect(status).to_have_text("Hello from")
        expect(visit.newest).not_to_have_attribute("aria-busy", "true")


def test_code_is_copied_whole(browser: Browser) -> None:
    with chatting(browser, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.ask("Hello!")
        visit.answered().get_by_role("button", name="Copy").click()
        expect(visit.button("Copied")).to_be_visible()
        copied = visit.page.evaluate("navigator.clipboard.readText()")
        assert copied == 'def greet(name: str) -> str:\n    return f"Hello, {name}!"'
        expect(visit.button("Copy")).to_be_visible()


def test_without_a_clipboard_the_code_is_selected(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject(new Error()))")
        visit.ask("Hello!")
        visit.answered().get_by_role("button", name="Copy").click()
        expect(visit.button("Selected")).to_be_visible()
        assert visit.page.evaluate("getSelection().toString()").startswith("def greet")
