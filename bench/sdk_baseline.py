"""The thing people write first, for comparison: FastAPI and the SDK's client with typed events, one for each request.

After the samples for Foundry agents; it speaks the same bytes as the service. `uvicorn bench.sdk_baseline:app`
"""

import json
import os
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from azure.ai.projects.aio import AIProjectClient
from azure.identity.aio import DefaultAzureCredential
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()


class Chat(BaseModel):
    message: str
    conversation_id: str | None = None
    thread_id: str | None = None


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/api/chat")
async def chat(body: Chat) -> StreamingResponse:
    return StreamingResponse(_events(body), media_type="text/event-stream")


async def _events(body: Chat) -> AsyncGenerator[str]:
    async with (
        DefaultAzureCredential() as credential,
        AIProjectClient(endpoint=os.environ["AZURE_AI_PROJECT_ENDPOINT"], credential=credential) as project,
        project.get_openai_client() as client,
    ):
        thread_id = body.thread_id or (await client.conversations.create()).id
        yield _sse({"type": "metadata", "conversation_id": body.conversation_id, "thread_id": thread_id})
        agent = {"agent_reference": {"type": "agent_reference", "name": os.environ["AZURE_AI_AGENT_ID"]}}
        said = ""
        stream = await client.responses.create(
            input=body.message, conversation=thread_id, stream=True, extra_body=agent
        )
        async for event in stream:
            if event.type == "response.output_text.delta":
                said += event.delta
                yield _sse({"type": "chunk", "content": event.delta})
        yield _sse({"type": "done", "full_response": said, "timestamp": datetime.now(UTC).isoformat()})


def _sse(event: dict[str, str | None]) -> str:
    return f"data: {json.dumps(event)}\n\n"
