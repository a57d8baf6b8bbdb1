"""The role-aware credential provider: sources, STS, broker."""
