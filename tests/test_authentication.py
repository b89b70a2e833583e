"""Who may talk (AUTH), and in which conversation: each mode, each wrong identity, each wrong thread."""

import hashlib
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import httpx
import pytest

from gateway.access.identity import jwks
from gateway.access.identity.entra import Entra
from gateway.app import create_app
from gateway.settings import Settings
from tests.support.callers import calling_app, foundry
from tests.support.entra_tenant import AUDIENCE, OTHER_TENANT, TENANT, Tenant, a_tenant, strangers_key
from tests.support.waiting import eventually
from tests.test_request_body import refused

SIGNING = "a-secret-of-at-least-thirty-two-bytes"
KEYS = {"ann": "key-of-ann", "ben": "key-of-ben"}
DIGESTS = ",".join(f"{name}:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in KEYS.items())
TENANTS = {"auth": "entra", "auth_tenant_id": TENANT, "auth_audience": AUDIENCE, "conversation_keys": SIGNING}
ENTRA = {**TENANTS, "auth_role": "*"}
KEY = {"auth": "key", "api_keys": DIGESTS, "conversation_keys": SIGNING}
EASY = {"auth": "easyauth", "conversation_keys": SIGNING}

Headers = dict[str, str]


@contextmanager
def with_entra(tenant: Tenant, settings: Settings) -> Generator[httpx.Client]:
    with calling_app(create_app(settings, identity=Entra(settings, tenant.url))) as client:
        yield client


def bearer(token: str) -> Headers:
    return {"authorization": f"Bearer {token}"}


def ask(client: httpx.Client, headers: Headers | list[tuple[str, str]], **more: object) -> httpx.Response:
    return client.post("/api/chat", json={"message": "[echo] hi", "stream": False, **more}, headers=headers)


WRONG_TOKENS: dict[str, Callable[[Tenant], str]] = {
    "expired": lambda t: t.token(exp=int(time.time()) - 90),
    "not yet": lambda t: t.token(nbf=int(time.time()) + 120),
    "without expiry": lambda t: t.token(exp=None),
    "other tenant": lambda t: t.token(iss=f"{t.url}/{OTHER_TENANT}/v2.0"),
    "other tenant, v1": lambda t: t.token(iss=f"https://sts.windows.net/{OTHER_TENANT}/", azp=None, appid="client-1"),
    "no issuer": lambda t: t.token(iss=None),
    "other audience": lambda t: t.token(aud="api://other"),
    "no audience": lambda t: t.token(aud=None),
    "nobody's": lambda t: t.token(oid=None),
    "an ID token": lambda t: t.token(azp=None, nonce="n", preferred_username="ann@example.com"),
    "an ID token with a role": lambda t: t.token(azp=None, roles=["Chat.All"]),
    "an ID token with an odd client": lambda t: t.token(azp=["client-1"], appid=""),
    "alg none": lambda t: t.unsigned(),
    "HS256 with the public key": lambda t: t.signed_with_the_public_key(),
    "unknown kid": lambda t: t.token(kid="kid-9", key=t.keys["kid-1"]),
    "a stranger's signature": lambda t: t.token(key=strangers_key()),
    "cut": lambda t: t.token()[:-5],
    "garbage": lambda _: "x",
    "not ascii": lambda _: "e30.e30.\u00e9",
    "many dots": lambda _: "." * 500,
}


def test_entra_knows_the_right_from_every_wrong_token(emulator: str) -> None:
    with a_tenant() as tenant, with_entra(tenant, foundry(emulator, **ENTRA)) as client:
        missing = ask(client, {})
        assert refused(missing) == (401, "unauthenticated")
        assert missing.headers["www-authenticate"] == 'Bearer realm="chat-api"'
        assert refused(ask(client, {"authorization": "Basic eDp5"})) == (401, "unauthenticated")
        for name, token in WRONG_TOKENS.items():
            headers = [(b"authorization", f"Bearer {token(tenant)}".encode())]
            answer = client.post("/api/chat", json={"message": "hi"}, headers=headers)
            assert refused(answer) == (401, "unauthenticated"), name
            assert answer.headers["www-authenticate"] == 'Bearer realm="chat-api", error="invalid_token"'
        assert ask(client, bearer(tenant.token())).status_code == 200
        assert ask(client, bearer(tenant.token(iss=f"https://sts.windows.net/{TENANT}/"))).status_code == 200
        assert ask(client, bearer(tenant.token(exp=int(time.time()) - 30))).status_code == 200  # the skew
        assert ask(client, bearer(tenant.token(oid=None, sub="s"))).status_code == 200
        v1 = tenant.token(iss=f"https://sts.windows.net/{TENANT}/", azp=None, appid="client-1")
        assert ask(client, bearer(v1)).status_code == 200


def test_an_id_token_is_no_access_token_whatever_roles_it_has(emulator: str) -> None:
    settings = foundry(emulator, **TENANTS, auth_role="Chat.All")
    with a_tenant() as tenant, with_entra(tenant, settings) as client:
        assert ask(client, bearer(tenant.token(roles=["Chat.All"]))).status_code == 200
        assert refused(ask(client, bearer(tenant.token(roles=["Chat.All"], azp=None)))) == (401, "unauthenticated")


def test_a_known_person_without_scope_or_role_is_forbidden(emulator: str) -> None:
    settings = foundry(emulator, **TENANTS, auth_scope="chat", auth_role="Chat.All")
    with a_tenant() as tenant, with_entra(tenant, settings) as client:
        for claims in ({}, {"scp": "chats mail"}, {"roles": ["Other"]}, {"scp": 7, "roles": {"Chat.All": 1}}):
            answer = ask(client, bearer(tenant.token(**claims)))
            assert refused(answer) == (403, "forbidden")
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
        assert ask(client, bearer(tenant.token(scp="mail chat"))).status_code == 200
        assert ask(client, bearer(tenant.token(roles=["Chat.All"]))).status_code == 200


def test_new_signing_keys_are_found_and_made_up_ones_do_not_make_us_fetch(emulator: str) -> None:
    with a_tenant() as tenant, with_entra(tenant, foundry(emulator, **ENTRA)) as client:
        assert ask(client, bearer(tenant.token())).status_code == 200
        assert tenant.fetched == 1
        tenant.add_key("kid-2")
        assert ask(client, bearer(tenant.token(kid="kid-2"))).status_code == 200
        assert tenant.fetched == 2
        for number in range(10):
            wrong = tenant.token(kid=f"made-up-{number}", key=tenant.keys["kid-1"])
            assert refused(ask(client, bearer(wrong))) == (401, "unauthenticated")
        assert tenant.fetched == 2


def test_kept_signing_keys_serve_while_the_sign_in_service_is_down(emulator: str) -> None:
    with a_tenant() as tenant, with_entra(tenant, foundry(emulator, **ENTRA)) as client:
        assert ask(client, bearer(tenant.token())).status_code == 200
        tenant.is_down = True
        unknown = tenant.token(kid="kid-9", key=tenant.keys["kid-1"])
        for _ in range(3):
            undecided = ask(client, bearer(unknown))
            assert refused(undecided) == (502, "upstream_unavailable"), "nobody knows whether there is such a key"
            assert undecided.json()["retryable"] is True
        assert tenant.fetched == 2, "the first one, and one for the unknown key"
        assert ask(client, bearer(tenant.token())).status_code == 200


def test_a_failed_fetch_does_not_lock_a_new_signing_key_out(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_tenant() as tenant, with_entra(tenant, foundry(emulator, **ENTRA)) as client:
        assert ask(client, bearer(tenant.token())).status_code == 200
        tenant.add_key("kid-2")
        tenant.is_down = True
        assert refused(ask(client, bearer(tenant.token(kid="kid-2")))) == (502, "upstream_unavailable")
        tenant.is_down = False
        monkeypatch.setattr(jwks, "_RETRY_INTERVAL_S", 0.0)  # as if five seconds had passed
        assert ask(client, bearer(tenant.token(kid="kid-2"))).status_code == 200
        assert tenant.fetched == 3


def test_a_made_up_key_id_locks_a_new_signing_key_out_for_a_short_time_alone(
    emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jwks._UNKNOWN_KEY_INTERVAL_S <= 30
    with a_tenant() as tenant, with_entra(tenant, foundry(emulator, **ENTRA)) as client:
        assert ask(client, bearer(tenant.token())).status_code == 200
        made_up = tenant.token(kid="made-up", key=tenant.keys["kid-1"])
        assert refused(ask(client, bearer(made_up))) == (401, "unauthenticated")
        tenant.add_key("kid-2")
        monkeypatch.setattr(jwks, "_UNKNOWN_KEY_INTERVAL_S", 0.0)  # as if that time had passed
        assert ask(client, bearer(tenant.token(kid="kid-2"))).status_code == 200
        assert tenant.fetched == 3


def test_what_is_no_list_of_keys_is_a_failed_fetch(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_RETRY_INTERVAL_S", 0.0)
    with a_tenant() as tenant, with_entra(tenant, foundry(emulator, **ENTRA)) as client:
        assert ask(client, bearer(tenant.token())).status_code == 200
        tenant.add_key("kid-2")
        odd_key = {"kty": "RSA", "kid": "kid-2", "n": 7, "e": []}
        documents: list[object] = [[], {"keys": []}, {"keys": {}}, {"keys": [odd_key]}]
        for document in documents:
            tenant.document = document
            assert refused(ask(client, bearer(tenant.token(kid="kid-2")))) == (502, "upstream_unavailable"), document
            assert ask(client, bearer(tenant.token())).status_code == 200
        tenant.document = None
        assert ask(client, bearer(tenant.token(kid="kid-2"))).status_code == 200


def test_signing_keys_are_fetched_again_after_a_day_and_a_withdrawn_one_is_no_longer_taken(emulator: str) -> None:
    settings = foundry(emulator, **ENTRA)
    with a_tenant() as tenant:
        entra = Entra(settings, tenant.url)
        with calling_app(create_app(settings, identity=entra)) as client:
            tenant.add_key("kid-2")
            old, new = bearer(tenant.token()), bearer(tenant.token(kid="kid-2"))
            assert (ask(client, old).status_code, tenant.fetched) == (200, 1)
            del tenant.keys["kid-1"]
            grow_old(entra, 86_000)
            assert (ask(client, old).status_code, tenant.fetched) == (200, 1), "the cached key is good for a day"
            grow_old(entra, 401)
            assert ask(client, old).status_code == 200, "nobody waits for the new ones"
            eventually(lambda: tenant.fetched == 2, "they are fetched again")
            eventually(lambda: ask(client, old).status_code == 401, "the withdrawn one is not taken")
            assert ask(client, new).status_code == 200


def grow_old(entra: Entra, seconds: float) -> None:
    """Make its signing keys as old as if so much time had passed."""
    entra._keys._fetched_at -= seconds
    entra._keys._attempted_at -= seconds


def test_without_any_signing_key_nobody_is_told_to_sign_in(emulator: str) -> None:
    with a_tenant() as tenant:
        tenant.is_down = True
        with with_entra(tenant, foundry(emulator, **ENTRA)) as client:
            answer = ask(client, bearer(tenant.token()))
    assert refused(answer) == (502, "upstream_unavailable")
    assert "sign-in service" in answer.json()["detail"]


def test_programs_are_known_by_their_key(emulator: str) -> None:
    with calling_app(create_app(foundry(emulator, **KEY))) as client:
        for wrong in ({}, {"x-api-key": "key-of-an"}, {"x-api-key": DIGESTS}, bearer("x"), {"authorization": "ann"}):
            assert refused(ask(client, wrong)) == (401, "unauthenticated")
        assert ask(client, {"x-api-key": KEYS["ann"]}).status_code == 200
        assert ask(client, bearer(KEYS["ben"])).status_code == 200


@pytest.mark.parametrize("key", ["schlüssel", "ключ", "voilà", "nbsp\u00a0", "\u0085", "é" * 40])
def test_a_key_may_be_any_text(key: str, emulator: str) -> None:
    """API_KEYS has the digest that `printf %s "$KEY" | sha256sum` prints: that of the key's bytes."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    settings = foundry(emulator, **{**KEY, "api_keys": f"zoe:{digest},{DIGESTS}"})
    sent = [key.encode(), *([key.encode("latin-1")] if max(key) <= "\xff" else [])]  # curl's; fetch's and urllib's
    with calling_app(create_app(settings)) as client:

        def status(name: str, value: bytes) -> int:
            return client.post("/api/chat", json={"message": "[echo] hi"}, headers=[(name.encode(), value)]).status_code

        for form in sent:
            assert status("x-api-key", form) == 200, form
            assert status("authorization", b"Bearer " + form) == 200, form
            assert status("x-api-key", form + b"x") == 401, form
            assert status("x-api-key", form[:-1] or b"x") == 401, form


def test_two_authorization_headers_are_nobodys(emulator: str) -> None:
    """A proxy and the service could each take another one."""
    with calling_app(create_app(foundry(emulator, **KEY))) as client:
        for one, other in (("ann", "ann"), ("ann", "ben")):
            headers = [*bearer(KEYS[one]).items(), *bearer(KEYS[other]).items()]
            assert refused(ask(client, headers)) == (401, "unauthenticated")
            assert [ask(client, [header]).status_code for header in headers] == [200, 200]


def easy(person: str) -> Headers:
    return {"x-ms-client-principal-id": person, "x-ms-client-principal-idp": "aad", "x-ms-client-principal-name": "n"}


def test_container_apps_word_is_taken_in_its_mode_alone(emulator: str) -> None:
    with calling_app(create_app(foundry(emulator, **EASY))) as client:
        assert refused(ask(client, {})) == (401, "unauthenticated")
        assert refused(ask(client, {"x-ms-client-principal-id": "x" * 300})) == (401, "unauthenticated")
        for provider in ("a/b", "/", "aad/"):
            ambiguous = ask(client, {**easy("ann"), "x-ms-client-principal-idp": provider})
            assert refused(ambiguous) == (401, "unauthenticated"), "another provider's ann could be the same owner"
        assert ask(client, easy("b/ann")).status_code == 200
        for name, value in (("x-ms-client-principal-id", "ben"), ("x-ms-client-principal-idp", "google")):
            assert refused(ask(client, [*easy("ann").items(), (name, value)])) == (401, "unauthenticated"), name
        assert ask(client, easy("ann")).status_code == 200
    with calling_app(create_app(foundry(emulator, **KEY))) as client:
        assert refused(ask(client, easy("ann"))) == (401, "unauthenticated")


def test_forged_principals_are_stripped_from_what_anything_else_sees(emulator: str) -> None:
    from fastapi import Request  # noqa: PLC0415

    app = create_app(foundry(emulator))

    @app.get("/seen")
    async def seen(request: Request) -> list[str]:
        return sorted(request.headers)

    with calling_app(app) as client:
        names = client.get("/seen", headers={**easy("ann"), "x-ms-token-aad-id-token": "t", "x-kept": "1"}).json()
    assert "x-kept" in names
    assert not [name for name in names if name.startswith("x-ms-")]


def test_health_and_preflights_never_ask_who_it_is_and_pages_as_it_is_set(emulator: str) -> None:
    with calling_app(create_app(foundry(emulator, **KEY, docs=True, allowed_origins="https://a.example"))) as client:
        assert client.get("/health").status_code == client.get("/api/health").status_code == 200
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        assert client.options("/api/chat", headers={"origin": "https://a.example", **asked}).status_code == 200
        for path in ("/ready", "/docs", "/openapi.json", "/", "/nothing"):
            assert refused(client.get(path)) == (401, "unauthenticated")
        from_a = client.get("/ready", headers={"origin": "https://a.example"})
        assert from_a.headers["access-control-allow-origin"] == "https://a.example"
        assert client.get("/ready", headers={"x-api-key": KEYS["ann"]}).status_code == 200
    with calling_app(create_app(foundry(emulator, **KEY, public_pages=True, chat_page=True, docs=True))) as client:
        for path in ("/ready", "/docs", "/docs/swagger-ui.css", "/", "/chat-client.js", "/page/chat.js"):
            assert client.get(path).status_code == 200
        assert refused(client.get("/api/anything")) == (401, "unauthenticated")
        assert refused(client.post("/docs")) == (401, "unauthenticated")
        assert refused(ask(client, {})) == (401, "unauthenticated")
