"""The environment of programs under test: what settings there are, and none of them set."""

import os
from pathlib import Path

from pydantic import AliasChoices

from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def names_of_settings() -> set[str]:
    """Aliases included."""
    names: set[str] = set()
    for field, about in Settings.model_fields.items():
        alias = about.validation_alias
        names |= {str(name) for name in alias.choices} if isinstance(alias, AliasChoices) else {field.upper()}
    return names


def bare_environment(**settings: str) -> dict[str, str]:
    """This process's, with these settings alone, and modules found from any directory."""
    unset = {*names_of_settings(), "IDENTITY_ENDPOINT"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}
