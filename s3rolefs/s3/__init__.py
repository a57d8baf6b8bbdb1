"""The object store: its interface, its clients, retries and key rules."""
