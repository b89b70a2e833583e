"""The emulator's agents: the real azure-ai-projects 2.10 makes, reads, changes and deletes them."""

from collections.abc import Iterator

import pytest
from azure.ai.projects import AIProjectClient
from azure.ai.projects.models import PromptAgentDefinition
from azure.core.exceptions import ResourceNotFoundError

from tests.support.azure_sdks import AllowHttp, SyncCredential


@pytest.fixture
def project(emulator: str) -> Iterator[AIProjectClient]:
    endpoint = f"{emulator}/api/projects/p"
    with AIProjectClient(endpoint, SyncCredential(), per_call_policies=[AllowHttp()], retry_total=0) as project:
        yield project


def definition(instructions: str) -> PromptAgentDefinition:
    return PromptAgentDefinition(model="gpt", instructions=instructions)


def test_a_changed_definition_is_a_new_version(project: AIProjectClient) -> None:
    first = project.agents.create_version("chat", definition=definition("Be kind."))
    same = project.agents.create_version("chat", definition=definition("Be kind."))
    changed = project.agents.create_version("chat", definition=definition("Be brief."), description="Brief")
    assert (first.version, same.version, changed.version) == ("1", "1", "2")
    latest = project.agents.get("chat").versions.latest
    assert latest.definition == definition("Be brief.")
    assert latest.description == "Brief"
    assert project.agents.get_version("chat", "1").definition == definition("Be kind.")
    assert [agent.name for agent in project.agents.list()] == ["chat"]
    assert [made.version for made in project.agents.list_versions("chat", order="asc")] == ["1", "2"]


def test_a_made_agent_answers_in_its_versions(project: AIProjectClient) -> None:
    project.agents.create_version("missing-no-more", definition=definition("Be kind."))
    with project.get_openai_client(max_retries=0) as client:
        reference = {"type": "agent_reference", "name": "missing-no-more", "version": "1"}
        assert client.responses.create(input="Hello", extra_body={"agent_reference": reference}).output_text
        with pytest.raises(Exception, match="doesn't exist"):
            client.responses.create(input="x", extra_body={"agent_reference": {**reference, "version": "2"}})


def test_deleted_and_never_made(project: AIProjectClient) -> None:
    project.agents.create_version("missing-later", definition=definition("Be kind."))
    project.agents.delete_version("missing-later", "1")
    project.agents.create_version("missing-later", definition=definition("Be kind."))
    project.agents.delete("missing-later")
    for name in ("missing-later", "missing-ever"):
        with pytest.raises(ResourceNotFoundError):
            project.agents.get(name)
    assert project.agents.get("anyone").versions.latest.version == "1"
