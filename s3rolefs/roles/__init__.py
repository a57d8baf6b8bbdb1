"""The role-aware credential provider: sources, STS, broker, views for the signers."""
