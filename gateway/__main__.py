"""`python -m gateway`: the service as the image and `make run` start it, on the setting PORT."""

import argparse

import uvicorn

from gateway.app import create_app
from gateway.server import KEEP_ALIVE_S
from gateway.settings import read_settings
from gateway.telemetry import configure_logs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway", description="the chat service")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container")
    host = parser.parse_args().host
    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=settings.port,
        workers=1,  # not WEB_CONCURRENCY's, which needs an import string; more than one process is more replicas
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # X-Forwarded-For is believed by TRUSTED_HOPS alone
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    main()
