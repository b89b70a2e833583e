"""Real servers for tests: on 127.0.0.1, on a port of their own, gone when the test is."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from gateway.server import HttpProtocol


@contextmanager
def serving(app: ASGIApp) -> Generator[str]:
    """The base URL of `app` on a free port."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        config = uvicorn.Config(
            app,
            http=HttpProtocol,  # in a thread the service does not find its server, and cannot set it by itself
            lifespan="on",
            log_config=None,
            access_log=False,
            ws="none",
            backlog=2048,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(5)
            server.force_exit = True
            thread.join(10)
            assert not thread.is_alive(), "the server did not end"


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    pause = threading.Event()
    for _ in range(1_000):
        if server.started:
            return
        assert thread.is_alive(), "the server did not start"
        pause.wait(0.01)
    raise AssertionError("the server did not start in 10 s")
