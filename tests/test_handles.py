"""In which conversation: a `thread_id` is its owner's alone, with every way to sign in and with none."""

import base64
import re
from collections.abc import Callable

import httpx
import pytest

from gateway.access.handles import create_handles
from gateway.access.identity.entra import Entra
from gateway.app import create_app
from gateway.errors import ConversationNotFound, InternalError
from gateway.events import Handle, Thread, ThreadId
from gateway.settings import Settings
from tests.support.callers import calling_app, chat, classic, foundry, openai, text_of, unread
from tests.support.entra_tenant import TENANT, Tenant, a_tenant
from tests.test_authentication import EASY, ENTRA, KEY, KEYS, SIGNING, Headers, ask, bearer, easy
from tests.test_request_body import refused


def two_callers(mode: str, tenant: Tenant) -> tuple[Headers, Headers]:
    match mode:
        case "entra":
            return bearer(tenant.token()), bearer(tenant.token(oid="person-2"))
        case "key":
            return {"x-api-key": KEYS["ann"]}, {"x-api-key": KEYS["ben"]}
        case _:
            return easy("ann"), easy("ben")


@pytest.mark.parametrize(("mode", "settings"), [("entra", ENTRA), ("key", KEY), ("easyauth", EASY)])
def test_a_conversation_belongs_to_whoever_began_it(emulator: str, mode: str, settings: dict[str, str]) -> None:
    with a_tenant() as tenant:
        made = foundry(emulator, **settings, conversation_pool_size=0)
        identity = Entra(made, tenant.url) if mode == "entra" else None
        with calling_app(create_app(made, identity=identity)) as client:
            ann, ben = two_callers(mode, tenant)
            own = ask(client, ann).json()["thread_id"]
            assert ask(client, ann, thread_id=own).json()["is_new_conversation"] is False
            httpx.delete(f"{emulator}/_seen")
            answers = [ask(client, ben, thread_id=own), *(ask(client, ann, thread_id=bad) for bad in bad_handles(own))]
            assert httpx.get(f"{emulator}/_seen").json()["requests"] == []  # nobody learns anything from the time
            forgotten = ask(client, ann, thread_id=signed_for(made, mode, "conv_of_yesterday"))
            told = {answer.text.replace(answer.json()["request_id"], "") for answer in [*answers, forgotten]}
            assert len(told) == 1
            assert refused(answers[0]) == (404, "conversation_not_found")
            assert ask(client, {}, thread_id=own).status_code == 401


def bad_handles(own: str) -> list[str]:
    """Forged, cut, raw, and what cannot be one."""
    upstream_id = base64.urlsafe_b64decode(own[:-43] + "==").decode()
    assert upstream_id.startswith("conv_")
    flipped = [own[:i] + ("A" if own[i] != "A" else "B") + own[i + 1 :] for i in (0, 10, len(own) - 44, len(own) - 1)]
    spellings = [
        own[:-1] + c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" if c != own[-1]
    ]
    cut = [own[:-1], own[1:], own[:43], own[-43:], own + "A", own + "=", own[:-43], "A"]
    return [*flipped, *spellings, *cut, upstream_id, "conv_1", "../../x", "é" * 60, "x" * 201, "x" * 5_000, "a\nb"]


def signed_for(settings: Settings, mode: str, upstream_id: str) -> str:
    """A right handle for ann, of a conversation that the upstream does not know."""
    subject = {"entra": f"entra:{TENANT}/person-1", "key": "key:ann", "easyauth": "easyauth:aad/ann"}[mode]
    return create_handles(settings).to_handle(Thread(ThreadId(upstream_id)), subject)


def test_without_sign_in_a_handle_is_a_capability(emulator: str) -> None:
    with calling_app(create_app(foundry(emulator, conversation_keys=SIGNING))) as client:
        events = chat(client, "[echo] hi")
        own = events[0]["thread_id"]
        assert not own.startswith("conv_")
        assert text_of(chat(client, "[echo] again", thread_id=own)) == "again"
        for bad in bad_handles(own):
            assert refused(ask(client, {}, thread_id=bad)) == (404, "conversation_not_found")


