"""The endpoints of Azure's agents service: agents, conversations, responses; classic threads and runs."""
