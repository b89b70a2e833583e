"""The service: one chat contract in front of Azure AI agents. `docs/architecture.md` has the map."""

__version__ = "0.1.0"
