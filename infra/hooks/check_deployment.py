"""azd's predeploy hook: refuse a deployment that would not start, or would open a closed service, before it is made.

It reads the settings as the container will, so that a wrong one costs a second here and not minutes of a revision that
never gets ready. Each refusal is a sentence with the next step, and has a test in tests/test_check_deployment.py.
"""
# ruff: noqa: T201  it talks to whoever runs azd

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from azd_env import MADE_HERE, fingerprint, set_value
from running_app import ARM, AzureSilent, address_ranges, ask_as_a_stranger, find_app, variables, was_ever_ready

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from gateway.backends import describe_missing_setting  # noqa: E402  found by the line above
from gateway.settings import VAULT_REFERENCE, SettingsError, list_setting_names, read_settings  # noqa: E402
from gateway.settings_access import GUID  # noqa: E402

_PARAMETERS = ROOT / "infra/chat-api.parameters.json"
_PROVISIONED = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZURE_CHAT_API_NAME", "AZURE_CHAT_API_URI")
_BREAKS_JSON = re.compile(r'["\\\x00-\x1f]')  # azd puts a value between the quotes of a JSON file as it is
_WHOLE_NUMBERS = ("DRAIN_S", "MIN_REPLICAS", "MAX_REPLICAS", "COOLDOWN_S", "CONCURRENT_REQUESTS")
_SET_BY_THE_TEMPLATE = {"PORT", "APPLICATIONINSIGHTS_CONNECTION_STRING"}
_AS_BEFORE = "as `azd env get-values` shows it where the service was deployed from"


def main(arm: str = ARM) -> None:
    if missing := [name for name in _PROVISIONED if not os.environ.get(name)]:
        sys.exit(
            f"settings: there is nothing yet to deploy to: {missing[0]} is not set.\n"
            "Next: `azd provision`, or `azd up`, which does both."
        )
    deployment = expand_parameters(os.environ)
    found = find_refusals(deployment)
    app = None
    try:
        app = find_app(arm)
    except AzureSilent as e:
        found.append(f"Azure does not say whether the app is there already ({e}). Next: `azd auth login`, then again.")
    if app is not None:
        found += find_losses(deployment, app)
        if dropped := sorted(variables(app) - container_environment(deployment).keys() - _SET_BY_THE_TEMPLATE):
            print(f"settings: no longer set, though the running service has them: {', '.join(dropped)}")
    if found:
        sys.exit("\n".join(["settings: nothing is deployed:", *(f"* {sentence}" for sentence in found)]))
    if os.environ.get(MADE_HERE):
        set_value(MADE_HERE, "")  # from now on it is the deployment's
    set_value("SERVICE_CHAT_API_RESOURCE_EXISTS", "false" if app is None else "true")  # chat-api.bicep: appExists


