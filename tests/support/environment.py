"""The environment of programs under test: no setting in it but those that a test gives."""

import os
from pathlib import Path

from gateway.settings import list_setting_names

ROOT = Path(__file__).resolve().parents[2]


def bare_environment(**settings: str) -> dict[str, str]:
    """This process's, with these settings alone, and modules found from any directory."""
    unset = {*list_setting_names(), "IDENTITY_ENDPOINT"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}
