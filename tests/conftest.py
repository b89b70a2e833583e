"""The fixtures of the whole suite."""

from collections.abc import Iterator

import pytest

from emulator.app import create_app
from gateway.settings import list_setting_names
from tests.support.servers import serving
from tests.support.upstreams import AGENT_SERVER, ON_EMULATOR, Upstream, serving_agent_server


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list_setting_names():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def emulator() -> Iterator[str]:
    """The base URL of an emulator that answers as fast as it can."""
    with serving(create_app(pace=0)) as url:
        yield url


@pytest.fixture(scope="session")
def agent_server() -> Iterator[str]:
    """The base URL of Microsoft's own server of the Responses protocol."""
    with serving_agent_server() as url:
        yield url


@pytest.fixture(params=[*ON_EMULATOR, AGENT_SERVER])
def upstream(request: pytest.FixtureRequest) -> Upstream:
    """Each of them, one after the other."""
    source = AGENT_SERVER if request.param == AGENT_SERVER else "emulator"
    return Upstream(request.param, request.getfixturevalue(source))
