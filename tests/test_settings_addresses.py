"""What an endpoint, a Redis and an origin must be: mended where one thing alone can be meant, else refused."""

import asyncio

import pytest

from gateway.access.rate_limits import SharedRateLimits
from gateway.settings import Settings, SettingsError, read_settings
from tests.support.callers import unread

RESOURCE = "https://x.services.ai.azure.com"
PROJECT = f"{RESOURCE}/api/projects/p"
OPENAI = "https://x.openai.azure.com"
GATEWAY = "https://apim.example:8443/some-team/ai"
NOT_PROJECT = "must be a project's endpoint, https://<resource>.services.ai.azure.com/api/projects/<project>."
NOT_RESOURCE = "must be a Foundry resource's address, https://<resource>.services.ai.azure.com."
NOT_OPENAI = "must be an Azure OpenAI resource's address, https://<resource>.openai.azure.com."
PROJECT_NAMES = ("AZURE_AI_PROJECT_ENDPOINT", "FOUNDRY_PROJECT_ENDPOINT", "PROJECT_ENDPOINT")

OPENAI_TAILS = [
    "/openai",
    "/openai/v1",
    "/openai/v1/",
    "/openai/v1/responses",
    "/openai/v1/responses/",
    "/openai/v1/conversations",
    "/openai/v1/chat/completions",
    "/openai/responses?api-version=2025-04-01-preview",
    "/openai/deployments/gpt-4o",
    "/openai/deployments/gpt-4o/chat/completions?api-version=2024-08-01-preview",
]


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return read_settings(env_file=None)


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    with pytest.raises(SettingsError) as refused:
        read(monkeypatch, **environment)
    return str(refused.value)


