"""Who we are to Azure: one token for all who ask, kept fresh behind their backs."""

import asyncio
import time

import pytest
from azure.core.credentials import AccessTokenInfo, TokenRequestOptions
from azure.identity import aio

from gateway.credential import DevelopmentToken, KeptCredential, credential_for, source_for
from gateway.errors import UpstreamDenied, UpstreamTimeout
from tests.callers import calling, foundry
from tests.identity import identified

SCOPE = "https://ai.azure.com/.default"
ENDPOINT = "https://x.services.ai.azure.com/api/projects/p"
LOOPBACK = "http://127.0.0.1:9/api/projects/p"


class Source:
    """Gives `token 1`, `token 2`, …, as `lives_s` says; a life of 0 is a refusal, and so is all that comes after."""

    def __init__(self, *lives_s: int) -> None:
        self._lives_s = lives_s
        self.asked = 0
        self._changed = asyncio.Condition()

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
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
    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")


def kept(source: Source) -> KeptCredential:
    """With tokens that live for seconds."""
    return KeptCredential(source, margin_s=0, min_refresh_s=0.01, patience_s=0.2)


async def token_of(credential: KeptCredential) -> str:
    return (await credential.get_token_info(SCOPE)).token


def test_the_managed_identity_that_was_set_is_asked_once_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asking() -> set[str]:
        async with credential_for(ENDPOINT, "identity-7") as credential:
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
        async with credential_for(ENDPOINT, None) as credential:
            return await token_of(credential)

    with identified(monkeypatch) as identity:
        assert asyncio.run(asking()) == "token-of-the-identity"
    assert "client_id" not in identity.asked[0]


def test_the_older_form_gives_the_same_token() -> None:
    async def asking() -> tuple[str, int]:
        source = Source(3_600)
        async with KeptCredential(source) as credential:
            old, new = await credential.get_token(SCOPE), await credential.get_token_info(SCOPE)
            assert (old.token, old.expires_on) == (new.token, new.expires_on)
        return old.token, source.asked

    assert asyncio.run(asking()) == ("token 1", 1)


def test_each_scope_has_its_own_token() -> None:
    async def asking() -> list[str]:
        async with KeptCredential(Source(3_600, 3_600)) as credential:
            return [(await credential.get_token_info(scope)).token for scope in ("a", "b", "a")]

    assert asyncio.run(asking()) == ["token 1", "token 2", "token 1"]


def test_a_token_is_refreshed_at_half_its_life_though_nobody_asks() -> None:
    async def asking() -> None:
        source = Source(3, 3_600)
        async with kept(source) as credential:
            first = await credential.get_token_info(SCOPE)
            await source.was_asked(2)
            assert time.time() < first.expires_on
            assert await token_of(credential) == "token 2"
            assert source.asked == 2

    asyncio.run(asking())


def test_a_valid_token_goes_on_while_refreshing_fails_and_is_tried_again() -> None:
    async def asking() -> None:
        source = Source(3, 0, 3_600)
        async with kept(source) as credential:
            first = await credential.get_token_info(SCOPE)
            await source.was_asked(2)
            assert await credential.get_token_info(SCOPE) == first
            await source.was_asked(3)
            assert await token_of(credential) == "token 3"

    asyncio.run(asking())


def test_a_token_about_to_expire_is_not_sent() -> None:
    async def asking() -> list[str]:
        async with KeptCredential(Source(20, 3_600)) as credential:
            return [await token_of(credential), await token_of(credential)]

    assert asyncio.run(asking()) == ["token 1", "token 2"]


def test_without_a_token_everybody_is_told_and_the_next_one_tries_again() -> None:
    async def asking() -> str:
        source = Source(0, 3_600)
        async with KeptCredential(source) as credential:
            told = await asyncio.gather(*(token_of(credential) for _ in range(5)), return_exceptions=True)
            assert {type(failure) for failure in told} == {UpstreamDenied}
            assert source.asked == 1
            return await token_of(credential)

    assert asyncio.run(asking()) == "token 2"


def test_an_identity_endpoint_that_says_nothing_is_not_waited_for_long() -> None:
    async def asking() -> None:
        async with kept(Silent()) as credential:
            await token_of(credential)

    with pytest.raises(UpstreamTimeout):
        asyncio.run(asking())


def test_one_who_gives_up_waiting_does_not_stop_the_others() -> None:
    async def asking() -> str:
        async with KeptCredential(Source(3_600)) as credential:
            impatient = asyncio.create_task(token_of(credential))
            patient = asyncio.create_task(token_of(credential))
            await asyncio.sleep(0)
            impatient.cancel()
            return await patient

    assert asyncio.run(asking()) == "token 1"


def test_a_service_that_cannot_sign_in_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with identified(monkeypatch, refuses=True), calling(foundry("http://127.0.0.1:9")) as client:
        answer = client.post("/api/chat", json={"message": "Hi"})
        ready = client.get("/ready")
    for problem, status in ((answer, 502), (ready, 503)):
        told = problem.json()
        assert (problem.status_code, told["code"], told["retryable"]) == (status, "upstream_denied", False)
        assert told["detail"] == (
            "The service could not sign in to Azure: check its managed identity, or run `az login`."
        )


@pytest.mark.parametrize("answer", [{"access_token": "x", "expires_on": "soon"}, {"access_token": "x"}, [], 7, None])
def test_an_identity_endpoint_that_talks_nonsense_is_a_failed_sign_in(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asking() -> None:
        async with credential_for(ENDPOINT, None) as credential:
            await token_of(credential)

    with identified(monkeypatch, says=answer), pytest.raises(UpstreamDenied):
        asyncio.run(asking())


@pytest.mark.parametrize("host", ["127.0.0.1:8100", "localhost:8100", "[::1]:8100", "127.8.8.8"])
def test_loopback_without_an_identity_gets_the_development_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    assert isinstance(source_for(f"http://{host}/api/projects/p", None), DevelopmentToken)


@pytest.mark.parametrize("endpoint", [LOOPBACK, ENDPOINT])
def test_where_there_is_a_managed_identity_it_is_used(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def source() -> object:
        async with source_for(endpoint, None) as chosen:  # type: ignore[attr-defined]
            return chosen

    with identified(monkeypatch):
        assert isinstance(asyncio.run(source()), aio.ManagedIdentityCredential)


@pytest.mark.parametrize("endpoint", [ENDPOINT, "https://localhost:8100/api/projects/p"])
def test_on_a_laptop_the_command_lines_sign_in_is_used(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    chosen = source_for(endpoint, None)
    assert isinstance(chosen, aio.ChainedTokenCredential)
    assert [type(one) for one in chosen.credentials] == [aio.AzureCliCredential, aio.AzureDeveloperCliCredential]
