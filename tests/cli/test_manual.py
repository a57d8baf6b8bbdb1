"""The manual page says what the program does."""

from pathlib import Path

from s3rolefs.cli import manual

PAGE = Path(__file__).parents[2] / "man" / "mount.s3rolefs.8"


def test_the_page_has_the_table_of_options():
    page = PAGE.read_text()
    assert manual.BEGIN in page
    assert manual.with_options(page) == page, "run `make man`"
