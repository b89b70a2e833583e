"""azd's postprovision hook: make or update the agent, where the project is ours (agent/__main__.py)."""
# ruff: noqa: T201  it talks to whoever runs azd

import os
import runpy
import sys
from pathlib import Path

_ROLES_TAKE_S = "600"


def main() -> None:
    if os.environ.get("AZURE_EXISTING_AIPROJECT_RESOURCE_ID"):
        print("agent: the project is your own, its agents are left alone")
        return
    if os.environ.get("AZURE_OPENAI_ENDPOINT"):
        print("agent: none, the answers come from AZURE_OPENAI_ENDPOINT")
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.argv[1:] = ["--wait", _ROLES_TAKE_S]
    runpy.run_module("agent", run_name="__main__")


if __name__ == "__main__":
    main()
