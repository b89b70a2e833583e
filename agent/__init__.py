"""The agent as code: `agent.yaml` and its instructions. `python -m agent` makes or updates it in Azure."""
