"""Test s3rolefs; the directories mirror its rooms, and bed/ holds the servers they need."""
