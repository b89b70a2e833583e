"""Foundry agents and Azure OpenAI deployments: the Responses API and its conversations."""
