"""Is the agent in Azure the one that agent/ describes? agent/__main__.py and its hook, against the emulator."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from agent.__main__ import AGENT, ProvisionError
from agent.__main__ import provision as provision_agent
from tests.support.callers import unread
from tests.support.servers import serving

ROOT = Path(__file__).resolve().parents[1]
NAME = "missing-until-made"  # the emulator has every agent but those called missing…


def provision(url: str, folder: Path = AGENT, wait_s: float = 0) -> str:
    settings = unread(azure_ai_project_endpoint=f"{url}/api/projects/p", azure_ai_agent_id=NAME)
    return provision_agent(settings, folder, wait_s)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With nothing of this machine's environment but what is given."""
    return subprocess.run(
        [sys.executable, *command],
        env={"PYTHONPATH": str(ROOT), "AZURE_AI_AGENT_ID": NAME, **environment},
        cwd=ROOT / "infra",  # no .env here
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def versions(url: str) -> list[dict[str, Any]]:
    """Newest last."""
    answer = httpx.get(
        f"{url}/api/projects/p/agents/{NAME}/versions?order=asc&api-version=v1", headers={"authorization": "Bearer x"}
    )
    rows: list[dict[str, Any]] = answer.json()["data"]
    return sorted(rows, key=lambda row: int(row["version"]))


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """A copy of agent/ to change."""
    return Path(shutil.copytree(ROOT / "agent", tmp_path / "agent"))


def test_first_run_makes_the_agent_from_its_files(emulator: str) -> None:
    done = run(
        "-m",
        "agent",
        AZURE_AI_PROJECT_ENDPOINT=f"{emulator}/api/projects/p",
        AZURE_AI_MODEL_DEPLOYMENT_NAME="gpt-mine",
    )
    assert (done.stdout, done.stderr) == (f"agent: {NAME} created (version 1, model gpt-mine)\n", "")
    (made,) = versions(emulator)
    assert made["definition"] == {
        "kind": "prompt",
        "model": "gpt-mine",
        "instructions": (ROOT / "agent/instructions.md").read_text("utf-8").strip(),
        "tools": [],
    }


def test_an_endpoint_is_understood_as_the_service_understands_it(emulator: str) -> None:
    """Field case F6 (codex#1628, paperless-ai#246, microsoft/mcp#862): one code reads it for both."""
    done = run("-m", "agent", AZURE_AI_PROJECT_ENDPOINT=f"{emulator}/api/projects/p/openai/v1/responses")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(versions(emulator)) == 1
    refused = run("-m", "agent", AZURE_AI_PROJECT_ENDPOINT=f"{emulator}/projects/p")
    assert refused.stderr.startswith("chat-api: AZURE_AI_PROJECT_ENDPOINT: must be a project's endpoint, https://")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("file", ["agent.yaml", "instructions.md"])
@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig"])
def test_its_files_are_read_in_utf_8_alone(file: str, encoding: str, agent: Path, emulator: str) -> None:
    """Field case F11 (PowerShell's `>>`; python-dotenv#637) is not of `.env` alone."""
    path = agent / file
    path.write_text(path.read_text("utf-8") + "\n# é\n", encoding)
    if encoding == "utf-8-sig":
        assert "created" in provision(emulator, agent)
        assert not versions(emulator)[-1]["definition"]["instructions"].startswith("\ufeff")
        return
    with pytest.raises(ProvisionError) as refused:
        provision(emulator, agent)
    assert str(refused.value).startswith(f"{path} is not in UTF-8: save it as UTF-8 (")


def test_second_run_leaves_the_agent_alone(emulator: str) -> None:
    provision(emulator)
    assert provision(emulator) == f"agent: {NAME} is unchanged (version 1)"
    assert len(versions(emulator)) == 1


def write_instructions(agent: Path) -> None:
    (agent / "instructions.md").write_text("Be brief.", "utf-8")


def write_model(agent: Path) -> None:
    replace(agent, "gpt-5.4-mini", "gpt-6")


def write_tool(agent: Path) -> None:
    replace(agent, "tools: []", "tools: [{type: code_interpreter, container: {type: auto}}]")


def replace(agent: Path, old: str, new: str) -> None:
    text = (agent / "agent.yaml").read_text("utf-8")
    assert old in text
    (agent / "agent.yaml").write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize("change", [write_instructions, write_model, write_tool])
def test_changed_description_makes_a_new_version(emulator: str, agent: Path, change: Callable[[Path], None]) -> None:
    provision(emulator, agent)
    change(agent)
    done = provision(emulator, agent)
    assert done.startswith(f"agent: {NAME} updated (version 2, ")
    assert provision(emulator, agent) == f"agent: {NAME} is unchanged (version 2)"


def test_tool_option_taken_out_makes_a_new_version(emulator: str, agent: Path) -> None:
    replace(agent, "tools: []", "tools: [{type: web_search, search_context_size: low}]")
    provision(emulator, agent)
    replace(agent, ", search_context_size: low", "")
    assert "updated (version 2" in provision(emulator, agent)


def test_edit_in_the_portal_is_replaced_by_the_description(emulator: str) -> None:
    provision(emulator)
    (made,) = versions(emulator)
    edited = {"definition": {**made["definition"], "instructions": "Sing."}, "metadata": made["metadata"]}
    httpx.post(
        f"{emulator}/api/projects/p/agents/{NAME}/versions?api-version=v1",
        headers={"authorization": "Bearer x"},
        json=edited,
    )
    assert "updated (version 3" in provision(emulator)
    assert versions(emulator)[-1]["definition"] == made["definition"]


def test_defaults_that_the_service_adds_are_no_change(agent: Path) -> None:
    kept: dict[str, Any] = {}

    async def get(_: Request) -> JSONResponse:
        if not kept:
            return JSONResponse({"error": {"code": "not_found", "message": ""}}, 404)
        return JSONResponse({"object": "agent", "id": NAME, "name": NAME, "versions": {"latest": kept}})

    async def post(request: Request) -> JSONResponse:
        kept.update(await request.json(), id=f"{NAME}:1", name=NAME, version="1", object="agent.version", created_at=1)
        kept["definition"]["temperature"] = 1.0
        kept["definition"]["tools"][0]["user_location"] = None
        return JSONResponse(kept)

    path = "/api/projects/p/agents/{name}"
    app = Starlette(routes=[Route(path, get), Route(f"{path}/versions", post, methods=["POST"])])
    replace(agent, "tools: []", "tools: [{type: web_search}]")
    with serving(app) as url:
        assert "created (version 1" in provision(url, agent)
        assert provision(url, agent) == f"agent: {NAME} is unchanged (version 1)"


def test_missing_role_is_waited_for_and_then_explained(capsys: pytest.CaptureFixture[str]) -> None:
    calls = 0

    async def denied(_: Request) -> JSONResponse:
        nonlocal calls
        calls += 1
        return JSONResponse({"error": {"code": "PermissionDenied", "message": "lacks agents/read"}}, 401)

    app = Starlette(routes=[Route("/{path:path}", denied, methods=["GET", "POST"])])
    with serving(app) as url, pytest.raises(ProvisionError, match="the role Foundry User on the project"):
        provision(url, wait_s=1)
    assert capsys.readouterr().out.startswith("agent: waiting, up to 1 s: whoever is signed in may not change agents")
    assert calls > 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "agent: no project to make it in. Next: `azd provision`"),
        ({"AZURE_AI_PROJECT_ENDPOINT": "https://127.0.0.1:9/api/projects/p", "PATH": ""}, "Next: `azd auth login`"),
        ({"AZURE_AI_PROJECT_ENDPOINT": "http://127.0.0.1:9/api/projects/p"}, "the project cannot be reached"),
        ({"AZURE_AI_PROJECT_ENDPOINT": "https://x/api/projects/p", "AZURE_AI_AGENT_ID": "asst_1"}, "a classic agent"),
    ],
)
def test_failure_says_what_to_do_next(environment: dict[str, str], said: str) -> None:
    done = run("-m", "agent", **environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_misspelt_key_in_the_description_is_refused(emulator: str, agent: Path) -> None:
    replace(agent, "tools:", "tolls:")
    with pytest.raises(ProvisionError, match="must have exactly instructions, model, name, tools"):
        provision(emulator, agent)


def test_pinned_agent_is_left_alone() -> None:
    settings = unread(azure_ai_project_endpoint="http://127.0.0.1:9/api/projects/p", azure_ai_agent_id="agent:1")
    assert provision_agent(settings, AGENT, 0) == "agent: agent:1 is pinned to a version and left alone"


def test_hook_makes_the_agent_of_a_project_that_azd_made(emulator: str) -> None:
    done = run("hooks/make_agent.py", AZURE_AI_PROJECT_ENDPOINT=f"{emulator}/api/projects/p", PYTHONPATH="")
    assert done.stdout == f"agent: {NAME} created (version 1, model gpt-5.4-mini)\n"


@pytest.mark.parametrize(
    ("brought", "said"),
    [
        ({"AZURE_EXISTING_AIPROJECT_RESOURCE_ID": "/subscriptions/…"}, "agent: the project is your own"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}, "agent: none, the answers come from AZURE_OPENAI"),
    ],
)
def test_hook_leaves_alone_what_was_brought(brought: dict[str, str], said: str) -> None:
    done = run("hooks/make_agent.py", **brought)
    assert done.returncode == 0
    assert done.stdout.startswith(said)
