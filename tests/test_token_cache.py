"""Who we are to Azure: one token for all who ask, kept fresh behind their backs."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Generator
from contextlib import aclosing, contextmanager, suppress

import httpx
import pytest
from azure.core.credentials import AccessTokenInfo
from azure.identity import ManagedIdentityCredential, aio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.app import create_app
from gateway.backends.token_cache import CachedCredential, DevelopmentToken, create_credential, create_token_source
from gateway.errors import GatewayError, UpstreamDenied, UpstreamTimeout
from gateway.telemetry.exporters import _build_credential_option
from tests.support.callers import calling, foundry
from tests.support.managed_identity import identified
from tests.support.ports import free_port
from tests.support.servers import serving

SCOPE = "https://ai.azure.com/.default"
ENDPOINT = "https://x.services.ai.azure.com/api/projects/p"
LOOPBACK = "http://127.0.0.1:9/api/projects/p"


class Source:
    """Gives `token 1`, `token 2`, …, as `lives_s` says; a life of 0 is a refusal, and so is all that comes after."""

    def __init__(self, *lives_s: int) -> None:
        self._lives_s = lives_s
        self.asked = 0
        self._changed = asyncio.Condition()

    async def get_token_info(self, *scopes: str) -> AccessTokenInfo:
        async with self._changed:
            self.asked += 1
            self._changed.notify_all()
        life_s = self._lives_s[self.asked - 1] if self.asked <= len(self._lives_s) else 0
        if not life_s:
            raise ValueError("no token today")
        return AccessTokenInfo(f"token {self.asked}", int(time.time()) + life_s)

    async def was_asked(self, times: int) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.asked >= times)

    async def close(self) -> None: ...


class Silent(Source):
    async def get_token_info(self, *scopes: str) -> AccessTokenInfo:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")


def kept(source: Source) -> CachedCredential:
    """With tokens that live for seconds."""
    return CachedCredential(source, SCOPE, margin_s=0, min_refresh_s=0.01, timeout_s=0.2)


async def token_of(credential: CachedCredential) -> str:
    return (await credential.get_token()).token


def test_the_managed_identity_that_was_set_is_asked_once_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asking() -> set[str]:
        async with aclosing(create_credential(ENDPOINT, "identity-7", SCOPE)) as credential:
            first = await asyncio.gather(*(token_of(credential) for _ in range(20)))
            later = await asyncio.gather(*(token_of(credential) for _ in range(20)))
        return {*first, *later}

    with identified(monkeypatch) as identity:
        assert asyncio.run(asking()) == {"token-of-the-identity"}
    assert identity.asked == [
        {"api-version": "2019-08-01", "resource": "https://ai.azure.com", "client_id": "identity-7"}
    ]


def test_without_a_client_id_the_system_assigned_identity_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asking() -> str:
        async with aclosing(create_credential(ENDPOINT, None, SCOPE)) as credential:
            return await token_of(credential)

    with identified(monkeypatch) as identity:
        assert asyncio.run(asking()) == "token-of-the-identity"
    assert "client_id" not in identity.asked[0]


def test_a_token_is_refreshed_at_half_its_life_though_nobody_asks() -> None:
    async def asking() -> None:
        source = Source(3, 3_600)
        async with aclosing(kept(source)) as credential:
            first = await credential.get_token()
            await source.was_asked(2)
            assert time.time() < first.expires_on
            assert await token_of(credential) == "token 2"
            assert source.asked == 2

    asyncio.run(asking())


def test_a_valid_token_goes_on_while_refreshing_fails_and_is_tried_again() -> None:
    async def asking() -> None:
        source = Source(3, 0, 3_600)
        async with aclosing(kept(source)) as credential:
            first = await credential.get_token()
            await source.was_asked(2)
            assert await credential.get_token() == first
            await source.was_asked(3)
            assert await token_of(credential) == "token 3"

    asyncio.run(asking())


def test_a_token_about_to_expire_is_not_sent() -> None:
    async def asking() -> list[str]:
        async with aclosing(CachedCredential(Source(20, 3_600), SCOPE)) as credential:
            return [await token_of(credential), await token_of(credential)]

    assert asyncio.run(asking()) == ["token 1", "token 2"]


def test_without_a_token_everybody_is_told_and_the_next_one_tries_again() -> None:
    async def asking() -> str:
        source = Source(0, 3_600)
        async with aclosing(CachedCredential(source, SCOPE)) as credential:
            told = await asyncio.gather(*(token_of(credential) for _ in range(5)), return_exceptions=True)
            assert {type(failure) for failure in told} == {UpstreamDenied}
            assert source.asked == 1
            return await token_of(credential)

    assert asyncio.run(asking()) == "token 2"


def test_an_identity_endpoint_that_says_nothing_is_not_waited_for_long() -> None:
    async def asking() -> None:
        async with aclosing(kept(Silent())) as credential:
            await token_of(credential)

    with pytest.raises(UpstreamTimeout):
        asyncio.run(asking())


def test_one_who_gives_up_waiting_does_not_stop_the_others() -> None:
    async def asking() -> str:
        async with aclosing(CachedCredential(Source(3_600), SCOPE)) as credential:
            impatient = asyncio.create_task(token_of(credential))
            patient = asyncio.create_task(token_of(credential))
            await asyncio.sleep(0)
            impatient.cancel()
            return await patient

    assert asyncio.run(asking()) == "token 1"


def test_a_service_that_cannot_sign_in_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with identified(monkeypatch, refuses=400), calling(foundry("http://127.0.0.1:9")) as client:
        answer = client.post("/api/chat", json={"message": "Hi"})
        ready = client.get("/ready")
    for problem, status in ((answer, 502), (ready, 503)):
        told = problem.json()
        assert (problem.status_code, told["code"], told["retryable"]) == (status, "upstream_denied", False)
        assert told["detail"] == (
            "The service could not sign in to Azure: check its managed identity, or run `az login`."
        )


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_identity_endpoint_in_trouble_is_nothing_about_roles(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with identified(monkeypatch, refuses=status), calling(foundry("http://127.0.0.1:9")) as client:
        answer, ready = client.post("/api/chat", json={"message": "Hi"}), client.get("/ready")
    for problem, expected in ((answer, 502), (ready, 503)):
        told = problem.json()
        assert (problem.status_code, told["code"], told["retryable"]) == (expected, "upstream_unavailable", True)
        assert told["detail"] == "The service could not reach its sign-in to Azure. Please try again."


@pytest.mark.parametrize(("status", "times"), [(400, 1), (429, 1), (503, 3)])
def test_an_identity_endpoint_is_asked_again_unless_it_says_no_or_much_later(
    status: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asking() -> None:
        async with aclosing(create_credential(ENDPOINT, None, SCOPE)) as credential:
            await token_of(credential)

    with identified(monkeypatch, refuses=status) as identity, pytest.raises(GatewayError) as failure:
        asyncio.run(asking())
    assert len(identity.asked) == times
    assert failure.value.retry_after_s == (30 if status == 429 else None)


def test_an_identity_endpoint_that_cannot_be_reached_is_nothing_about_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{free_port()}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    with calling(foundry("http://127.0.0.1:9")) as client:
        told = client.post("/api/chat", json={"message": "Hi"}).json()
    assert (told["status"], told["code"], told["retryable"]) == (502, "upstream_unavailable", True)


@contextmanager
def resetting() -> Generator[str]:
    """A server that resets each connection as soon as something was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            with suppress(OSError):  # closed, at the end
                while True:
                    connection, _ = listener.accept()
                    connection.recv(1)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(20)
    assert not thread.is_alive()


