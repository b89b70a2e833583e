"""The service, and what it holds: tasks, sockets, memory. For the leak tests and the soak.

`uvicorn tests.support.instrumented_app:app`, then `GET /_state`.
"""

import asyncio
import gc
from pathlib import Path

from gateway.app import create_app

app = create_app()


@app.get("/_state")
async def state() -> dict[str, int]:
    gc.collect()
    return {"tasks": len(asyncio.all_tasks()), "sockets": _sockets(), "rss_kib": _rss_kib()}


def _sockets() -> int:
    links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sum(str(entry.readlink()).startswith("socket:") for entry in links)


def _rss_kib() -> int:
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
