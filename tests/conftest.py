"""The fixtures of the whole suite."""

from collections.abc import Iterator

import pytest

from emulator.app import create_app
from gateway.settings import list_setting_names
from tests.support.servers import serving


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list_setting_names():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def emulator() -> Iterator[str]:
    """The base URL of an emulator that answers as fast as it can."""
    with serving(create_app(pace=0)) as url:
        yield url
