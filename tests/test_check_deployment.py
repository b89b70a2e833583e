"""Is a deployment refused that would not start, or would open a closed service? infra/hooks/check_deployment.py."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.app import create_app
from tests.support.azd_hooks import HOOKS, Azd, load_hook, run_python
from tests.support.callers import foundry
from tests.support.ports import free_port
from tests.support.servers import serving

GUID = "11111111-2222-3333-4444-555555555555"
DEPLOYED = {  # what every azd environment has after `azd provision`
    "AZURE_ENV_NAME": "t1",
    "AZURE_SUBSCRIPTION_ID": GUID,
    "AZURE_RESOURCE_GROUP": "rg-t1",
    "AZURE_CHAT_API_NAME": "chat-api",
    "AZURE_CHAT_API_URI": "http://127.0.0.1:9",
    "AZURE_IDENTITY_CLIENT_ID": GUID,
    "AZURE_AI_PROJECT_ENDPOINT": "https://x.services.ai.azure.com/api/projects/chat",
    "AZURE_AI_AGENT_ID": "chat-agent",
    "CONVERSATION_KEYS": "x" * 64,
}
KEY = {"AUTH": "key", "API_KEYS": "ann:" + "0" * 64}
OPENAI = {"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
NO_APP = JSONResponse({"error": {"code": "ResourceNotFound", "message": "The Resource … was not found."}}, 404)


def app_with(**properties: Any) -> Response:
    ingress = {"external": True, "ipSecurityRestrictions": properties.pop("ranges", [])}
    ready = {"provisioningState": "Succeeded", "latestReadyRevisionName": "chat-api--1"}
    return JSONResponse({"properties": {**ready, "configuration": {"ingress": ingress}, **properties}})


@contextmanager
def azure(answer: Response) -> Generator[tuple[str, list[tuple[str, str]]]]:
    """Azure's control plane, which gives this answer; and who asked it for what."""
    asked: list[tuple[str, str]] = []

    async def get(request: Request) -> Response:
        asked.append((request.url.path, request.headers["authorization"]))
        return answer

    with serving(Starlette(routes=[Route("/{path:path}", get)])) as url:
        yield url, asked


