"""`/docs`: off unless it is wanted; where it is on, nothing on it is from elsewhere, and only one script is inline."""

import base64
import hashlib
import re
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from gateway.app import create_app
from tests.support.browsers import browsing, visiting
from tests.support.callers import calling, foundry, unread
from tests.support.environment import ROOT
from tests.support.servers import serving
from tests.test_request_body import refused

VENDOR = ROOT / "gateway" / "web" / "swagger_ui"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


@pytest.mark.parametrize("settings", [{}, {"docs": False}])
def test_the_docs_are_off_unless_they_are_wanted(settings: dict[str, bool]) -> None:
    with calling(unread(**settings)) as client:
        for path in ("/docs", "/docs/", "/docs/swagger-ui-bundle.js", "/redoc", "/openapi.json"):
            assert refused(client.get(path)) == (404, "not_found")
        assert client.get("/health").status_code == 200


def test_the_page_comes_with_a_policy_that_names_what_it_loads() -> None:
    with calling(unread(docs=True)) as client:
        page = client.get("/docs")
        inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline]
        assert len(hashes) == 1
        assert page.headers["content-security-policy"].split("; ") == [
            "default-src 'none'",
            f"script-src 'self' 'sha256-{hashes[0]}'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
        assert "//" not in re.sub(r"<!--.*?-->|^\s*//.*$", "", page.text, flags=re.DOTALL | re.MULTILINE)
        loaded = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)
        assert len(loaded) == 2
        for address in loaded:
            file = client.get(urljoin("/docs", address))
            assert file.content == (VENDOR / address.rpartition("/")[2]).read_bytes()
            again = client.get(urljoin("/docs", address), headers={"if-none-match": file.headers["etag"]})
            assert again.status_code == 304


def test_what_one_origin_is_allowed_is_not_told_to_another() -> None:
    with calling(unread(docs=True, allowed_origins="https://a.example")) as client:
        allowed = client.get("/docs", headers={"origin": "https://a.example"}).headers
        assert allowed["access-control-allow-origin"] == "https://a.example"
        assert "access-control-allow-origin" not in client.get("/docs").headers


def test_nothing_else_of_the_disk_is_served() -> None:
    with calling(unread(docs=True)) as client:
        for path in ("/docs/", "/docs/README.md", "/docs/..%2fapi_docs.py", "/docs/../api_docs.py", "/redoc"):
            assert refused(client.get(path)) == (404, "not_found")


def test_other_peoples_code_is_as_it_was_published() -> None:
    rows = re.findall(r"\| `(\S+)` \|.*`([0-9a-f]{64})`", (VENDOR / "README.md").read_text())
    files = [file for file in VENDOR.iterdir() if file.suffix in (".js", ".css")]
    assert dict(rows) == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert (VENDOR / "LICENSE").stat().st_size > 10_000


def test_a_person_reads_what_there_is_and_tries_it_and_nothing_comes_from_elsewhere(
    browser: Browser, emulator: str
) -> None:
    """A violation of the page's policy fails `visiting`."""
    asked: set[str] = set()
    with serving(create_app(foundry(emulator, docs=True))) as url, visiting(browser, "about:blank") as page:
        page.on("request", lambda request: asked.add(urlsplit(request.url)._replace(path="").geturl()))
        page.goto(f"{url}/docs")
        for path in ("/api/chat", "/api/v1/chat/stream", "/api/chat/cancel", "/health", "/ready"):
            expect(page.locator(".opblock-summary-path", has_text=re.compile(f"^{path}$"))).to_be_visible()
        page.locator("#operations-default-chat_api_chat_post, .opblock-post").first.locator(".opblock-summary").click()
        page.get_by_role("button", name="Try it out").click()
        page.locator("textarea").fill('{"message": "[echo] hello from the docs"}')
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".live-responses-table")).to_contain_text('"full_response": "hello from the docs"')
    assert {address for address in asked if not address.startswith("data:")} == {url}
