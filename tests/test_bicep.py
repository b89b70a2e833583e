"""Do the templates compile, and do they make what they promise? The real Bicep CLI says so, where there is one.

`BICEP=<path of the CLI> make test-all`, or `az bicep install` once. GitHub's workflow has it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.azd_hooks import load_hook
from tests.support.bicep_files import INFRA, TEMPLATES, built, compiler, resources, run_bicep

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no Bicep CLI here: `az bicep install`")

GUID = "11111111-2222-3333-4444-555555555555"
PROVISIONED = {  # main.bicep's outputs, and what azd adds
    "AZURE_ENV_NAME": "t1",
    "AZURE_CHAT_API_NAME": "chat-api",
    "SERVICE_CHAT_API_IMAGE_NAME": "cr.azurecr.io/chat-api:1",
    "AZURE_CONTAINER_REGISTRY_ENDPOINT": "cr.azurecr.io",
    "AZURE_CONTAINER_APPS_ENVIRONMENT_NAME": "cae",
    "AZURE_IDENTITY_NAME": "id",
    "AZURE_IDENTITY_CLIENT_ID": GUID,
    "AZURE_APPLICATION_INSIGHTS_NAME": "appi",
    "AZURE_AI_PROJECT_ENDPOINT": "https://x.services.ai.azure.com/api/projects/chat",
    "AZURE_AI_AGENT_ID": "chat-agent",
    "CONVERSATION_KEYS": "k" * 64,
}
EASY_AUTH = {"AUTH": "easyauth", "EASY_AUTH_CLIENT_ID": GUID}
APP, SIGN_IN = "Microsoft.App/containerApps", "Microsoft.App/containerApps/authConfigs"


def deployment(folder: Path, **environment: str) -> list[dict[str, Any]]:
    return resources(folder, "chat-api", {**PROVISIONED, **environment})


def variables_of(app: dict[str, Any]) -> dict[str, str]:
    """The container's environment; a secret's value is looked up, as Container Apps does."""
    secrets = {secret["name"]: secret["value"] for secret in app["properties"]["configuration"].get("secrets", [])}
    (container,) = app["properties"]["template"]["containers"]
    entries = container.get("env", [])
    return {entry["name"]: entry["value"] if "value" in entry else secrets[entry["secretRef"]] for entry in entries}


@pytest.mark.parametrize("template", TEMPLATES)
def test_template_compiles_without_warnings_and_is_formatted(template: str) -> None:
    for command in ("build", "lint"):
        done = run_bicep(command, INFRA / template, *(["--stdout"] if command == "build" else []))
        assert (done.returncode, done.stderr) == (0, ""), command
    formatted = run_bicep("format", INFRA / template, "--stdout")
    assert formatted.stdout == (INFRA / template).read_text("utf-8"), "`bicep format` would change it"


@pytest.mark.parametrize(
    "mode",
    [
        {},
        {"AUTH": "key", "API_KEYS": "ann:" + "0" * 64, "RATE_LIMIT": "20/minute"},
        {"RATE_LIMIT": "20/minute", "RATE_LIMIT_STORAGE_URI": "rediss://:word@host:6380/0", "CHAT_PAGE": "true"},
        {
            "AZURE_AI_AGENT_ID": "",
            "AZURE_AI_PROJECT_ENDPOINT": "",
            "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com",
        },
        {"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com", "AZURE_OPENAI_DEPLOYMENT_NAME": "gpt"},
        {"AUTH": "entra", "AUTH_TENANT_ID": GUID, "AUTH_AUDIENCE": "api://x", "AUTH_ROLE": "*", "DRAIN_S": "50"},
    ],
    ids=lambda mode: ",".join(mode) or "default",
)
def test_container_gets_just_the_variables_that_the_predeploy_hook_reads(mode: dict[str, str], tmp_path: Path) -> None:
    hook = load_hook("check_deployment")
    read = hook.container_environment(hook.expand_parameters({**PROVISIONED, **mode}))
    (app,) = [made for made in deployment(tmp_path, **mode) if made["type"] == APP]
    got = variables_of(app)
    assert got.pop("PORT") == "8000"
    assert got.pop("APPLICATIONINSIGHTS_CONNECTION_STRING").startswith("[reference(")
    assert got == read
    assert len(got) >= 5


def test_secrets_are_secrets_of_the_app(tmp_path: Path) -> None:
    secret = {"CONVERSATION_KEYS": "c" * 64, "API_KEYS": "ann:" + "0" * 64, "RATE_LIMIT_STORAGE_URI": "redis://:w@h/0"}
    (app,) = [made for made in deployment(tmp_path, AUTH="key", **secret) if made["type"] == APP]
    (container,) = app["properties"]["template"]["containers"]
    references = {entry["name"]: entry["secretRef"] for entry in container["env"] if "secretRef" in entry}
    assert references == {name: name.lower().replace("_", "-") for name in secret}
    assert not [entry for entry in container["env"] if entry.get("value") in secret.values()]
    assert variables_of(app).items() >= secret.items()


def test_into_easyauth_the_sign_in_stands_before_a_revision_believes_its_headers(tmp_path: Path) -> None:
    sign_in, app = deployment(tmp_path, **EASY_AUTH, SERVICE_CHAT_API_RESOURCE_EXISTS="true")
    assert (sign_in["type"], app["type"]) == (SIGN_IN, APP)
    assert sign_in["properties"]["platform"] == {"enabled": True}
    assert sign_in["properties"]["globalValidation"]["unauthenticatedClientAction"] == "Return401"
    registration = sign_in["properties"]["identityProviders"]["azureActiveDirectory"]["registration"]
    assert registration["clientId"] == GUID
    assert variables_of(app)["AUTH"] == "easyauth"


def test_a_first_app_with_easyauth_cannot_be_reached_before_its_sign_in(tmp_path: Path) -> None:
    first, sign_in, app = deployment(tmp_path, **EASY_AUTH)
    assert [made["type"] for made in (first, sign_in, app)] == [APP, SIGN_IN, APP]
    assert first["id"] == app["id"]
    assert first["properties"]["configuration"]["ingress"]["external"] is False
    assert variables_of(first) == {}, "it could answer nobody, and believes nobody"
    assert app["properties"]["configuration"]["ingress"]["external"] is True


def test_each_step_of_the_sign_in_waits_for_the_one_before() -> None:
    """A snapshot lists what does not wait for each other in an order that may just happen to fit."""
    made = json.loads(built("chat-api"))["resources"]
    waits = {resource["name"]: resource.get("dependsOn", []) for resource in made}
    module, app = "[resourceId('Microsoft.Resources/deployments', '{}')]", "[parameters('appName')]"
    assert waits.pop(app) == [module.format("sign-in-on")]
    assert waits == {
        "unexposed-app": [],
        "sign-in-on": [module.format("unexposed-app")],
        "sign-in-off": ["[resourceId('Microsoft.App/containerApps', parameters('appName'))]"],
    }


@pytest.mark.parametrize("auth", ["", "key", "entra", "none"])
def test_out_of_easyauth_the_revision_goes_first(auth: str, tmp_path: Path) -> None:
    app, sign_in = deployment(tmp_path, AUTH=auth, SERVICE_CHAT_API_RESOURCE_EXISTS="true")
    assert (app["type"], sign_in["type"]) == (APP, SIGN_IN)
    assert sign_in["properties"]["platform"] == {"enabled": False}
    assert variables_of(app).get("AUTH", "") == auth


def test_auth_with_spaces_around_it_still_gets_its_sign_in(tmp_path: Path) -> None:
    """The service trims its settings: ` easyauth` would be believed there, and no sign-in be made here."""
    sign_in, _ = deployment(tmp_path, **{**EASY_AUTH, "AUTH": " easyauth "}, SERVICE_CHAT_API_RESOURCE_EXISTS="true")
    assert sign_in["properties"]["platform"] == {"enabled": True}