def check(folder: Path, app: Response = NO_APP, /, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the hook where Azure gives this answer about the app."""
    program = "import sys, check_deployment; check_deployment.main(sys.argv[1])"
    with azure(app) as (arm, _):
        variables = {"PYTHONPATH": str(HOOKS), **DEPLOYED, **environment}
        return run_python(["-c", program, arm], Azd(folder), variables, folder)


def refused(ran: subprocess.CompletedProcess[str]) -> list[str]:
    """The sentences, without their bullets."""
    assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
    head, *sentences = ran.stderr.splitlines()
    assert head == "settings: nothing is deployed:"
    return [sentence.removeprefix("* ") for sentence in sentences]


@contextmanager
def running(answer: Response) -> Generator[str]:
    """A service, or what stands before it, that gives this answer to every POST."""

    async def post(request: Request) -> Response:
        assert await request.body() == b"", "a turn would cost"
        assert request.headers["content-type"] == "text/plain"
        return answer

    with serving(Starlette(routes=[Route("/api/chat", post, methods=["POST"])])) as url:
        yield url


@pytest.mark.parametrize(
    "settings",
    [
        KEY,
        {"AUTH": "entra", "AUTH_TENANT_ID": GUID, "AUTH_AUDIENCE": "api://x", "AUTH_SCOPE": "chat"},
        {"AUTH": "entra", "AUTH_TENANT_ID": GUID, "AUTH_AUDIENCE": "api://x", "AUTH_ROLE": "*"},
        {},
        {"AZURE_AI_AGENT_ID": "", **OPENAI, "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt"},
        {"AZURE_OPENAI_ENDPOINT": "not an address, but an agent is set, and wins"},
    ],
)
def test_what_would_start_is_deployed(settings: dict[str, str], tmp_path: Path) -> None:
    ran = check(tmp_path, **settings)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"AUTH": "easyauth"},
            "EASY_AUTH_CLIENT_ID must be the client id of an app registration (8-4-4-4-12 hexadecimal digits) with "
            "AUTH=easyauth: without it nobody can sign in. Next: `azd env set EASY_AUTH_CLIENT_ID=<client id>`.",
        ),
        ({"AUTH": "easyauth", "EASY_AUTH_CLIENT_ID": "my-app"}, "EASY_AUTH_CLIENT_ID must be the client id"),
        ({"AUTH": " easyauth "}, "AUTH begins or ends with a space. Next: `azd env set AUTH=<value>` without it."),
        ({"AUTH": "easyauth", "EASY_AUTH_CLIENT_ID": f" {GUID}"}, "EASY_AUTH_CLIENT_ID begins or ends with a space."),
        ({"LOG_LEVEL": " "}, "LOG_LEVEL begins or ends with a space."),
        (
            {"AUTH": "easyauth", "EASY_AUTH_CLIENT_ID": GUID, "API_KEYS": KEY["API_KEYS"]},
            "API_KEYS: has no effect with AUTH=easyauth: it needs AUTH=key. Next: `azd env set API_KEYS=`.",
        ),
        (
            {"AUTH": "key"},
            "API_KEYS: is needed with AUTH=key. Next: `azd env set API_KEYS=<value>`.",
        ),
        ({"API_KEYS": KEY["API_KEYS"]}, "API_KEYS: has no effect with AUTH=none: it needs AUTH=key."),
        ({**KEY, "AUTH_SCOPE": "chat"}, "AUTH_SCOPE: has no effect with AUTH=key: it needs AUTH=entra."),
        ({**KEY, "EASY_AUTH_CLIENT_ID": GUID}, "EASY_AUTH_CLIENT_ID has no effect without AUTH=easyauth."),
        ({"CONVERSATION_KEYS": ""}, "CONVERSATION_KEYS is not set here."),
        ({"CONVERSATION_KEYS": "akvs://sub/kv/conversation-keys"}, "CONVERSATION_KEYS is a reference to a key vault"),
        (
            {"API_KEYS": "@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/k)", "AUTH": "key"},
            "API_KEYS is a reference to a key vault",
        ),
        ({"RATE_LIMIT_STORAGE_URI": "akvs://sub/kv/redis"}, "RATE_LIMIT_STORAGE_URI is a reference to a key vault"),
        ({"ALLOWED_ORIGINS": 'https://a,"x"'}, 'ALLOWED_ORIGINS has a quote (") or a backslash'),
        ({"ALLOWED_IPS": "10.0.0.0\\8"}, 'ALLOWED_IPS has a quote (") or a backslash'),
        ({"RATE_LIMIT": "nonsense"}, "RATE_LIMIT: must be like 20/minute"),
        (
            {"AZURE_AI_PROJECT_ENDPOINT": "https://x.services.ai.azure.com"},
            "AZURE_AI_PROJECT_ENDPOINT: must be a project's endpoint, "
            "https://<resource>.services.ai.azure.com/api/projects/<project>. "
            "Next: `azd env set AZURE_AI_PROJECT_ENDPOINT=<value>`.",
        ),
        ({"RATE_LIMIT_STORAGE_URI": "redis://cache:port"}, "RATE_LIMIT_STORAGE_URI: must be redis://"),
        ({"ALLOWED_ORIGINS": "null"}, "ALLOWED_ORIGINS: cannot have null,"),
        ({"AUTH": "keys"}, "AUTH: input should be 'none', 'easyauth', 'entra' or 'key'."),
        ({"AZURE_AI_AGENT_ID": ""}, "AZURE_AI_AGENT_ID is not set. Next: `azd env set AZURE_AI_AGENT_ID=<value>`."),
        ({"AZURE_AI_AGENT_ID": "", **OPENAI}, "AZURE_OPENAI_DEPLOYMENT_NAME is not set."),
        ({"DRAIN_S": "2.5"}, "DRAIN_S must be a whole number here. Next: `azd env set DRAIN_S=<number>`."),
    ],
    ids=lambda value: "" if isinstance(value, str) else ",".join(value),
)
def test_what_would_not_start_is_refused_in_a_sentence(settings: dict[str, str], sentence: str, tmp_path: Path) -> None:
    assert any(found.startswith(sentence) for found in refused(check(tmp_path, **settings)))


@pytest.mark.parametrize("missing", ["AZURE_CHAT_API_NAME", "AZURE_RESOURCE_GROUP", "AZURE_CHAT_API_URI"])
def test_before_anything_is_provisioned_that_is_what_is_said(missing: str, tmp_path: Path) -> None:
    ran = check(tmp_path, **{missing: ""})
    assert ran.returncode == 1
    said = f"settings: there is nothing yet to deploy to: {missing} is not set.\nNext: `azd provision`"
    assert ran.stderr.startswith(said)


def test_what_this_machine_has_in_env_files_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container has no `.env`: a key in one here must not make up for one that azd lacks."""
    (tmp_path / ".env").write_text(f"API_KEYS={KEY['API_KEYS']}")
    monkeypatch.chdir(tmp_path)
    assert refused(check(tmp_path, AUTH="key"))[0].startswith("API_KEYS: is needed with AUTH=key.")


def test_no_secret_is_in_a_refusal(tmp_path: Path) -> None:
    ran = check(tmp_path, CONVERSATION_KEYS="akvs://secret-word", API_KEYS='"secret-word', AUTH="key")
    assert len(refused(ran)) == 2
    assert "secret-word" not in ran.stderr


CLOSED = "AUTH is empty or none here, and the running service answers only callers whom it knows: this deployment would"


@pytest.mark.parametrize("auth", [{}, {"AUTH": ""}, {"AUTH": "none"}])
def test_a_closed_service_is_not_opened_by_a_machine_that_does_not_know_better(
    auth: dict[str, str], emulator: str, tmp_path: Path
) -> None:
    closed = {"auth": "key", "api_keys": KEY["API_KEYS"], "conversation_keys": "x" * 32}
    with serving(create_app(foundry(emulator, **closed))) as url:
        (sentence,) = refused(check(tmp_path, app_with(), AZURE_CHAT_API_URI=url, **auth))
        assert sentence.startswith(CLOSED)
        assert "`azd env set AUTH=<mode>`" in sentence
        assert "`azd env set ALLOW_OPEN=true`" in sentence
        assert check(tmp_path, app_with(), AZURE_CHAT_API_URI=url, ALLOW_OPEN="true", **auth).returncode == 0
        assert check(tmp_path, app_with(), AZURE_CHAT_API_URI=url, **KEY).returncode == 0


def test_a_second_machine_is_told_all_that_it_lacks_at_once(emulator: str, tmp_path: Path) -> None:
    closed = {"auth": "key", "api_keys": KEY["API_KEYS"], "conversation_keys": "x" * 32}
    with serving(create_app(foundry(emulator, **closed))) as url:
        app = app_with(ranges=[{"name": "allowed-0", "action": "Allow", "ipAddressRange": "203.0.113.0/24"}])
        lacks = refused(check(tmp_path, app, AZURE_CHAT_API_URI=url, CONVERSATION_KEYS=""))
    assert [sentence.split(" ")[0] for sentence in lacks] == ["CONVERSATION_KEYS", "ALLOWED_IPS", "AUTH"]


def test_settings_that_the_running_service_has_and_this_machine_lacks_are_named(tmp_path: Path) -> None:
    env = [{"name": name, "value": "1"} for name in ("PORT", "AZURE_AI_AGENT_ID", "RATE_LIMIT", "MAX_MESSAGE_CHARS")]
    ran = check(tmp_path, app_with(template={"containers": [{"env": env}]}), **KEY)
    said = "settings: no longer set, though the running service has them: MAX_MESSAGE_CHARS, RATE_LIMIT\n"
    assert (ran.returncode, ran.stdout) == (0, said)


def test_an_open_service_may_stay_open(emulator: str, tmp_path: Path) -> None:
    with serving(create_app(foundry(emulator))) as url:
        assert check(tmp_path, app_with(), AZURE_CHAT_API_URI=url).returncode == 0


@pytest.mark.parametrize("auth", [{}, KEY], ids=["open", "with a key"])
def test_a_list_of_addresses_is_not_dropped(auth: dict[str, str], emulator: str, tmp_path: Path) -> None:
    """To a machine whose address is on it, the service looks open."""
    app = app_with(ranges=[{"name": "allowed-0", "action": "Allow", "ipAddressRange": "127.0.0.1"}])
    with serving(create_app(foundry(emulator))) as url:
        (sentence,) = refused(check(tmp_path, app, AZURE_CHAT_API_URI=url, **auth))
        assert sentence.startswith(
            "ALLOWED_IPS is not set here, and the running service lets only some addresses connect"
        )
        for way in ({"ALLOWED_IPS": "127.0.0.1,10.0.0.0/8"}, {"ALLOW_OPEN": "true"}):
            assert check(tmp_path, app, AZURE_CHAT_API_URI=url, **auth, **way).returncode == 0


@pytest.mark.parametrize(
    "sign_in",
    [
        RedirectResponse("/.auth/login/aad?post_login_redirect_uri=/", 302),
        RedirectResponse("https://login.microsoftonline.com/x/oauth2/authorize", 302),
        PlainTextResponse("You do not have permission to view this directory or page.", 401),
    ],
    ids=["redirect", "redirect to Entra", "401"],
)
def test_a_sign_in_in_front_is_closed(sign_in: Response, tmp_path: Path) -> None:
    with running(sign_in) as url:
        (sentence,) = refused(check(tmp_path, app_with(), AZURE_CHAT_API_URI=url))
    assert sentence.startswith(CLOSED)


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (PlainTextResponse("RBAC: access denied", 403), "it answered 403"),
        (RedirectResponse("https://elsewhere.example/", 301), "it answered 301"),
        (PlainTextResponse("no app of ours", 200), "it answered 200"),
        (PlainTextResponse("<html>", 404), "it answered 404"),
    ],
)
def test_what_is_not_known_is_refused_like_closed(answer: Response, seen: str, tmp_path: Path) -> None:
    with running(answer) as url:
        (sentence,) = refused(check(tmp_path, app_with(), AZURE_CHAT_API_URI=url))
        assert f"it is not known whether the running service is closed ({seen})" in sentence
        assert check(tmp_path, NO_APP, AZURE_CHAT_API_URI=url).returncode == 0, "there is nothing that could be opened"
        never_ready = app_with(provisioningState="Failed", latestReadyRevisionName=None)
        assert check(tmp_path, never_ready, AZURE_CHAT_API_URI=url).returncode == 0, "nobody has ever been answered"
        failed_later = app_with(provisioningState="Failed")
        assert len(refused(check(tmp_path, failed_later, AZURE_CHAT_API_URI=url))) == 1


