"""Say what only a person can give a source, and take it."""

from __future__ import annotations

import enum
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from s3rolefs.errors import CredentialsError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Kind(enum.StrEnum):
    """Name what a person gives."""

    MFA_CODE = "mfa-code"
    SAML_ASSERTION = "saml-assertion"
    WEB_IDENTITY_TOKEN = "web-identity-token"
    SSO = "sso"


class Need(Protocol):
    """Stand for one thing that a person can give one source."""

    @property
    def kind(self) -> Kind:
        """Return what it is."""
        ...

    @property
    def prompt(self) -> str:
        """Return the words to ask a person with, without secrets."""
        ...

    @property
    def is_missing(self) -> bool:
        """Say whether the source found it missing, or used up, when it was last asked."""
        ...

    async def details(self) -> Mapping[str, object]:
        """Return what else must be known to get it, ready for JSON (`roles.sso` for SSO).

        Raises `CredentialsError` and `UserError`.
        """
        ...

    async def give(self, text: str) -> None:
        """Take it. Raises `CredentialsError` (SESSION_MISSING) when it cannot be what is needed."""
        ...


class Given:
    """Hold a text that a person gave; `check` returns it tidied, or raises `CredentialsError`.

    `is_missing` is kept by the source: it knows what it could not do without it.
    """

    def __init__(self, kind: Kind, prompt: str, *, check: Callable[[str], str]) -> None:
        self.kind = kind
        self.prompt = prompt
        self.is_missing = False
        self._check = check
        self.text: str | None = None

    async def details(self) -> Mapping[str, object]:
        """Return nothing: the prompt says it all."""
        return {}

    async def give(self, text: str) -> None:
        """Take a text that the check lets pass."""
        self.put(self._check(text))

    def put(self, text: str) -> None:
        """Take a text that is checked when it is used, or was checked before."""
        self.text, self.is_missing = text, False

    def use_up(self) -> str | None:
        """Return the text, which is good for one use; it is missing from then on."""
        text, self.text, self.is_missing = self.text, None, True
        return text

    @contextmanager
    def missed(self) -> Iterator[None]:
        """Note how an attempt ends: a text that was refused is dropped, and missing from then on.

        Without a text it is missing when the attempt says that somebody has to hand something over.
        """
        try:
            yield
        except CredentialsError as error:
            if error.reason is not Reason.UNREACHABLE and self.text is not None:
                self.use_up()
            elif error.reason in (Reason.SESSION_MISSING, Reason.SESSION_EXPIRED):
                self.is_missing = True
            raise
        self.is_missing = False
