"""The least that FastAPI starts with: what a start is compared to. `uvicorn bench.bare:app`"""

from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}
