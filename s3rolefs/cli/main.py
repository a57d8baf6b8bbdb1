"""Parse the command line (placeholder replaced by the cli room)."""


def main() -> None:
    """Run the command."""