def test_keys_rotate_without_losing_conversations(emulator: str) -> None:
    newer = "another-secret-of-thirty-two-bytes-or-more"

    def handle_from(keys: str, thread_id: str | None = None) -> httpx.Response:
        with calling_app(create_app(foundry(emulator, conversation_keys=keys))) as client:
            return ask(client, {}, thread_id=thread_id)

    first = handle_from(SIGNING).json()["thread_id"]
    second = handle_from(f"{newer},{SIGNING}", first).json()["thread_id"]
    assert second != first  # signed anew
    assert handle_from(newer, second).status_code == 200
    assert refused(handle_from(newer, first)) == (404, "conversation_not_found")


def test_stopping_goes_through_the_same_access_control(emulator: str) -> None:
    with calling_app(create_app(classic(emulator, **KEY))) as client:
        ann, ben = {"x-api-key": KEYS["ann"]}, {"x-api-key": KEYS["ben"]}
        own = ask(client, ann).json()["thread_id"]

        def stop(headers: Headers, thread_id: str) -> httpx.Response:
            return client.post("/api/chat/cancel", json={"thread_id": thread_id}, headers=headers)

        assert refused(stop(ben, own)) == (404, "conversation_not_found")
        assert refused(stop(ann, "thread_1")) == (404, "conversation_not_found")
        assert refused(stop(ann, own)) == (404, "no_active_run")
        assert refused(stop({}, own)) == (401, "unauthenticated")


def test_a_failure_in_json_names_the_handle_and_not_the_upstreams_id(emulator: str) -> None:
    with calling_app(create_app(foundry(emulator, conversation_keys=SIGNING))) as client:
        own = ask(client, {}).json()["thread_id"]
        early = client.post("/api/chat", json={"message": "[500]", "stream": False, "thread_id": own})
        late = client.post("/api/chat", json={"message": "[fail]", "stream": False, "thread_id": own})
        assert early.json()["thread_id"] == late.json()["thread_id"] == own
        assert "conv_" not in early.text + late.text


def test_no_route_that_takes_a_thread_id_forgets_to_ask_whose_it_is(emulator: str) -> None:
    document = create_app(unread()).openapi()
    schemas = document["components"]["schemas"]
    asked = []
    with calling_app(create_app(foundry(emulator, conversation_keys=SIGNING))) as client:
        for path, operations in document["paths"].items():
            body = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
            if body and "thread_id" in schemas[body["schema"]["$ref"].rpartition("/")[2]]["properties"]:
                answer = client.post(path, json={"message": "hi", "thread_id": "conv_1"})
                assert refused(answer) == (404, "conversation_not_found"), path
                asked.append(path)
    assert {"/api/chat", "/api/chat/cancel"} <= set(asked)


OLD = {
    "conv_68b1f0a2c9d88190a3": (
        "Y29udl82OGIxZjBhMmM5ZDg4MTkwYTM5jplWrnkoOi4dACk-TLrzTwPH8oV50dIQB7eqALmgNE",
        "Y29udl82OGIxZjBhMmM5ZDg4MTkwYTMuBFptr1vwHBlAzvqL9MkzeR-3x0jbHTgENdjKRXsyac",
    ),
    "thread_AbC123": (
        "dGhyZWFkX0FiQzEyMwmnfa2N5pzq9FQm9TYVXCQsw_DqXwRXrdF-MNDbBBXzE",
        "dGhyZWFkX0FiQzEyMwempiwAoY8tKjdKyZL2RWf1yaJCwa5A7cvscL-K0gO8M",
    ),
    "resp_02ce8deeb6197db2": (
        "cmVzcF8wMmNlOGRlZWI2MTk3ZGIyyAZDYhhU_CmGUyT7igYY4sKMNpM1xWKO_k5T0Mfd0gI",
        "cmVzcF8wMmNlOGRlZWI2MTk3ZGIysvwIEq7JsHD1zhFpU6ojZCFXBf7rkNDgpNEj37Asz1M",
    ),
}
"""Upstream ids, and their handles as the version before markers signed them with SIGNING: for "", for `key:ann`."""


