"""The least that a relay on these libraries costs: FastAPI's route, aiohttp's client, bytes passed on.

Nothing is parsed, limited, recorded, or told as an error. `uvicorn bench.bare_relay:app`
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

_URL = f"{os.environ['AZURE_AI_PROJECT_ENDPOINT']}/openai/v1/responses"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as app.state.session:
        yield


app = FastAPI(lifespan=lifespan)


class Chat(BaseModel):
    message: str


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/api/chat")
async def chat(body: Chat) -> StreamingResponse:
    return StreamingResponse(_relay(body.message), media_type="text/event-stream")


async def _relay(message: str) -> AsyncGenerator[bytes]:
    request = {"input": message, "stream": True, "conversation": "conv_1"}
    async with app.state.session.post(_URL, json=request) as answer:
        async for chunk in answer.content.iter_any():
            yield chunk