def test_no_answer_is_not_known() -> None:
    hook = load_hook("running_app")
    assert hook.ask_as_a_stranger(f"http://127.0.0.1:{free_port()}", wait_s=0.5).startswith("no answer: ")
    with running(PlainTextResponse("upstream connect error", 503)) as url:
        assert hook.ask_as_a_stranger(url, wait_s=0.5) == "it answered 503"


def test_a_service_that_starts_from_zero_is_waited_for() -> None:
    statuses = iter([503, 502, 415])

    async def post(_: Request) -> Response:
        return PlainTextResponse("", next(statuses))

    with serving(Starlette(routes=[Route("/api/chat", post, methods=["POST"])])) as url:
        assert load_hook("running_app").ask_as_a_stranger(url, wait_s=10) == "open"


def test_azure_is_asked_about_the_app_by_whoever_runs_azd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PATH": Azd(tmp_path).path, **DEPLOYED}.items():
        monkeypatch.setenv(name, value)
    hook = load_hook("running_app")
    with azure(app_with()) as (arm, asked):
        assert hook.find_app(arm)["latestReadyRevisionName"] == "chat-api--1"
    app = f"/subscriptions/{GUID}/resourceGroups/rg-t1/providers/Microsoft.App/containerApps/chat-api"
    assert asked == [(app, "Bearer of-azd")]
    with azure(NO_APP) as (arm, asked):
        assert hook.find_app(arm) is None
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (PlainTextResponse("{}", 403), "403"),
        (JSONResponse({"error": {"code": "ResourceGroupNotFound"}}, 404), "404"),
        (PlainTextResponse("<html>", 200), "JSONDecodeError"),
        (JSONResponse({}), "KeyError"),
    ],
)
def test_azure_that_does_not_say_ends_the_deployment(answer: Response, reason: str, tmp_path: Path) -> None:
    assert refused(check(tmp_path, answer, **KEY)) == [
        f"Azure does not say whether the app is there already ({reason}). Next: `azd auth login`, then again."
    ]