def expand_parameters(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of chat-api.parameters.json with the values that azd will put there; empty ones are left out."""
    document = json.loads(_PARAMETERS.read_text("utf-8"))
    found = {}
    for entry in document["parameters"].values():
        match = re.fullmatch(r"\$\{(\w+)(?:=(.*))?\}", entry["value"])
        assert match, entry
        if value := environment.get(match[1]) or match[2]:
            found[match[1]] = value
    return found


def container_environment(deployment: Mapping[str, str]) -> dict[str, str]:
    """Exactly the variables that chat-api.bicep sets from settings (tests/test_bicep.py compares the two)."""
    names = list_setting_names()
    container = {name: value for name, value in deployment.items() if name in names}
    if deployment.get("AZURE_AI_AGENT_ID"):
        container = {name: value for name, value in container.items() if not name.startswith("AZURE_OPENAI_")}
    if client_id := deployment.get("AZURE_IDENTITY_CLIENT_ID"):
        container["AZURE_CLIENT_ID"] = client_id
    return container


def find_refusals(deployment: Mapping[str, str]) -> list[str]:
    """What can be seen without asking anybody."""
    found = [*_refuse_values(deployment), *_refuse_easy_auth(deployment)]
    sentence = _refuse_settings(container_environment(deployment))
    if sentence and not any(each.startswith(sentence.partition(":")[0]) for each in found):
        found.append(sentence)
    return found


def _refuse_values(deployment: Mapping[str, str]) -> Iterator[str]:
    """What the service would not notice, because azd loses or changes it on the way."""
    for name, value in deployment.items():
        if VAULT_REFERENCE.search(value):
            yield (
                f"{name} is a reference to a key vault, and nobody resolves it: the service would use the text of the "
                f"reference as the value. Next: `azd env set {name}=<the value itself>`."
            )
        elif _BREAKS_JSON.search(value):
            yield f'{name} has a quote (") or a backslash, which azd cannot pass on. Next: write it without.'
        elif value != value.strip():
            yield f"{name} begins or ends with a space. Next: `azd env set {name}=<value>` without it."
    for name in _WHOLE_NUMBERS:
        if not re.fullmatch(r"\d{1,9}", deployment.get(name, "0")):
            yield f"{name} must be a whole number here. Next: `azd env set {name}=<number>`."
    if not deployment.get("CONVERSATION_KEYS"):
        yield (
            "CONVERSATION_KEYS is not set here. Without the key that signed them every conversation ends. "
            f"Next: `azd env set CONVERSATION_KEYS=<value>`, {_AS_BEFORE}."
        )


def _refuse_easy_auth(deployment: Mapping[str, str]) -> Iterator[str]:
    client_id, is_easy_auth = deployment.get("EASY_AUTH_CLIENT_ID", ""), deployment.get("AUTH") == "easyauth"
    if is_easy_auth and not GUID.fullmatch(client_id.lower()):
        yield (
            "EASY_AUTH_CLIENT_ID must be the client id of an app registration (8-4-4-4-12 hexadecimal digits) with "
            "AUTH=easyauth: without it nobody can sign in. Next: `azd env set EASY_AUTH_CLIENT_ID=<client id>`."
        )
    if client_id and not is_easy_auth:
        yield (
            "EASY_AUTH_CLIENT_ID has no effect without AUTH=easyauth. "
            "Next: `azd env set EASY_AUTH_CLIENT_ID=`, or `azd env set AUTH=easyauth`."
        )


def _refuse_settings(container: Mapping[str, str]) -> str | None:
    """The sentence with which the service itself would refuse to start, or each turn for want of an upstream."""
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(container, CONTAINER_APP_NAME="chat-api")
    try:
        sentence = describe_missing_setting(read_settings(env_file=None))
        return sentence and f"{sentence} Next: `azd env set {sentence.partition(' ')[0]}=<value>`."
    except SettingsError as e:
        sentence = str(e).removeprefix("chat-api: ")
        value = "" if "has no effect" in sentence else "<value>"
        return f"{sentence} Next: `azd env set {sentence.partition(':')[0]}={value}`."
    finally:
        os.environ.clear()
        os.environ.update(kept)


def find_losses(deployment: Mapping[str, str], app: dict[str, Any]) -> list[str]:
    """What this deployment would take away from the service that runs: its conversations, or who may not call it."""
    found = []
    made_here = os.environ.get(MADE_HERE)
    if made_here and made_here == fingerprint(deployment.get("CONVERSATION_KEYS", "")):
        found.append(
            "CONVERSATION_KEYS was made here, but the service was deployed from elsewhere, with another key: every "
            f"conversation would end. Next: `azd env set CONVERSATION_KEYS=<value>`, {_AS_BEFORE}; or, if that is "
            f"lost, `azd env set {MADE_HERE}=`."
        )
    if os.environ.get("ALLOW_OPEN", "").strip().lower() == "true" or not was_ever_ready(app):
        return found
    if address_ranges(app) and not deployment.get("ALLOWED_IPS"):
        found.append(
            "ALLOWED_IPS is not set here, and the running service lets only some addresses connect: this deployment "
            f"would let all of them. Next: `azd env set ALLOWED_IPS=<ranges>`, {_AS_BEFORE}; or, if everybody may "
            "connect from now on, `azd env set ALLOW_OPEN=true`."
        )
    if deployment.get("AUTH", "none").strip() == "none":
        found += refuse_to_open(ask_as_a_stranger(os.environ["AZURE_CHAT_API_URI"].rstrip("/")))
    return found


def refuse_to_open(answer: str) -> list[str]:
    """`answer`: what a stranger got from the running service."""
    if answer == "open":
        return []
    seen = (
        "the running service answers only callers whom it knows"
        if answer == "closed"
        else f"it is not known whether the running service is closed ({answer})"
    )
    return [
        f"AUTH is empty or none here, and {seen}: this deployment would open it to everybody. Next: "
        f"`azd env set AUTH=<mode>` with what belongs to it, {_AS_BEFORE}; or, if everybody may use it from now on, "
        "`azd env set ALLOW_OPEN=true`."
    ]


if __name__ == "__main__":
    main()