@pytest.mark.parametrize("upstream_id", OLD)
@pytest.mark.parametrize("settings_for", [foundry, classic, openai])
def test_handles_of_the_version_before_stay_valid(settings_for: Callable[..., Settings], upstream_id: str) -> None:
    is_chain = upstream_id.startswith("resp_") and settings_for is openai
    expected = Thread(ThreadId(upstream_id), is_chain)
    raw = create_handles(settings_for("http://127.0.0.1:9"))
    assert raw.from_handle(Handle(upstream_id), "") == expected
    signed = create_handles(settings_for("http://127.0.0.1:9", conversation_keys=SIGNING))
    for subject, handle in zip(("", "key:ann"), OLD[upstream_id], strict=True):
        assert signed.from_handle(Handle(handle), subject) == expected
        with pytest.raises(ConversationNotFound):
            signed.from_handle(Handle(handle), "key:ben")


IDS = [
    *("conv_1", "thread_1", "resp_1", "caresp_1", "chain-resp_1", "conversation-1", "chain-", "conversation-chain-x"),
    *("_", "-", "0", "x" * 60),
]


@pytest.mark.parametrize("keys", [{}, {"conversation_keys": SIGNING}], ids=["raw", "signed"])
@pytest.mark.parametrize("upstream_id", IDS)
def test_no_prefix_of_an_id_decides_what_a_handle_names(upstream_id: str, keys: dict[str, str]) -> None:
    handles = create_handles(openai("http://127.0.0.1:9", **keys))
    for thread in (Thread(ThreadId(upstream_id)), Thread(ThreadId(upstream_id), is_chain=True)):
        handle = handles.to_handle(thread, "key:ann")
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,200}", handle)
        assert handles.from_handle(handle, "key:ann") == thread
    for settings_for in (foundry, classic):
        elsewhere = create_handles(settings_for("http://127.0.0.1:9", **keys))
        thread = Thread(ThreadId(upstream_id))
        assert elsewhere.from_handle(elsewhere.to_handle(thread, ""), "") == thread
        with pytest.raises(ConversationNotFound):
            elsewhere.from_handle(handle, "key:ann")


def test_the_handle_of_a_conversation_is_the_upstreams_id_and_that_of_a_chain_has_a_marker() -> None:
    handles = create_handles(openai("http://127.0.0.1:9"))
    assert handles.to_handle(Thread(ThreadId("conv_1")), "") == "conv_1"
    assert handles.to_handle(Thread(ThreadId("caresp_1"), is_chain=True), "") == "chain-caresp_1"
    for marker in ("chain-", "conversation-"):
        with pytest.raises(ConversationNotFound):
            handles.from_handle(Handle(marker), "")


def test_a_signed_handle_is_never_longer_than_the_contract_takes() -> None:
    handles = create_handles(foundry("http://127.0.0.1:9", conversation_keys=SIGNING))
    longest = Thread(ThreadId("x" * 117))
    handle = handles.to_handle(longest, "key:ann")
    assert len(handle) == 199
    assert handles.from_handle(handle, "key:ann") == longest
    with pytest.raises(InternalError, match="118 characters"):
        handles.to_handle(Thread(ThreadId("x" * 118)), "key:ann")


def test_a_server_whose_ids_begin_with_anything_remembers(agent_server: str) -> None:
    with calling_app(create_app(openai(agent_server, **KEY))) as client:
        ann = {"x-api-key": KEYS["ann"]}
        first = client.post("/api/chat", json={"message": "My name is Ada", "stream": False}, headers=ann).json()
        second = ask(client, ann, message="Who am I?", thread_id=first["thread_id"]).json()
        assert base64.urlsafe_b64decode(first["thread_id"][:-43] + "==").startswith(b"chain-caresp_")
        assert "My name is Ada" in second["response"]
        assert refused(ask(client, {"x-api-key": KEYS["ben"]}, thread_id=second["thread_id"]))[0] == 404
