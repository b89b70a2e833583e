"""azd's predeploy hook: refuse a deployment that would not start, or would open a closed service, before it is made.

It reads the settings as the container will, so that a wrong one costs a second here and not minutes of a revision that
never gets ready. What it refuses has a test each in tests/test_check_deployment.py.
"""

import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from azd_env import MADE_HERE, fingerprint, set_value

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from gateway.settings import Settings, SettingsError, read_settings  # noqa: E402  found by the line above

ARM = "https://management.azure.com"
ASK_S = 60.0  # a replica that starts from zero answers late

_PARAMETERS = ROOT / "infra/chat-api.parameters.json"
_GUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_REFERENCE = re.compile(r"(^|,)\s*(akvs://|@Microsoft\.KeyVault\()", re.IGNORECASE)
_BREAKS_JSON = re.compile(r'["\\\x00-\x1f]')  # azd puts a value between the quotes of a JSON file as it is
_WHOLE_NUMBERS = ("DRAIN_S", "MIN_REPLICAS", "MAX_REPLICAS", "COOLDOWN_S", "CONCURRENT_REQUESTS")
_SAME_AS_BEFORE = "as `azd env get-values` shows it where the service was deployed from"

Answer = Literal["closed", "open"] | str  # any other word: what came instead


def expanded(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of chat-api.parameters.json with the values that azd will put there; empty ones are left out."""
    document = json.loads(_PARAMETERS.read_text("utf-8"))
    found = {}
    for entry in document["parameters"].values():
        match = re.fullmatch(r"\$\{(\w+)(?:=(.*))?\}", entry["value"])
        assert match, entry
        if value := (environment.get(match[1]) or match[2] or "").strip():
            found[match[1]] = value
    return found


def container_environment(deployment: Mapping[str, str]) -> dict[str, str]:
    """Exactly the variables that chat-api.bicep sets from settings (tests/test_bicep.py compares the two)."""
    names = {str(name).upper() for name in Settings.model_fields}
    variables = {name: value for name, value in deployment.items() if name in names}
    if deployment.get("AZURE_AI_AGENT_ID"):
        variables = {name: value for name, value in variables.items() if not name.startswith("AZURE_OPENAI_")}
    if client_id := deployment.get("AZURE_IDENTITY_CLIENT_ID"):
        variables["AZURE_CLIENT_ID"] = client_id
    return variables


def refusals(deployment: Mapping[str, str]) -> list[str]:
    """What can be seen without asking anybody. One sentence each, with the next step."""
    found = [*_azd_refusals(deployment), *_easy_auth_refusals(deployment)]
    sentence = _settings_refusal(container_environment(deployment))
    if sentence and not any(each.startswith(sentence.partition(":")[0]) for each in found):
        found.append(sentence)
    return found


def _azd_refusals(deployment: Mapping[str, str]) -> Iterator[str]:
    """What the service would not notice, because azd has spoilt or lost it on the way."""
    for name, value in deployment.items():
        if _REFERENCE.search(value):
            yield (
                f"{name} is a reference to a key vault, and nobody resolves it: the service would take its letters for "
                f"the value. Next: `azd env set {name}=<the secret itself>`."
            )
        elif _BREAKS_JSON.search(value):
            yield f'{name} has a quote (") or a backslash, which azd cannot pass on. Next: write it without.'
    for name in _WHOLE_NUMBERS:
        if not re.fullmatch(r"\d{1,9}", deployment.get(name, "0")):
            yield f"{name} must be a whole number here. Next: `azd env set {name}=<number>`."
    if not deployment.get("CONVERSATION_KEYS"):
        yield (
            "CONVERSATION_KEYS is not set here. Without the key that signed them every conversation ends. "
            f"Next: `azd env set CONVERSATION_KEYS=<value>`, {_SAME_AS_BEFORE}."
        )


def _easy_auth_refusals(deployment: Mapping[str, str]) -> Iterator[str]:
    client_id, is_easy_auth = deployment.get("EASY_AUTH_CLIENT_ID", ""), deployment.get("AUTH") == "easyauth"
    if is_easy_auth and not _GUID.fullmatch(client_id):
        yield (
            "EASY_AUTH_CLIENT_ID must be the client id of an app registration (8-4-4-4-12 hexadecimal digits) with "
            "AUTH=easyauth: without it nobody can sign in. Next: `azd env set EASY_AUTH_CLIENT_ID=<client id>`."
        )
    if client_id and not is_easy_auth:
        yield (
            "EASY_AUTH_CLIENT_ID has no effect without AUTH=easyauth. "
            "Next: `azd env set EASY_AUTH_CLIENT_ID=`, or `azd env set AUTH=easyauth`."
        )


def _settings_refusal(container: Mapping[str, str]) -> str | None:
    """The sentence with which the service itself would refuse to start."""
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(container, CONTAINER_APP_NAME="chat-api")
    try:
        read_settings(env_file=None)
    except SettingsError as e:
        sentence = str(e).removeprefix("chat-api: ")
        name = sentence.partition(":")[0]
        return f"{sentence} Next: `azd env set {name}=<value>`, or `azd env set {name}=` to unset it."
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return None


def opening_refusal(answer: Answer, app_exists: Callable[[], bool]) -> str | None:
    """None where nothing would be opened: it is open already, or there is no app yet."""
    if answer == "open" or (answer != "closed" and not app_exists()):
        return None
    seen = (
        "the running service answers only callers whom it knows"
        if answer == "closed"
        else f"it is not known whether the running service is closed ({answer})"
    )
    return (
        f"AUTH is not set here, and {seen}: this deployment would open it to everybody. Next: "
        f"`azd env set AUTH=<mode>` with what belongs to it, {_SAME_AS_BEFORE}; or, if everybody may use it from "
        "now on, `azd env set ALLOW_OPEN=true`."
    )


def ask_as_a_stranger(url: str, wait_s: float = ASK_S) -> Answer:
    """An empty POST of text/plain costs no turn: an open service answers 415, a closed one 401 or a sign-in."""
    deadline = time.monotonic() + wait_s
    pause_s = min(3.0, wait_s / 5)
    while True:
        answer, may_pass = _asked_once(f"{url}/api/chat", max(1.0, deadline - time.monotonic()))
        if not may_pass or time.monotonic() + pause_s > deadline:
            return answer
        time.sleep(pause_s)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _asked_once(url: str, timeout_s: float) -> tuple[Answer, bool]:
    """The answer, and whether another one may come: a replica that starts is not there, or a 502 to 504."""
    request = urllib.request.Request(url, b"", {"content-type": "text/plain"}, method="POST")  # noqa: S310  azd's own
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s) as response:
            return f"it answered {response.status}", False
    except urllib.error.HTTPError as e:
        with e:
            if e.code == 401 or (300 <= e.code < 400 and _is_sign_in(e.headers.get("location") or "")):
                return "closed", False
            return ("open" if e.code == 415 else f"it answered {e.code}"), e.code in (502, 503, 504)
    except (OSError, http.client.HTTPException) as e:
        return f"no answer: {getattr(e, 'reason', e)}", True


def _is_sign_in(location: str) -> bool:
    target = urllib.parse.urlsplit(location)
    return target.path.startswith("/.auth/login/") or (target.hostname or "").startswith("login.")


def app_exists(arm: str = ARM) -> bool:
    """Ask Azure, as whoever runs azd: azd's own variable is as old as the last `azd provision`.

    Exits where Azure does not say: a deployment needs the same right, and would fail as well.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  most deployments need not ask
    from azure.identity import AzureDeveloperCliCredential  # noqa: PLC0415

    names = [os.environ.get(f"AZURE_{name}", "-") for name in ("SUBSCRIPTION_ID", "RESOURCE_GROUP", "CHAT_API_NAME")]
    resource = "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.App/containerApps/{}".format(*names)
    try:
        token = AzureDeveloperCliCredential(process_timeout=60).get_token(f"{ARM}/.default").token
        request = urllib.request.Request(  # noqa: S310  Azure's own address
            f"{arm}{resource}?api-version=2025-07-01", headers={"authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310
            return True
    except urllib.error.HTTPError as e:
        with e:
            if e.code == 404:
                return False
            reason = str(e.code)
    except (AzureError, OSError, http.client.HTTPException) as e:
        reason = type(e).__name__
    sys.exit(
        f"settings: Azure does not say whether the app {names[-1]} is there ({reason}): nothing is deployed.\n"
        "Next: `azd auth login`, then again."
    )


def _key_refusal(deployment: Mapping[str, str], app_exists: Callable[[], bool]) -> str | None:
    made_here = os.environ.get(MADE_HERE)
    if not made_here or made_here != fingerprint(deployment.get("CONVERSATION_KEYS", "")) or not app_exists():
        return None
    return (
        "CONVERSATION_KEYS was made here, but the service was deployed from elsewhere, with another key: every "
        f"conversation would end. Next: `azd env set CONVERSATION_KEYS=<value>`, {_SAME_AS_BEFORE}; or, if that is "
        f"lost, `azd env set {MADE_HERE}=`."
    )


def _opening_refusal(deployment: Mapping[str, str], app_exists: Callable[[], bool]) -> str | None:
    url = os.environ.get("AZURE_CHAT_API_URI", "").rstrip("/")
    is_allowed = os.environ.get("ALLOW_OPEN", "").strip().lower() == "true"
    if deployment.get("AUTH", "none") != "none" or is_allowed or not url:
        return None
    return opening_refusal(ask_as_a_stranger(url), app_exists)


def main(app_exists: Callable[[], bool] = app_exists) -> None:
    deployment = expanded(os.environ)
    found = refusals(deployment)
    found += filter(None, (refusal(deployment, app_exists) for refusal in (_key_refusal, _opening_refusal)))
    if found:
        sys.exit("\n".join(["settings: nothing is deployed:", *(f"* {sentence}" for sentence in found)]))
    if os.environ.get(MADE_HERE):
        set_value(MADE_HERE, "")  # from now on it is the deployment's
    if deployment.get("AUTH") == "easyauth":
        set_value("SERVICE_CHAT_API_RESOURCE_EXISTS", "true" if app_exists() else "false")  # chat-api.bicep: appExists


if __name__ == "__main__":
    main()