def test_an_identity_endpoint_that_resets_connections_is_nothing_about_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    with resetting() as url:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "x")
        with calling(foundry("http://127.0.0.1:9")) as client:
            told = client.post("/api/chat", json={"message": "Hi"}).json()
    assert (told["status"], told["code"], told["retryable"]) == (502, "upstream_unavailable", True)


def test_an_identity_endpoint_that_is_not_up_yet_is_asked_again(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with identified(monkeypatch, refuses=503, times=2) as identity, calling(foundry(emulator)) as client:
        assert client.post("/api/chat", json={"message": "Hi"}).status_code == 200
    assert len(identity.asked) == 3


def test_an_empty_token_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """`access_token: null`, once, and every turn failed until a restart."""
    in_a_day = str(int(time.time()) + 86_400)
    nothing = {"access_token": None, "expires_on": in_a_day, "resource": "https://ai.azure.com"}

    async def asking() -> list[str]:
        async with aclosing(create_credential(ENDPOINT, None, SCOPE)) as credential:
            with pytest.raises(UpstreamDenied):
                await token_of(credential)
            identity.says = {**nothing, "access_token": "a token after all"}
            return [await token_of(credential)]

    with identified(monkeypatch, says=nothing) as identity:
        assert asyncio.run(asking()) == ["a token after all"]


def test_the_secret_of_the_identity_never_goes_to_a_proxy(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """azure-sdk-for-python#35991, azure-sdk-for-net#18967. Neither does a token for an upstream on this machine."""
    at_the_proxy: list[str] = []

    async def proxy(request: Request) -> Response:
        at_the_proxy.append(f"{request.url} {request.headers}")
        return Response("", 502)

    methods = ["GET", "POST"]
    with (
        serving(Starlette(routes=[Route("/{path:path}", proxy, methods=methods)])) as url,
        identified(monkeypatch) as identity,
        monkeypatch.context() as environment,
    ):
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            environment.setenv(name, url)
        for name in ("NO_PROXY", "no_proxy"):
            environment.delenv(name, raising=False)
        assert httpx.get("http://example.invalid/").status_code == 502, "the proxy is there, and who asks it is seen"
        assert at_the_proxy.pop().startswith("http://example.invalid/ ")
        service = create_app(foundry(emulator))
        with serving(service) as service_url, httpx.Client(base_url=service_url, trust_env=False) as client:
            assert client.post("/api/chat", json={"message": "Hi"}).status_code == 200
        telemetry = _build_credential_option("identity-7")["credential"]
        assert isinstance(telemetry, ManagedIdentityCredential)
        assert telemetry.get_token("https://monitor.azure.com/.default").token == "token-of-the-identity"
        telemetry.close()
    assert at_the_proxy == []
    assert [asked["resource"] for asked in identity.asked] == ["https://ai.azure.com", "https://monitor.azure.com"]


class Broken(Source):
    """A bug of the library's own, once."""

    async def get_token_info(self, *scopes: str) -> AccessTokenInfo:
        if self.asked == 1:
            async with self._changed:
                self.asked += 1
            raise RuntimeError("not a kind of failure that anybody knew")
        return await super().get_token_info(*scopes)


def test_nothing_ends_the_refreshing_of_tokens(caplog: pytest.LogCaptureFixture) -> None:
    async def asking() -> None:
        source = Broken(3, 0, 3_600)
        async with aclosing(kept(source)) as credential:
            await credential.get_token()
            await source.was_asked(3)
            assert await token_of(credential) == "token 3"

    asyncio.run(asking())
    (record,) = caplog.records
    assert record.getMessage().startswith("token refresh failed, the cached token stays in use: RuntimeError at ")


@pytest.mark.parametrize("answer", [{"access_token": "x", "expires_on": "soon"}, {"access_token": "x"}, [], 7, None])
def test_an_identity_endpoint_that_talks_nonsense_is_a_failed_sign_in(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asking() -> None:
        async with aclosing(create_credential(ENDPOINT, None, SCOPE)) as credential:
            await token_of(credential)

    with identified(monkeypatch, says=answer), pytest.raises(UpstreamDenied):
        asyncio.run(asking())


@pytest.mark.parametrize("host", ["127.0.0.1:8100", "localhost:8100", "[::1]:8100", "127.8.8.8"])
def test_loopback_without_an_identity_gets_the_development_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    assert isinstance(create_token_source(f"http://{host}/api/projects/p", None), DevelopmentToken)


@pytest.mark.parametrize("endpoint", [LOOPBACK, ENDPOINT])
def test_where_there_is_a_managed_identity_it_is_used(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def source() -> object:
        async with create_token_source(endpoint, None) as chosen:  # type: ignore[attr-defined]
            return chosen

    with identified(monkeypatch):
        assert isinstance(asyncio.run(source()), aio.ManagedIdentityCredential)


@pytest.mark.parametrize("endpoint", [ENDPOINT, "https://localhost:8100/api/projects/p"])
def test_on_a_laptop_the_command_lines_sign_in_is_used(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    chosen = create_token_source(endpoint, None)
    assert isinstance(chosen, aio.ChainedTokenCredential)
    assert [type(one) for one in chosen.credentials] == [aio.AzureCliCredential, aio.AzureDeveloperCliCredential]
