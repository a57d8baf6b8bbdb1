"""Show the table of mount options to a person."""

from __future__ import annotations

from itertools import groupby

import click

from s3rolefs.mounting.optiontable import OPTIONS


class MountCommand(click.Command):
    """End the help with the options of -o, by group."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table."""
        for group, members in groupby((o for o in OPTIONS if not o.hidden), key=lambda o: o.group):
            with formatter.section(f"{group} (-o)"):
                formatter.write_dl([(option.usage, option.help) for option in members])
        formatter.write_paragraph()
        formatter.write_text(
            "Words in these names may be joined with _ or -; a value with a comma stands in double "
            "quotes. ro, noexec, allow_other and the like mean what they always mean. "
            "`man mount.s3rolefs` tells more."
        )
