"""What the tests share: stand-ins for the upstream, callers, real servers and processes, strategies."""
