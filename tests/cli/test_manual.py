"""The manual page says what the program does."""

from pathlib import Path

from s3rolefs.cli import manual
from s3rolefs.mounting.configfile import REPLACEMENT
from s3rolefs.mounting.settings import load_settings
from s3rolefs.roles.validation import SOURCES

PAGES = Path(__file__).parents[2] / "man"
PAGE = PAGES / "mount.s3rolefs.8"


def test_the_page_has_the_table_of_options():
    page = PAGE.read_text()
    assert manual.BEGIN in page
    assert manual.with_options(page) == page, "run `make man`"


def test_the_example_of_a_configuration_file_is_one(tmp_path):
    page = (PAGES / "s3rolefs.toml.5").read_text()
    file = tmp_path / "config.toml"
    file.touch(mode=0o600)
    file.write_text(page.partition(".Bd -literal -offset indent\n")[2].partition(".Ed\n")[0])
    settings = load_settings({REPLACEMENT: str(file)})
    assert [hop.name for hop in settings.role("team").hops] == ["team", "data", "base"]
    assert (len(settings.buckets), len(settings.map("office"))) == (2, 2)
    assert all(f".Cm {source}" in page for source in SOURCES)
