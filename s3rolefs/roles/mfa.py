"""Hand out codes of a multi-factor device: the one a person typed, or those of a command."""

from __future__ import annotations

import re

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.commands import output_of

_CODE = re.compile(r"\d{6}", re.ASCII)
_LARGEST_BYTES = 4096


class MfaCodes:
    """Give each code once: STS takes none twice.

    `typed` is the code that was asked for when mounting, `command` prints a new one each time.
    """

    def __init__(self, serial: str, *, typed: str | None, command: str | None) -> None:
        self._serial = serial
        self._typed = typed
        self._command = command

    async def take(self) -> str:
        """Return a code that was not used yet.

        Raises `CredentialsError`: SESSION_MISSING when only a person can give one.
        """
        if self._command is not None:
            code = await output_of(self._command, option="mfa_process", largest_bytes=_LARGEST_BYTES)
            where = "What the command of mfa_process printed"
        elif self._typed is not None:
            code, self._typed = self._typed.strip(), None
            where = f"What was typed for {self._serial}"
        else:
            raise CredentialsError(
                Reason.SESSION_MISSING,
                f"A new code of {self._serial} is needed: mount again on a terminal and type it, or give "
                "mfa_process=COMMAND, which prints one.",
            )
        if not _CODE.fullmatch(code):
            raise CredentialsError(Reason.SESSION_MISSING, f"{where} is no code of six digits.")
        return code

    def give_back(self, code: str) -> None:
        """Take back a code that never reached STS."""
        self._typed = code
