"""What the page's addresses answer, without a browser: types, policy, caching, other people's code as published."""

import gzip
import hashlib
import re
from pathlib import Path

import httpx
import pytest

from tests.support.browsers import page_of
from tests.support.callers import calling, calling_app, unread

PAGE = Path(__file__).parent.parent / "gateway" / "page"
ASSETS = sorted(
    str(file.relative_to(PAGE))
    for file in PAGE.rglob("*")
    if file.suffix in (".js", ".css", ".svg", ".ts") and not file.name.startswith("chat-client")
)


def get(path: str, **headers: str) -> httpx.Response:
    with calling_app(page_of(unread())) as client:
        return client.get(path, headers=headers)


def test_the_page_comes_with_a_policy_that_lets_no_word_of_an_agent_run_or_load() -> None:
    answer = get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    ]
    assert "https://" not in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", answer.text)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/chat-client.js", "text/javascript; charset=utf-8"),
        ("/chat-client.d.ts", "text/plain; charset=utf-8"),
        ("/page/chat.css", "text/css; charset=utf-8"),
        ("/page/vendor/purify.min.js", "text/javascript; charset=utf-8"),
    ],
)
def test_a_file_says_what_it_is(path: str, kind: str) -> None:
    answer = get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == (PAGE / path.removeprefix("/page").removeprefix("/")).read_bytes()


def test_every_file_of_the_page_is_served_and_none_else() -> None:
    with calling_app(page_of(unread())) as client:
        assert {name: client.get(f"/page/{name}").status_code for name in ASSETS} == dict.fromkeys(ASSETS, 200)
        for path in ("/page/", "/page/index.html", "/page/__init__.py", "/page/vendor/README.md", "/page/..%2fapp.py"):
            assert client.get(path).status_code == 404


def test_what_the_browser_has_is_not_sent_again() -> None:
    first = get("/chat-client.js")
    assert first.headers["cache-control"] == "no-cache"
    again = get("/chat-client.js", **{"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])


def test_other_peoples_code_is_as_it_was_published() -> None:
    rows = re.findall(r"\| `(\S+)` \|.*`([0-9a-f]{64})`", (PAGE / "vendor" / "README.md").read_text())
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (PAGE / "vendor").glob("*.js")}
    assert dict(rows) == sums
    for licence in ("marked.LICENSE", "purify.LICENSE"):
        assert (PAGE / "vendor" / licence).stat().st_size > 1_000


def test_the_page_is_small() -> None:
    sizes = [
        len(gzip.compress(file.read_bytes())) for file in PAGE.rglob("*") if file.suffix in (".js", ".css", ".html")
    ]
    assert sum(sizes) < 60_000


def test_without_the_setting_there_is_no_page() -> None:
    with calling(unread()) as client:
        for path in ("/", "/chat-client.js", "/page/chat.js"):
            assert client.get(path).json()["code"] == "not_found"
