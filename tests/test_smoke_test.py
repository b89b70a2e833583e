"""Does a deployment end in a streamed answer, or in the reason why not? infra/hooks/smoke_test.py as azd runs it."""

import json
import subprocess
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from emulator.app import create_app as create_emulator
from gateway.app import create_app
from tests.support.azd_hooks import Azd, run_hook
from tests.support.callers import foundry
from tests.support.servers import serving

DENIED = {"error": {"code": "PermissionDenied", "message": "The principal lacks the required data action"}}


def smoke_test(url: str, wait_s: float, auth: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"AZURE_CHAT_API_URI": url, "SMOKE_WAIT_S": str(wait_s), "AUTH": auth}
    return run_hook("smoke_test.py", None, **environment)


class RoleOnItsWay:
    """An upstream that refuses the first `denied` requests, as Azure does until a role has arrived everywhere."""

    def __init__(self, upstream: ASGIApp, denied: int) -> None:
        self._upstream = upstream
        self._denied = denied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._upstream
        if scope["type"] == "http" and self._denied:
            self._denied -= 1
            app = JSONResponse(DENIED, 401)
        await app(scope, receive, send)


def service(ready: Response, turn: Response) -> Starlette:
    async def answer_ready(_: Request) -> Response:
        return ready

    async def answer_turn(_: Request) -> Response:
        return turn

    return Starlette(routes=[Route("/ready", answer_ready), Route("/api/chat", answer_turn, methods=["POST"])])


def stream(*events: dict[str, object]) -> Response:
    frames = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return StreamingResponse(iter([frames.encode()]), media_type="text/event-stream")


def test_running_service_passes_with_its_first_words(emulator: str) -> None:
    with serving(create_app(foundry(emulator))) as url:
        done = smoke_test(url, 10)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("smoke test: first chunk after ")
    assert ' s: "' in done.stdout


@pytest.mark.slow
def test_role_on_its_way_is_waited_for_by_name() -> None:
    upstream = RoleOnItsWay(create_emulator(pace=0), denied=3)
    with serving(upstream) as upstream_url, serving(create_app(foundry(upstream_url))) as url:
        done = smoke_test(url, 40)
    assert done.returncode == 0, done.stderr
    waiting, passed = done.stdout.splitlines()
    assert waiting.startswith("smoke test: waiting, up to 40 s, for upstream_denied: The service is not allowed")
    assert passed.startswith("smoke test: first chunk after ")


def test_role_that_never_comes_fails_with_reason_and_next_step() -> None:
    upstream = RoleOnItsWay(create_emulator(pace=0), denied=1_000)
    with serving(upstream) as upstream_url, serving(create_app(foundry(upstream_url))) as url:
        done = smoke_test(url, 1)
    assert done.returncode == 1
    assert "does not answer: upstream_denied: " in done.stderr
    assert "Next: roles take minutes" in done.stderr


def test_address_where_nothing_answers_fails() -> None:
    done = smoke_test("http://127.0.0.1:9", 1)
    assert done.returncode == 1
    assert "unreachable: " in done.stderr
    assert "Next: `az containerapp logs show" in done.stderr


def test_ingress_without_an_app_behind_it_is_waited_for() -> None:
    with serving(service(PlainTextResponse("<html>", 404), Response())) as url:
        done = smoke_test(url, 1)
    assert done.stdout.startswith("smoke test: waiting, up to 1 s, for 404: Not Found")
    assert done.returncode == 1


def test_answer_that_fails_for_good_is_not_waited_for() -> None:
    problem = {"type": "error", "error": "It does not exist.", "code": "agent_not_found", "retryable": False}
    with serving(service(JSONResponse({}), stream({"type": "metadata"}, problem))) as url:
        done = smoke_test(url, 50)
    assert (done.returncode, done.stdout) == (1, "")
    assert "agent_not_found: It does not exist.\nNext: `azd hooks run postprovision`" in done.stderr


def test_stream_that_ends_without_words_fails() -> None:
    with serving(service(JSONResponse({}), stream({"type": "metadata"}, {"type": "done"}))) as url:
        done = smoke_test(url, 1)
    assert done.returncode == 1
    assert "no_answer" in done.stderr


def test_a_closed_service_passes_and_one_that_should_be_closed_does_not(emulator: str) -> None:
    key = {"auth": "key", "api_keys": "ann:" + "0" * 64, "conversation_keys": "x" * 32}
    with serving(create_app(foundry(emulator, **key))) as url:
        closed = smoke_test(url, 20, auth="key")
    assert closed.returncode == 0, closed.stderr
    assert "answers nobody whom it does not know" in closed.stdout
    with serving(create_app(foundry(emulator))) as url:
        opened = smoke_test(url, 0.2, auth="key")
    assert opened.returncode == 1
    assert "AUTH is on, but a stranger is let in\nNext: the running service does not do what AUTH says" in opened.stderr


def test_a_service_that_believes_forged_sign_in_headers_is_not_closed(emulator: str) -> None:
    """AUTH=easyauth without Container Apps' sign-in in front: a stranger without headers is refused all the same."""
    with serving(create_app(foundry(emulator, auth="easyauth", conversation_keys="x" * 32))) as url:
        done = smoke_test(url, 0.2, auth="easyauth")
    assert done.returncode == 1
    assert "AUTH is on, but a stranger with forged sign-in headers is let in" in done.stderr


def test_forged_headers_are_looked_at_before_roles_have_arrived() -> None:
    """A turn of theirs would fail for the role, and the hole would be told as a role on its way."""
    upstream = RoleOnItsWay(create_emulator(pace=0), denied=1_000)
    with serving(upstream) as upstream_url:
        service = create_app(foundry(upstream_url, auth="easyauth", conversation_keys="x" * 32))
        with serving(service) as url:
            done = smoke_test(url, 0.2, auth="easyauth")
    assert "a stranger with forged sign-in headers is let in" in done.stderr


def test_allow_open_is_emptied_after_the_deployment(emulator: str, tmp_path: Path) -> None:
    azd = Azd(tmp_path)
    with serving(create_app(foundry(emulator))) as url:
        assert run_hook("smoke_test.py", azd, AZURE_CHAT_API_URI=url).returncode == 0
        assert azd.commands() == []
        assert run_hook("smoke_test.py", azd, AZURE_CHAT_API_URI=url, ALLOW_OPEN="true").returncode == 0
    assert azd.commands() == ["env set ALLOW_OPEN="]


def test_missing_address_says_where_it_comes_from() -> None:
    done = smoke_test("", 1)
    assert done.returncode == 1
    assert done.stderr.startswith("smoke test: no address. Next: `azd provision`")
