"""Metadata cache and block cache: memory first (cachetools)."""
