"""`/agents`: names and their versions, as azure-ai-projects 2.10 calls them.

Agents that nobody made exist as well, unless their name begins with `missing`.
"""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from emulator.call import Call
from emulator.service import Service
from emulator.wire import Json, azure_error, metadata_of, now, openai_error, page

MADE = ("definition", "description", "metadata")
DEFAULT_DEFINITION = {
    "kind": "prompt",
    "model": "gpt-emulated",
    "instructions": "You are the emulator's agent.",
}


def _unknown(name: str) -> ASGIApp:
    return azure_error(404, "not_found", f"Agent {name} doesn't exist").response


def _versions(service: Service, name: str) -> list[Json]:
    """Oldest first; empty when there is no such agent."""
    if name in service.agents:
        return service.agents[name]
    return [] if name.startswith("missing") else [_version(name, 1, {"definition": DEFAULT_DEFINITION})]


def _version(name: str, number: int, body: Json) -> Json:
    return {
        "object": "agent.version",
        "id": f"{name}:{number}",
        "name": name,
        "version": str(number),
        "created_at": now(),
        "description": body.get("description") or "",
        "metadata": metadata_of(body),
        "definition": body["definition"],
        "status": "active",
    }


def _agent(name: str, versions: list[Json]) -> Json:
    return {
        "object": "agent",
        "id": name,
        "name": name,
        "state": "enabled",
        "configuration_state": "enabled",
        "versions": {"latest": versions[-1]},
    }


def speaker(call: Call) -> Json:
    """What a response says of the agent that answers; raises when the reference leads nowhere."""
    reference = call.body.get("agent_reference")
    if "agent" in call.request.path_params:  # the agent's own endpoint: its name stands in the path
        reference = {"type": "agent_reference", "name": call.path("agent")}
    if reference is None:
        message = "Missing required parameter: 'agent_reference'."
        raise openai_error(400, message, code="missing_required_parameter", param="agent_reference")
    if "model" in call.body:
        raise openai_error(400, "Not allowed when agent is specified.", code="invalid_payload", param="model")
    if not _is_reference(reference):
        raise openai_error(400, "Invalid 'agent_reference'.", code="invalid_payload", param="agent_reference")
    name, version = reference["name"], reference.get("version")
    versions = _versions(call.service, name)
    if not versions:
        raise openai_error(404, f"Agent {name} doesn't exist", code="not_found", param="agent_reference")
    if version and name in call.service.agents and version not in {made["version"] for made in versions}:
        raise openai_error(404, f"Agent {name}:{version} doesn't exist", code="not_found", param="agent_reference")
    named = {"type": "agent_reference", "name": name, "version": version or versions[-1]["version"]}
    return {"agent_reference": named}


def _is_reference(reference: object) -> bool:
    return (
        isinstance(reference, dict)
        and reference.get("type") == "agent_reference"
        and isinstance(reference.get("name"), str)
        and isinstance(reference.get("version", ""), str)
        and not reference.keys() - {"type", "name", "version"}
    )


async def get(call: Call) -> ASGIApp:
    name = call.path("agent")
    versions = _versions(call.service, name)
    return JSONResponse(_agent(name, versions)) if versions else _unknown(name)


async def list_agents(call: Call) -> ASGIApp:
    rows = [_agent(name, versions) for name, versions in call.service.agents.items()]
    return page(rows, call.request.query_params)


async def create(call: Call) -> ASGIApp:
    name = call.body.get("name")
    if not isinstance(name, str) or not name:
        raise azure_error(400, "invalid_payload", "Required properties ['name'] are not present")
    if name in call.service.agents:
        raise azure_error(409, "conflict", f"Agent {name} already exists")
    _add_version(call, name)
    return JSONResponse(_agent(name, call.service.agents[name]))


async def create_version(call: Call) -> ASGIApp:
    """The same definition again is the same version, as in the service."""
    return JSONResponse(_add_version(call, call.path("agent")))


async def update(call: Call) -> ASGIApp:
    name = call.path("agent")
    if name not in call.service.agents:
        return _unknown(name)
    _add_version(call, name)
    return JSONResponse(_agent(name, call.service.agents[name]))


def _add_version(call: Call, name: str) -> Json:
    definition = call.body.get("definition")
    if not isinstance(definition, dict) or "kind" not in definition:
        raise azure_error(400, "invalid_payload", "Required properties ['definition'] are not present")
    versions = call.service.agents.setdefault(name, [])
    made = _version(name, len(versions) + 1, call.body)
    if versions and all(versions[-1][key] == made[key] for key in MADE):
        return versions[-1]
    versions.append(made)
    return made


async def delete(call: Call) -> ASGIApp:
    name = call.path("agent")
    if call.service.agents.pop(name, None) is None:
        return _unknown(name)
    return JSONResponse({"object": "agent.deleted", "name": name, "deleted": True})


async def list_versions(call: Call) -> ASGIApp:
    name = call.path("agent")
    versions = _versions(call.service, name)
    return page(versions, call.request.query_params) if versions else _unknown(name)


async def get_version(call: Call) -> ASGIApp:
    name, version = call.path("agent"), call.path("version")
    for made in _versions(call.service, name):
        if made["version"] == version:
            return JSONResponse(made)
    return _unknown(f"{name}:{version}")


async def delete_version(call: Call) -> ASGIApp:
    name, version = call.path("agent"), call.path("version")
    versions = call.service.agents.get(name, [])
    kept = [made for made in versions if made["version"] != version]
    if len(kept) == len(versions):
        return _unknown(f"{name}:{version}")
    call.service.agents[name] = kept
    return JSONResponse({"object": "agent.version.deleted", "name": name, "version": version, "deleted": True})
