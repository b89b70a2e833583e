"""Those who call the service in the tests, and what they make of what they get."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.types import ASGIApp

from gateway.app import create_app
from gateway.settings import Settings
from tests.support.servers import serving

Events = list[dict[str, Any]]


def foundry(base_url: str, **settings: Any) -> Settings:
    return unread(azure_ai_project_endpoint=f"{base_url}/api/projects/p", azure_ai_agent_id="agent", **settings)


def classic(base_url: str, **settings: Any) -> Settings:
    return unread(azure_ai_project_endpoint=f"{base_url}/api/projects/p", azure_ai_agent_id="asst_1", **settings)


def openai(base_url: str, **settings: Any) -> Settings:
    key = {"azure_openai_api_key": "key", **settings}
    return unread(azure_openai_endpoint=base_url, azure_openai_deployment_name="gpt", **key)


def unread(**settings: Any) -> Settings:
    """Without the environment's .env."""
    return Settings(_env_file=None, **settings)


@contextmanager
def calling(settings: Settings) -> Generator[httpx.Client]:
    """A client of a service with these settings."""
    with calling_app(create_app(settings)) as client:
        yield client


@contextmanager
def calling_app(app: ASGIApp) -> Generator[httpx.Client]:
    with serving(app) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def events_of(body: str) -> Events:
    """By the letter of the contract: one `data: ` line and one empty line, each."""
    frames = body.split("\n\n")
    assert frames.pop() == ""
    return [json.loads(frame.removeprefix("data: ")) for frame in frames if frame != ": ping"]


def chat(client: httpx.Client, message: str, **more: Any) -> Events:
    answer = client.post("/api/chat", json={"message": message, **more})
    assert answer.status_code == 200, answer.text
    return events_of(answer.text)


def text_of(events: Events) -> str:
    return "".join(event["content"] for event in events if event["type"] == "chunk")
