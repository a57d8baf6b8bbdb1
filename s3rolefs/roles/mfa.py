"""Hand out codes of a multi-factor device: those a person typed, or those of a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.commands import output_of
from s3rolefs.roles.need import Given, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3rolefs.roles.need import Need

_CODE = re.compile(r"\d{6}", re.ASCII)
_LARGEST_BYTES = 4096


class MfaCodes:
    """Give each code once: STS takes none twice.

    `typed` is the code that was asked for when mounting; later ones are given while the mount
    runs, or `command` prints a new one each time.
    """

    def __init__(self, serial: str, *, typed: str | None, command: str | None) -> None:
        self._serial = serial
        self._command = command
        self._given = Given(Kind.MFA_CODE, f"Code of {serial}", check=self._checked)
        if typed is not None:
            self._given.put(typed)

    def needs(self) -> Sequence[Need]:
        """Return the code, if no command prints it."""
        return () if self._command is not None else (self._given,)

    async def take(self) -> str:
        """Return a code that was not used yet.

        Raises `CredentialsError`: SESSION_MISSING when only a person can give one.
        """
        if self._command is not None:
            code = await output_of(self._command, option="mfa_process", largest_bytes=_LARGEST_BYTES)
            return _checked(code, "What the command of mfa_process printed")
        text = self._given.use_up()
        if text is None:
            raise CredentialsError(
                Reason.SESSION_MISSING,
                f"A new code of {self._serial} is needed: type it when mounting on a terminal, or for a "
                "mount that runs with `s3rolefs login DIR`, or give mfa_process=COMMAND, which prints one.",
            )
        return self._checked(text)

    def give_back(self, code: str) -> None:
        """Take back a code that never reached STS."""
        self._given.put(code)

    def _checked(self, text: str) -> str:
        return _checked(text, f"What was typed for {self._serial}")


def _checked(text: str, where: str) -> str:
    code = text.strip()
    if not _CODE.fullmatch(code):
        raise CredentialsError(Reason.SESSION_MISSING, f"{where} is no code of six digits.")
    return code
