"""`python -m emulator --port 8100`: serves until Ctrl-C."""

import argparse
import socket
import sys
from contextlib import suppress

import uvicorn

from emulator.app import create_app


def main() -> None:
    options = _options()
    try:
        listener = _listener(options.host, options.port)
    except OSError as e:
        sys.exit(f"emulator: cannot listen on {options.host}:{options.port} ({e.strerror}); take another --port")
    app = create_app(options.pace, conversations=not options.no_conversations)
    print(f"emulator: http://{options.host}:{listener.getsockname()[1]} (a stand-in, not Azure)", flush=True)
    config = uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
    with suppress(KeyboardInterrupt):  # uvicorn raises Ctrl-C again when it has ended
        uvicorn.Server(config).run(sockets=[listener])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m emulator", description="A stand-in for Azure's agents service.")
    parser.add_argument("--port", type=_port, default=8100, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--pace", type=float, default=40.0, help="deltas a second; 0: as fast as it can")
    parser.add_argument("--no-conversations", action="store_true", help="an endpoint without /conversations")
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


if __name__ == "__main__":
    main()
