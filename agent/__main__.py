"""`python -m agent`: make or update the agent as agent/ describes it. azd runs it after every provision.

A version is made only when model, instructions or tools differ from the newest one, so it can be run at any time.
https://learn.microsoft.com/azure/foundry/agents
"""
# ruff: noqa: T201  it talks to whoever runs it

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from azure.ai.projects import AIProjectClient
from azure.ai.projects.models import AgentDetails, PromptAgentDefinition
from azure.core.credentials import AccessToken, AzureKeyCredential, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.core.pipeline.policies import AzureKeyCredentialPolicy
from azure.identity import AzureCliCredential, AzureDeveloperCliCredential, ChainedTokenCredential

from gateway.settings import Settings, is_loopback, read_settings
from gateway.settings_file import read_utf8

AGENT = Path(__file__).resolve().parent
_KEYS = {"name", "model", "instructions", "tools"}
_FINGERPRINT = "chat-api-definition"


class ProvisionError(Exception):
    """A reason why there is no agent, and what to do next, for the person at the terminal."""


class _NotYet(ProvisionError):
    """A reason that may pass by itself: a role takes minutes to arrive everywhere, a new host name too."""


@dataclass(frozen=True, slots=True)
class Agent:
    name: str
    model: str
    instructions: str
    tools: list[dict[str, Any]]

    def definition(self) -> PromptAgentDefinition:
        return PromptAgentDefinition(
            {"kind": "prompt", "model": self.model, "instructions": self.instructions, "tools": self.tools}
        )

    def fingerprint(self) -> str:
        """A digest, kept with each version: shows the removal of an option, although the service adds its own."""
        text = json.dumps([self.model, self.instructions, self.tools], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m agent", description="make or update the agent")
    parser.add_argument("--wait", type=float, default=0, metavar="S", help="how long to wait for roles to arrive")
    parser.add_argument("--agent", type=Path, default=AGENT, metavar="DIR", help="where agent.yaml is")
    options = parser.parse_args()
    try:
        print(provision(read_settings(), options.agent, options.wait))
    except ProvisionError as e:
        sys.exit(f"agent: {e}")


def provision(settings: Settings, folder: Path, wait_s: float) -> str:
    """Make or update the agent. Return one line about what was done. Raises ProvisionError."""
    endpoint = settings.project_endpoint
    if endpoint is None:
        raise ProvisionError("no project to make it in. Next: `azd provision`, or set AZURE_AI_PROJECT_ENDPOINT.")
    name = settings.azure_ai_agent_id
    if settings.upstream_kind == "classic":
        raise ProvisionError(
            f"{name} is a classic agent, which is not made here. Next: take it with its project "
            "(AZURE_EXISTING_AIPROJECT_RESOURCE_ID), or set AZURE_AI_AGENT_ID to a name."
        )
    if name and ":" in name:
        return f"agent: {name} is pinned to a version and left alone"
    wanted = read_agent(folder, name, os.environ.get("AZURE_AI_MODEL_DEPLOYMENT_NAME"))
    with create_project_client(endpoint) as client:
        return _put_with_retries(wait_s, client, wanted)


def read_agent(folder: Path, name: str | None, model: str | None) -> Agent:
    """Read agent.yaml; `name` and `model` take precedence. Raises ProvisionError if it is not valid."""
    path = folder / "agent.yaml"
    try:
        described = yaml.safe_load(read_utf8(path))
        if not isinstance(described, dict) or described.keys() != _KEYS or not isinstance(described["tools"], list):
            raise ProvisionError(f"{path} must have exactly {', '.join(sorted(_KEYS))}; tools is a list.")
        instructions = read_utf8(folder / str(described["instructions"])).strip()
    except yaml.YAMLError as e:
        raise ProvisionError(f"{path} cannot be read: {e}") from e
    except ValueError as e:
        raise ProvisionError(str(e)) from e
    return Agent(name or described["name"], model or described["model"], instructions, described["tools"])


def create_project_client(endpoint: str) -> AIProjectClient:
    """Return a client, without a sign-in for http, which settings allow for loopback alone: the emulator."""
    if endpoint.startswith("http:") and is_loopback(endpoint):
        policy = AzureKeyCredentialPolicy(AzureKeyCredential("development"), "Authorization", prefix="Bearer")
        return AIProjectClient(endpoint, _NoCredential(), authentication_policy=policy, retry_total=2)
    tenant = os.environ.get("AZURE_TENANT_ID") or ""
    signed_in = ChainedTokenCredential(
        AzureDeveloperCliCredential(tenant_id=tenant, process_timeout=60), AzureCliCredential(process_timeout=60)
    )
    return AIProjectClient(endpoint, signed_in, retry_total=2)


class _NoCredential(TokenCredential):
    """A placeholder: the client asks for a credential even where a policy replaces it."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        raise NotImplementedError


def _put_with_retries(wait_s: float, client: AIProjectClient, wanted: Agent) -> str:
    deadline, pause_s = time.monotonic() + wait_s, min(10.0, wait_s / 20)
    printed = ""
    while True:
        try:
            return _put(client, wanted)
        except _NotYet as e:
            if time.monotonic() + pause_s >= deadline:
                raise
            if str(e) != printed:
                printed = str(e)
                print(f"agent: waiting, up to {wait_s:.0f} s: {printed}", flush=True)
            time.sleep(pause_s)


def _put(client: AIProjectClient, wanted: Agent) -> str:
    try:
        latest = _find_latest_version(client, wanted.name)
        if latest and _is_unchanged(latest, wanted):
            return f"agent: {wanted.name} is unchanged (version {latest['version']})"
        made = client.agents.create_version(
            wanted.name, definition=wanted.definition(), metadata={_FINGERPRINT: wanted.fingerprint()}
        )
    except AzureError as e:
        raise _explain(e, wanted) from e
    return f"agent: {wanted.name} {'updated' if latest else 'created'} (version {made.version}, model {wanted.model})"


def _find_latest_version(client: AIProjectClient, name: str) -> Mapping[str, Any] | None:
    try:
        agent: AgentDetails = client.agents.get(name)
    except ResourceNotFoundError:
        return None
    return agent.versions.latest.as_dict()


def _is_unchanged(latest: Mapping[str, Any], wanted: Agent) -> bool:
    there = latest["definition"]
    return (
        (latest.get("metadata") or {}).get(_FINGERPRINT) == wanted.fingerprint()
        and there.get("kind") == "prompt"
        and there.get("model") == wanted.model
        and (there.get("instructions") or "").strip() == wanted.instructions
        and _covers(there.get("tools") or [], wanted.tools)
    )


def _covers(there: Any, wanted: Any) -> bool:
    """Return whether all that we want is there: the service may add defaults to a tool."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(k in there and _covers(there[k], v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and len(there) == len(wanted) and all(map(_covers, there, wanted))
    return bool(there == wanted)


def _explain(error: AzureError, wanted: Agent) -> ProvisionError:
    if isinstance(error, ServiceRequestError):
        return _NotYet(f"the project cannot be reached ({error.message}). Next: check AZURE_AI_PROJECT_ENDPOINT.")
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status in (401, 403):  # a missing role arrives as either
        return _NotYet(
            "whoever is signed in may not change agents in this project. Roles take minutes to arrive. "
            "Next: wait, or ask for the role Foundry User on the project."
        )
    if isinstance(error, ClientAuthenticationError):
        return ProvisionError("nobody is signed in to Azure. Next: `azd auth login` (or `az login`).")
    if status == 404:
        return ProvisionError("there is no such project. Next: check AZURE_AI_PROJECT_ENDPOINT, or `azd provision`.")
    return ProvisionError(
        f"the project refused it ({status or type(error).__name__}: {error.message}). "
        f"Next: check agent/ and that the model deployment {wanted.model} exists."
    )


if __name__ == "__main__":
    main()
