"""Start the real servers, and what stands between them and a mount, for tests and the bench."""
