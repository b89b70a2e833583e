"""Do azure.yaml, the Bicep files, the hooks, the workflows and the service agree with each other?"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from gateway.settings import list_setting_names
from tests.support.bicep_files import INFRA, environment, outputs, parameters, sources
from tests.support.callers import calling, unread

ROOT = INFRA.parent
TEMPLATES = ["main", "chat-api"]
AZD_GIVES = {
    "AZURE_ENV_NAME",
    "AZURE_LOCATION",
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_TENANT_ID",
    "SERVICE_CHAT_API_IMAGE_NAME",
    "SERVICE_CHAT_API_RESOURCE_EXISTS",
}
HOOKS = sorted((INFRA / "hooks").glob("*.py"))
FOR_GITHUB = {"AZURE_CLIENT_ID"}  # who deploys, in the workflow


def azure_yaml() -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text("utf-8"))
    return described


def given(template: str) -> dict[str, str]:
    """What the parameters file says, unexpanded."""
    document = json.loads((INFRA / f"{template}.parameters.json").read_text("utf-8"))
    return {name: entry["value"] for name, entry in document["parameters"].items()}


def variables(template: str) -> dict[str, str | None]:
    """Each `${VAR=default}` of a parameters file; None where there is no default."""
    found = (re.fullmatch(r"\$\{(\w+)(?:=(.*))?\}", value) for value in given(template).values())
    return {match[1]: match[2] for match in found if match}


def test_azure_yaml_fits_its_schema() -> None:
    schema = json.loads((Path(__file__).parent / "schemas/azure.yaml.v1.json").read_text("utf-8"))
    registry = Registry(retrieve=lambda _: Resource.from_contents({}, DRAFT7))  # type: ignore[call-arg]  # other files
    assert [e.message for e in Draft7Validator(schema, registry=registry).iter_errors(azure_yaml())] == []


def test_azure_yaml_has_only_keys_that_mean_something() -> None:
    """The schema lets a misspelt key of a service pass."""
    project = azure_yaml()
    assert project.keys() == {"name", "requiredVersions", "infra", "pipeline", "services", "hooks"}
    assert project["services"].keys() == {"chat-api"}
    service = project["services"]["chat-api"]
    assert service.keys() == {"project", "language", "host", "module", "docker"}
    assert service["docker"] == {"path": "Dockerfile", "context": ".", "remoteBuild": True}


def test_hooks_are_python_programs_that_exist() -> None:
    for hook in azure_yaml()["hooks"].values():
        assert hook["kind"] == "python", "sh and pwsh are not everywhere"
        assert (ROOT / hook["run"]).is_file()
    assert (INFRA / "hooks/requirements.txt").is_file(), "azd would look for one further up, and install the project"


def test_app_is_deployed_by_the_file_that_azd_looks_for() -> None:
    service = azure_yaml()["services"]["chat-api"]
    assert (INFRA / f"{service['module']}.bicep").is_file()
    assert (INFRA / f"{service['module']}.parameters.json").is_file()
    assert "'azd-service-name': 'chat-api'" in (INFRA / "chat-api.bicep").read_text("utf-8")
    assert sources().count("'azd-service-name'") == 1


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_parameter_that_is_given_exists_and_every_needed_one_is_given(template: str) -> None:
    declared = parameters(f"{template}.bicep")
    needed = {name for name, default in declared.items() if default is None}
    assert needed <= given(template).keys() <= declared.keys()


@pytest.mark.parametrize("template", TEMPLATES)
def test_defaults_of_the_parameters_file_are_those_of_the_template(template: str) -> None:
    declared = parameters(f"{template}.bicep")
    for name, value in given(template).items():
        default = value.removesuffix("}").partition("=")[2] if "=" in value else None
        assert default == declared[name], name


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_variable_without_a_default_comes_from_azd_or_from_provisioning(template: str) -> None:
    known = AZD_GIVES | (outputs("main.bicep") if template == "chat-api" else set())
    assert {name for name, default in variables(template).items() if default is None} <= known


def test_every_variable_that_a_deployer_may_set_is_documented() -> None:
    words = (ROOT / "docs/deploy.md").read_text("utf-8")
    settable = {name for t in TEMPLATES for name, default in variables(t).items() if default is not None}
    own = settable - list_setting_names() - outputs("main.bicep") - AZD_GIVES
    assert own - set(re.findall(r"\b[A-Z_]+\b", words)) == set()


@pytest.mark.parametrize(
    "path",
    ["azure.yaml", "docs/deploy.md", "agent/__main__.py", *(f"infra/hooks/{path.name}" for path in HOOKS)],
)
def test_every_azure_variable_that_is_named_exists(path: str) -> None:
    named = set(re.findall(r"\b(?:AZURE|SERVICE)_[A-Z_]+[A-Z]\b", (ROOT / path).read_text("utf-8")))
    known = AZD_GIVES | FOR_GITHUB | outputs("main.bicep") | list_setting_names()
    assert named - known - variables("main").keys() - variables("chat-api").keys() == set()


def test_promised_outputs_are_there() -> None:
    promised = {
        "AZURE_CONTAINER_REGISTRY_ENDPOINT",
        "AZURE_CHAT_API_URI",
        "AZURE_CHAT_API_NAME",
        "AZURE_RESOURCE_GROUP",
        "AZURE_AI_ENDPOINT",
        "AZURE_AI_PROJECT_NAME",
        "AZURE_AI_PROJECT_ENDPOINT",
    }
    assert promised <= outputs("main.bicep")
    assert "AZURE_CLIENT_ID" not in outputs("main.bicep"), "azd keeps outputs, and signs in with that one in CI"


def test_every_variable_of_the_app_is_a_setting_of_the_service() -> None:
    assert environment("chat-api.bicep").keys() - list_setting_names() == set()


def test_settings_reach_the_app_under_their_own_names() -> None:
    """A parameter is its setting in camel case, and the azd variable is the setting: nothing to look up."""
    by_parameter = {name: value for name, value in given("chat-api").items() if value.startswith("${")}
    for setting, expression in environment("chat-api.bicep").items():
        if re.fullmatch(r"\w+", expression) and not setting.startswith("AZURE_"):
            assert by_parameter[expression].startswith(f"${{{setting}="), setting


def test_port_probes_and_drain_agree_with_the_service() -> None:
    app = (INFRA / "chat-api.bicep").read_text("utf-8")
    defaults = unread()
    assert f"var port = {defaults.port}\n" in app
    assert app.count("httpGet: health") == 3
    assert app.count("probes: probes") == 2, "the app, and the one that is there before its sign-in"
    assert "path: '/health'" in app
    with calling(unread()) as client:
        assert client.get("/health").status_code == 200
    declared = parameters("chat-api.bicep")
    assert (declared["drainS"], declared["maxStreams"]) == (f"{defaults.drain_s:g}", str(defaults.max_streams))
    assert "terminationGracePeriodSeconds: int(drainS) + 10" in app


def test_agent_has_the_same_name_and_model_in_its_description_and_in_the_template() -> None:
    described = yaml.safe_load((ROOT / "agent/agent.yaml").read_text("utf-8"))
    declared = parameters("main.bicep")
    assert (described["name"], described["model"]) == (declared["agentName"], declared["modelName"])


SECRETS = {"conversationKeys", "apiKeys", "rateLimitStorageUri"}


def test_nothing_of_azure_has_a_key_and_nothing_secret_is_put_out() -> None:
    text = sources()
    assert not re.search(r"listKeys|list\w*\(|sharedKey", text)
    assert outputs("chat-api.bicep") == set()
    assert not re.search(r"(?i)^output .*(secret|keys)", text, re.MULTILINE)
    assert re.findall(r".*ConnectionString", text) == ["    value: insights.properties.ConnectionString"], (
        "an address, where local authentication is off"
    )
    assert "adminUserEnabled: false" in text
    assert len(re.findall(r"(?i)disableLocalAuth: true", text)) == 3  # Foundry, the workspace, Application Insights


def test_the_services_own_secrets_are_never_plain_values() -> None:
    app = (INFRA / "chat-api.bicep").read_text("utf-8")
    assert set(re.findall(r"^@secure\(\)\nparam (\w+) ", app, re.MULTILINE)) == SECRETS
    assert not SECRETS & set(environment("chat-api.bicep").values())
    variables_of_secrets = set(re.findall(r"name: '([A-Z_]+)', secretRef: '", app))
    assert variables_of_secrets == {variables_given("chat-api")[name] for name in SECRETS} <= list_setting_names()


def variables_given(template: str) -> dict[str, str]:
    return {name: value.removeprefix("${").partition("=")[0] for name, value in given(template).items()}


def test_app_has_one_role_each_on_the_project_the_registry_and_application_insights() -> None:
    """And whatever is assigned is assigned by its GUID: names change."""
    scopes = re.findall(r"roleAssignments@[^=]*=.*?\n  scope: (\S+)\n", sources(), re.DOTALL)
    assert sorted(scopes) == ["account", "account::project", "account::project", "insights", "registry"]
    roles = {default for name, default in parameters("main.bicep").items() if name.endswith("RoleId")}
    roles |= set(re.findall(r"^var \w+ = '([0-9a-f-]{36})'$", sources(), re.MULTILINE))
    foundry_user, acr_pull = "53ca6127-db72-4b80-b1b0-d745d6d5456d", "7f951dda-4ed3-4680-a7ca-43fe172d538d"
    assert roles == {foundry_user, acr_pull, "3913510d-42f4-4e42-8a64-420c390055eb"}  # Monitoring Metrics Publisher


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_use_pinned_actions_and_ask_for_no_more_than_they_need(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text("utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [u for step in steps if (u := step.get("uses")) and not re.search(r"@v\d+\.\d+\.\d+$", u)] == []
    assert workflow["permissions"].keys() <= {"contents", "id-token"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    used = set(re.findall(r"secrets\.(\w+)", path.read_text("utf-8")))
    assert used <= set(azure_yaml()["pipeline"]["secrets"])


def test_lock_file_has_what_the_hooks_import() -> None:
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE))
    assert {"azure-ai-projects", "azure-identity", "pyyaml"} <= locked