@pytest.mark.parametrize("app", [app_with(), NO_APP], ids=["deployed from elsewhere", "not deployed"])
def test_a_key_made_here_is_not_put_in_the_place_of_one_made_elsewhere(app: Response, tmp_path: Path) -> None:
    """`azd env new` and `azd up` on a second machine, without `azd env refresh`: nothing here knows of the first."""
    made_here = {"CONVERSATION_KEYS_MADE_HERE": load_hook("azd_env").fingerprint(DEPLOYED["CONVERSATION_KEYS"])}
    ran = check(tmp_path, app, **made_here, **KEY)
    if app is NO_APP:
        assert ran.returncode == 0
        assert Azd(tmp_path).commands()[-2:] == [
            "env set CONVERSATION_KEYS_MADE_HERE=",
            "env set SERVICE_CHAT_API_RESOURCE_EXISTS=false",
        ]
    else:
        (sentence,) = refused(ran)
        assert sentence.startswith("CONVERSATION_KEYS was made here, but the service was deployed from elsewhere")
        assert check(tmp_path, app, **made_here, **KEY, CONVERSATION_KEYS="y" * 64).returncode == 0


@pytest.mark.parametrize(("app", "exists"), [(app_with(), "true"), (NO_APP, "false")])
def test_the_template_learns_whether_there_is_an_app(app: Response, exists: str, tmp_path: Path) -> None:
    assert check(tmp_path, app, AUTH="easyauth", EASY_AUTH_CLIENT_ID=GUID).returncode == 0
    assert Azd(tmp_path).commands()[-1] == f"env set SERVICE_CHAT_API_RESOURCE_EXISTS={exists}"