@pytest.mark.parametrize("tail", [*OPENAI_TAILS, "/", "//", "/agents", "/agents/my-agent", "/assistants", "/threads"])
@pytest.mark.parametrize("base", [RESOURCE, GATEWAY, "http://127.0.0.1:8100", f"{RESOURCE}/", f"{RESOURCE}:443"])
def test_a_requests_path_behind_a_project_is_taken_off(base: str, tail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Field case F6 (codex#1628, paperless-ai#246, microsoft/mcp#862): it started, and no agent was ever found."""
    right = f"{base.rstrip('/')}/api/projects/my-project_1.x"
    for path in ("/api/projects/", "/api//projects/", "/API/Projects/"):
        given = base + path + "my-project_1.x" + tail
        assert read(monkeypatch, AZURE_AI_PROJECT_ENDPOINT=given).project_endpoint == right
        assert unread(azure_ai_endpoint=given, azure_ai_project_name="another").project_endpoint == right


@pytest.mark.parametrize(
    "resource",
    [
        RESOURCE,
        f"{RESOURCE}/",
        "https://x.cognitiveservices.azure.com",
        "https://x.CognitiveServices.azure.com/",
        f"{RESOURCE}/api",
        f"{RESOURCE}/api/projects",
        f"{RESOURCE}/api/projects/",
        f"{RESOURCE}/models",
        f"{RESOURCE}/models/chat/completions?api-version=2024-05-01-preview",
        *(RESOURCE + tail for tail in OPENAI_TAILS),
        *("https://x.cognitiveservices.azure.com" + tail for tail in OPENAI_TAILS),
    ],
)
@pytest.mark.parametrize("name", ["AZURE_AI_ENDPOINT", *PROJECT_NAMES])
def test_a_resource_and_a_projects_name_are_joined(name: str, resource: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Field case F6 (codex#1628, paperless-ai#246, microsoft/mcp#862): the resource, where a project belongs."""
    assert read(monkeypatch, **{name: resource}, AZURE_AI_PROJECT_NAME="p").project_endpoint == PROJECT


def test_a_gateway_may_stand_before_a_resource_or_a_project() -> None:
    joined = unread(azure_ai_endpoint=GATEWAY, azure_ai_project_name="p")
    assert joined.project_endpoint == f"{GATEWAY}/api/projects/p"
    other_cloud = unread(azure_ai_endpoint="https://x.cognitiveservices.azure.us", azure_ai_project_name="p")
    assert other_cloud.project_endpoint == "https://x.services.ai.azure.us/api/projects/p"
    assert unread(azure_openai_endpoint=f"{GATEWAY}/openai/v1").azure_openai_endpoint == GATEWAY


NO_PROJECTS = [
    RESOURCE,
    f"{RESOURCE}/",
    "https://x.cognitiveservices.azure.com",
    OPENAI,
    GATEWAY,
    f"{RESOURCE}/projects/p",
    f"{RESOURCE}/api/project/p",
    f"{RESOURCE}/api/projects",
    f"{RESOURCE}/api/projects/",
    f"{RESOURCE}/api/projects/..",
    f"{RESOURCE}/api/projects/a%20b",
    f"{RESOURCE}/api/projects/<project>",
    "https://<account>.services.ai.azure.com/api/projects/p",
    f"{RESOURCE}/openai/v1",
    f"{RESOURCE}/openai/deployments/gpt",
    f"{PROJECT}/api/projects/q",
    f"{PROJECT}/openai/v2",
    f"{PROJECT}/something",
    f"{PROJECT}?api-version=v1",
    f"{PROJECT}#top",
    "https://me@x.services.ai.azure.com/api/projects/p",
    "https://a..b/api/projects/p",
    "https://[::1/api/projects/p",
    "https://x.services.ai.azure.com:eighty/api/projects/p",
    "https://x.services.ai.azure.com:70000/api/projects/p",
    "https://x.services.ai .azure.com/api/projects/p",
    "https:///api/projects/p",
    "https://ai.azure.com/foundryProject/overview",
    "x.services.ai.azure.com/api/projects/p",
    '"https://x.services.ai.azure.com/api/projects/p"',
    "eastus.api.azureml.ms;subscription;group;project",
]


@pytest.mark.parametrize("value", NO_PROJECTS)
def test_what_is_no_projects_endpoint_is_refused_with_the_right_form(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Field case F6 (codex#1628, paperless-ai#246, microsoft/mcp#862)."""
    assert refusal(monkeypatch, PROJECT_ENDPOINT=value) == f"chat-api: PROJECT_ENDPOINT: {NOT_PROJECT}"


@pytest.mark.parametrize(
    "value",
    [
        f"{RESOURCE}/something",
        f"{RESOURCE}/projects/p",
        f"{RESOURCE}/v1",
        f"{RESOURCE}?x=1",
        OPENAI,
        "https://ai.azure.com",
        "https://api.openai.com/v1",
        "https://gw.example/projects/p",
        "https://gw.example/../x",
        f"{RESOURCE}/api/projects/p/something",
    ],
)
def test_what_is_no_resource_is_refused_with_the_right_form(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Field case F6 (codex#1628, paperless-ai#246, microsoft/mcp#862)."""
    said = refusal(monkeypatch, AZURE_AI_ENDPOINT=value, AZURE_AI_PROJECT_NAME="p")
    form = NOT_PROJECT if "/projects/" in value else NOT_RESOURCE
    assert said == f"chat-api: AZURE_AI_ENDPOINT: {form}"


@pytest.mark.parametrize("tail", ["", "/", *OPENAI_TAILS])
@pytest.mark.parametrize("base", [OPENAI, RESOURCE, "https://x.cognitiveservices.azure.com", GATEWAY, "http://[::1]:1"])
def test_a_requests_path_behind_an_azure_openai_resource_is_taken_off(base: str, tail: str) -> None:
    """Field case F6 (codex#1628, paperless-ai#246, microsoft/mcp#862): `/ready` said ready, no turn was answered."""
    assert unread(azure_openai_endpoint=base + tail).azure_openai_endpoint == base


@pytest.mark.parametrize(
    "value",
    [
        PROJECT,
        f"{PROJECT}/openai/v1",
        f"{GATEWAY}/api/projects/p/openai/v1",
        f"{OPENAI}/v1",
        f"{OPENAI}/deployments/gpt",
        f"{OPENAI}/openai/v2",
        f"{OPENAI}/something",
        f"{OPENAI}/?api-version=1",
        "https://gw.example/v1/chat/completions",
        "https://api.openai.com/v1",
        "https://oai.azure.com",
        "https://<resource>.openai.azure.com",
        "x.openai.azure.com",
    ],
)
def test_what_is_no_azure_openai_resource_is_refused_with_the_right_form(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Field case F6 (codex#1628, paperless-ai#246, microsoft/mcp#862)."""
    assert refusal(monkeypatch, AZURE_OPENAI_ENDPOINT=value) == f"chat-api: AZURE_OPENAI_ENDPOINT: {NOT_OPENAI}"


@pytest.mark.parametrize(
    "value", ["collector:4318", "http://collector:port", "http://a..b:4318", "http://", "http://c/?x"]
)
def test_a_collector_that_cannot_be_reached_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=value)
    assert said.startswith("chat-api: OTEL_EXPORTER_OTLP_ENDPOINT: must be the URL of an OpenTelemetry collector, ")


GOOD_REDIS = [
    "redis://127.0.0.1:9",
    "redis://127.0.0.1:9/",
    "redis://127.0.0.1:9/3",
    "redis://[::1]:9/0",
    "redis://:pass%2Fword@localhost:9/0",
    "redis://user:p+w=@localhost:9?protocol=3&db=2",
    "redis://localhost:9?socket_timeout=0.1&socket_connect_timeout=1",
    "rediss://:key=@localhost:9/0?ssl_cert_reqs=none&ssl_check_hostname=false",
]
BAD_REDIS = [
    "redis://",
    "redis://:6379",
    "redis:///0",
    "redis://h:abc",
    "redis://h:0",
    "redis://h:99999",
    "redis://[::1",
    "redis://a..b:9",
    "redis://-h:9",
    "redis://h h:9",
    "redis://:pass/word@h:9",
    "redis://:pass#word@h:9",
    "redis://h:9/zero",
    "redis://h:9/0/1",
    "redis://h:9?socket_timeout=x",
    "redis://h:9?socket_timeout=nan",
    "redis://h:9?socket_timeout=-1",
    "redis://h:9?socket_timeout=",
    "redis://h:9?db=x",
    "redis://h:9?protocol=4",
    "redis://h:9?max_connections=many",
    "redis://h:9?something=1",
    "redis://h:9?retry=1",
    "redis://h:9?ssl_cert_reqs=none",
    "rediss://h:9?ssl_cert_reqs=sometimes",
    "http://h:9",
    "unix:///run/redis.sock",
    "h:9",
]


@pytest.mark.parametrize("uri", BAD_REDIS)
def test_a_redis_address_that_cannot_work_is_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It started, and every POST was a 500."""
    said = refusal(monkeypatch, RATE_LIMIT="9/day", RATE_LIMIT_STORAGE_URI=uri)
    assert said.startswith("chat-api: RATE_LIMIT_STORAGE_URI: must be redis://<host>:<port>/<database>")
    assert "word" not in said.replace("password", "")


@pytest.mark.parametrize("uri", GOOD_REDIS)
def test_with_any_other_redis_address_callers_are_counted(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    async def count() -> None:
        rates = SharedRateLimits(unread(rate_limit="9/day", rate_limit_storage_uri=uri))
        await rates.count("ann")
        await rates.aclose()

    asyncio.run(count())
    assert [record.getMessage()[:37] for record in caplog.records] == ["Redis unavailable, rate limits are pe"]


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://a.example", ("https://a.example",)),
        ("https://a.example/, http://localhost:3000 ,", ("https://a.example", "http://localhost:3000")),
        ("HTTPS://A.Example", ("https://a.example",)),
        ("https://a.example:443,http://b.example:80", ("https://a.example", "http://b.example")),
        ("http://a.example:443", ("http://a.example:443",)),
        ("http://[::1]:3000,http://[0:0:0:0:0:0:0:1]", ("http://[::1]:3000", "http://[::1]")),
        ("https://münchen.example", ("https://xn--mnchen-3ya.example",)),
        ("capacitor://localhost,chrome-extension://abc", ("capacitor://localhost", "chrome-extension://abc")),
    ],
)
def test_origins_are_what_browsers_send(given: str, origins: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, ALLOWED_ORIGINS=given).allowed_origins == origins


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("example.com", ""),
        ("https://a.example/page", ""),
        ("https://a.example?x", ""),
        ("https://me@a.example", ""),
        ("https://a.example:port", ""),
        ("https://", ""),
        ("//a.example", ""),
        ("file://", ""),
        ("null", "cannot have null, which every sandboxed frame and local file sends: "),
        ("https://a.example, NULL", "cannot have null, which every sandboxed frame and local file sends: "),
        ("*,null", "cannot have null, which every sandboxed frame and local file sends: "),
        ("https://*.example.com", "cannot have a wildcard in an origin: "),
        ("https://a.example,https://*", "cannot have a wildcard in an origin: "),
        ("http://localhost:*", "cannot have a wildcard in an origin: "),
        ("*.example.com", "cannot have a wildcard in an origin: "),
        ("*://a.example", "cannot have a wildcard in an origin: "),
        ("https://a.*", "cannot have a wildcard in an origin: "),
    ],
)
def test_what_no_browser_sends_or_anybody_can_send_is_no_origin(
    given: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(monkeypatch, ALLOWED_ORIGINS=given)
    form = "must be origins such as https://example.com, comma-separated, or *."
    assert said == f"chat-api: ALLOWED_ORIGINS: {reason}{form}"
