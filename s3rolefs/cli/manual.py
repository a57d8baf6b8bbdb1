"""Write the table of options into the manual page: `python -m s3rolefs.cli.manual PAGE`."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from s3rolefs.mounting.optiontable import OPTIONS

BEGIN = '.\\" The options below are written by `make man`.'
END = '.\\" End of what is written by `make man`.'


def options_section() -> str:
    """Return the options as mdoc(7) source, by group."""
    lines: list[str] = []
    for group, members in groupby((o for o in OPTIONS if not o.hidden), key=lambda o: o.group):
        lines += [f".Ss {group}", ".Bl -tag -width Ds"]
        for option in members:
            value = f" Ns = Ns Ar {option.placeholder}" if option.placeholder else ""
            lines += [f".It Cm {option.name}{value}", *_sentences(option.help)]
        lines.append(".El")
    return "\n".join(lines) + "\n"


def with_options(page: str) -> str:
    """Return a manual page with what stands between the two marks replaced."""
    head, _, rest = page.partition(BEGIN + "\n")
    _, _, tail = rest.partition(END + "\n")
    return f"{head}{BEGIN}\n{options_section()}{END}\n{tail}"


def _sentences(text: str) -> list[str]:
    # mdoc wants each sentence on a line of its own.
    return text.replace(". ", ".\n").split("\n")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_options(path.read_text()))
