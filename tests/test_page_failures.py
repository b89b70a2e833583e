"""What the chat page shows when something goes wrong, and what a person can do then."""

from collections.abc import AsyncGenerator, Iterator

import pytest
from playwright.sync_api import Browser, expect

from gateway.backends.base import Backend
from gateway.errors import UpstreamUnavailable
from gateway.events import BackendEvent, RunCompleted, RunStarted, TextDelta, Thread, ThreadId, Turn
from tests.support.browsers import Visit, browsing, chatting, page_of, visiting
from tests.support.callers import unread
from tests.support.servers import serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


class Failing(Backend):
    """Breaks off in the first two turns: before any text, then after some. The third succeeds."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    async def answer(self, turn: Turn) -> AsyncGenerator[list[BackendEvent]]:
        self.turns.append(turn)
        yield [RunStarted(Thread(ThreadId(f"thread-{len(self.turns)}")), "run")]
        if len(self.turns) > 1:
            yield [TextDelta("Half an answer")]
        if len(self.turns) < 3:
            raise UpstreamUnavailable("as told")
        yield [RunCompleted("stop", None)]

    async def check(self) -> None: ...
    async def warm(self) -> None: ...
    async def aclose(self) -> None: ...


def test_an_error_in_mid_stream_keeps_the_text_and_shows_words_and_request_id(browser: Browser) -> None:
    with chatting(browser) as visit:
        with visit.page.expect_response("**/api/chat") as answer:
            visit.ask("[fail] Hello!")
        failed = visit.answered()
        expect(failed.locator(".text")).to_have_text("Hello from")
        alert = failed.get_by_role("alert")
        expect(alert).to_contain_text("The agent could not finish its answer. Please try again.")
        expect(alert).to_contain_text(f"Request id: {answer.value.headers['x-request-id']}")
        expect(visit.button("Try again")).to_be_enabled()


def test_the_way_to_another_try_opens_after_its_wait(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.page.clock.install()
        visit.ask("[429:30] Hello!")
        alert = visit.answered().get_by_role("alert")
        expect(alert).to_contain_text("The model's quota is used up for the moment.")
        expect(visit.button("Try again in 30 s")).to_be_disabled()
        visit.page.clock.fast_forward(10_000)
        expect(visit.button("Try again in 20 s")).to_be_disabled()
        visit.page.clock.fast_forward(20_000)
        expect(visit.page.get_by_role("button", name="Try again", exact=True)).to_be_enabled()


def test_trying_again_sends_the_same_message_to_the_thread_that_was_good(browser: Browser) -> None:
    backend = Failing()
    with serving(page_of(unread(), backend)) as url, visiting(browser, url) as page:
        visit = Visit(page, url, "")
        visit.ask("Hello!")
        visit.answered()
        visit.button("Try again").click()
        expect(visit.newest.locator(".text")).to_have_text("Half an answer")
        expect(page.locator(".answer")).to_have_count(1)  # the first had no word to keep
        expect(visit.answered().get_by_role("alert")).to_be_visible()
        visit.button("Try again").click()
        expect(page.locator(".answer")).to_have_count(2)
        visit.answered()
        expect(visit.newest.get_by_role("alert")).to_have_count(0)
        expect(visit.button("Try again")).to_have_count(0)
        expect(page.locator(".question")).to_have_count(1)
        assert [turn.message for turn in backend.turns] == ["Hello!"] * 3
        assert [turn.thread_id for turn in backend.turns] == [None] * 3
        visit.ask("More")
        visit.answered()
        assert backend.turns[-1].thread_id == "thread-3"


def test_a_failed_turn_can_be_tried_again_after_a_reload(browser: Browser) -> None:
    backend = Failing()
    with serving(page_of(unread(), backend)) as url, visiting(browser, url) as page:
        visit = Visit(page, url, "")
        visit.ask("Hello!")
        visit.answered()
        page.reload()
        visit.button("Try again").click()
        expect(visit.newest.locator(".text")).to_have_text("Half an answer")


def test_what_cannot_be_tried_again_offers_no_button(browser: Browser) -> None:
    with chatting(browser) as visit:
        visit.ask("[filter] Hello!")
        alert = visit.answered().get_by_role("alert")
        expect(alert).to_contain_text("The content filter refused this message. Please put it differently.")
        expect(visit.page.locator(".actions")).to_have_count(0)


def test_a_conversation_that_is_gone_offers_a_new_chat(browser: Browser) -> None:
    with chatting(browser) as visit:
        gone = {"threadId": "conv_gone", "messages": [{"role": "user", "text": "Hello!"}]}
        visit.page.goto(f"{visit.url}/health")  # the chat page would save its own when it is left
        visit.page.evaluate("gone => sessionStorage.setItem('chat-api.conversation', JSON.stringify(gone))", gone)
        visit.page.goto(visit.url)
        expect(visit.page.locator(".question")).to_have_count(1)
        visit.ask("Are you there?")
        expect(visit.answered().get_by_role("alert")).to_contain_text("This conversation does not exist.")
        visit.button("Start a new chat").click()
        expect(visit.page.locator(".question")).to_have_count(0)
        visit.ask("Hello!")
        expect(visit.answered()).to_contain_text("This is turn 1 of our conversation.")


def test_a_service_that_is_gone_is_said_and_can_be_tried_again(browser: Browser) -> None:
    with chatting(browser, "net::ERR_FAILED") as visit:
        visit.page.route("**/api/chat", lambda route: route.abort())
        visit.ask("Hello!")
        expect(visit.answered().get_by_role("alert")).to_contain_text("The chat service could not be reached.")
        visit.page.unroute("**/api/chat")
        visit.button("Try again").click()
        expect(visit.answered()).to_contain_text("Hello from the emulator")


@pytest.mark.parametrize(
    ("order", "note"),
    [
        ("[length]", "The answer reached its greatest length and ends here."),
        ("[filtered answer]", "The content filter ended this answer here."),
    ],
)
def test_an_answer_that_ends_early_says_so(browser: Browser, order: str, note: str) -> None:
    with chatting(browser) as visit:
        visit.ask(f"{order} Hello!")
        expect(visit.answered().locator(".text")).to_have_text("Hello from")
        expect(visit.newest.locator(".note")).to_have_text(note)
