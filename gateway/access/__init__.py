"""Who is calling, which conversation is theirs, and how often they may call."""
