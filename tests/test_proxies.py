"""What goes through the proxy that the environment names, and what never does."""

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from gateway.access.identity.jwks import SigningKeys
from gateway.backends.http_client import UpstreamClient
from gateway.backends.upstream_auth import ApiKeyAuth
from gateway.errors import NotConfigured, UpstreamUnavailable
from gateway.proxies import allows_proxy
from tests.support.callers import events_of, text_of
from tests.support.connect_proxy import connect_proxy, make_certificate, server_context
from tests.support.entra_tenant import TENANT, a_tenant
from tests.support.managed_identity import identified
from tests.support.processes import environment, running, uvicorn
from tests.support.raw_socket_upstream import Wire

HOST = "x.services.ai.azure.com"


async def say_hello(wire: Wire, _: str) -> None:
    await wire.head()
    await wire.send(wire.wire_format.started, wire.wire_format.delta("Hello"), wire.wire_format.finished)
    await wire.end()


def proxied(proxy: str, **settings: str) -> dict[str, str]:
    """The environment of a service that has to use this proxy."""
    env = environment(f"https://{HOST}", HTTPS_PROXY=proxy, https_proxy=proxy, HTTP_PROXY=proxy, **settings)
    return {name: value for name, value in env.items() if name.lower() != "no_proxy"}


def identity_settings() -> dict[str, str]:
    return {name: os.environ[name] for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER")}


def test_a_turn_goes_through_the_proxys_tunnel_and_the_token_only_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, HOST)
    with (
        connect_proxy(say_hello, server_context(certificate)) as proxy,
        identified(monkeypatch) as identity,
        running(uvicorn(), proxied(proxy.url, SSL_CERT_FILE=str(certificate), **identity_settings())) as service,
    ):
        answer = httpx.post(f"{service.url}/api/chat", json={"message": "hi"}, timeout=20)
    assert text_of(events_of(answer.text)) == "Hello"
    assert proxy.upstream.said == ["hi"]
    assert {head.split("\r\n")[0] for head in proxy.heads} == {f"CONNECT {HOST}:443 HTTP/1.1"}
    assert "authorization" not in "".join(proxy.heads).lower()
    assert len(identity.asked) == 1


def test_nothing_is_said_to_an_upstream_whose_certificate_nobody_vouches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        connect_proxy(say_hello, server_context(make_certificate(tmp_path, HOST))) as proxy,
        identified(monkeypatch),
        running(uvicorn(), proxied(proxy.url, **identity_settings())) as service,
    ):
        answer = httpx.post(f"{service.url}/api/chat", json={"message": "hi"}, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unavailable")
    assert proxy.heads, "it was asked for a tunnel"
    assert proxy.upstream.said == []


def test_signing_keys_come_through_the_proxy_but_for_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(url: str) -> object:
        keys = SigningKeys(url)
        try:
            return await keys.find_key("kid-1")
        finally:
            await keys.aclose()

    with connect_proxy(say_hello) as proxy, a_tenant() as tenant, monkeypatch.context() as env:
        for name in ("HTTP_PROXY", "http_proxy"):
            env.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            env.delenv(name, raising=False)
        assert asyncio.run(find(f"{tenant.url}/{TENANT}/discovery/v2.0/keys")) is not None
        assert proxy.heads == []
        with pytest.raises(UpstreamUnavailable):
            asyncio.run(find("http://keys.invalid/keys"))
    assert [head.split("\r\n")[0] for head in proxy.heads] == ["GET http://keys.invalid/keys HTTP/1.1"]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        (f"https://{HOST}/api/projects/p", True),
        ("https://10.0.0.4", True),
        ("https://169.253.255.255", True),
        ("https://[fec0::1]", True),
        ("http://127.0.0.1:8100", False),
        ("https://localhost", False),
        ("https://[::1]", False),
        ("https://169.254.169.254/metadata", False),
        ("https://[fe80::1]", False),
        ("https://[fe80::1%25eth0]", False),
        ("https://[febf::1]", False),
        ("https://[::ffff:169.254.1.1]", False),
    ],
)
def test_no_proxy_sees_a_request_to_this_machine_or_its_link(
    url: str, *, allowed: bool, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert not allows_proxy(url)
    monkeypatch.setenv(variable, "http://proxy:3128")
    assert allows_proxy(url) is allowed


@pytest.mark.parametrize("url", ["http://x.services.ai.azure.com", "HTTP://10.0.0.4", "http://169.254.1.1"])
def test_neither_a_token_nor_a_key_goes_over_plain_http_to_another_machine(url: str) -> None:
    async def create() -> None:
        UpstreamClient(url, ApiKeyAuth("key"), 5)

    with pytest.raises(NotConfigured) as refused:
        asyncio.run(create())
    assert refused.value.public_message == "The upstream's endpoint must be https (http is for this machine alone)."
