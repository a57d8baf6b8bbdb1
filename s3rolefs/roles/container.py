"""Take the session of a container's role: ECS, Fargate, EKS Pod Identity.

Source of the protocol: AWS SDKs and Tools Reference Guide, "Container credential provider".
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import triples
from s3rolefs.roles.direct import NobodyError, SilenceError, ask_blocking, issuers_now
from s3rolefs.roles.threads import Bench

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from s3rolefs.clock import Clock
    from s3rolefs.roles.need import Need
    from s3rolefs.roles.snapshot import Snapshot

RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
_TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
_ECS_ENDPOINT = "http://169.254.170.2"
# Besides loopback, where a session may be asked for in plain HTTP: ECS and EKS Pod Identity.
_PLAIN_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost"})
_LARGEST_TOKEN_BYTES = 64 * 1024
# More than the limits of one request together.
_LIMIT_SECONDS = 12.0


def container_uri(environment: Mapping[str, str]) -> str | None:
    """Return the address that the environment names for the container's session, None without one.

    Raises `UserError` for an address that a session must not be asked of in plain HTTP.
    """
    if relative := environment.get(RELATIVE):
        return f"{_ECS_ENDPOINT}/{relative.lstrip('/')}"
    full = environment.get(FULL)
    if not full:
        return None
    parts = urlsplit(full)
    host = parts.hostname or ""
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _may_be_plain(host))):
        raise UserError(
            f"{FULL}={full} must be https://, or http:// of loopback or of {', '.join(sorted(_PLAIN_HOSTS))}."
        )
    return full


class ContainerSource:
    """Ask the endpoint that the container's environment names, with the token it names.

    A token file is read anew each time: it is rotated.
    """

    renews_on_change = False

    def __init__(self, uri: str, environment: Mapping[str, str], *, clock: Clock) -> None:
        self._uri = uri
        self._token_file = environment.get(_TOKEN_FILE) or None
        self._token = environment.get(_TOKEN) or None
        self._clock = clock
        self._bench = Bench()

    async def fetch(self) -> Snapshot:
        """Return the session as the endpoint has it now."""
        return await self._bench.run(self._fetch_blocking, limit_seconds=_LIMIT_SECONDS, what=self.describe())

    async def stamp(self) -> Hashable:
        """Return the stamp of the token file: after a refusal a new token is a reason to try again."""
        path = self._token_file
        if path is None:
            return None
        return await self._bench.stamp(path, what=self.describe())

    def describe(self) -> str:
        """Return its name and address."""
        return f"the container's role ({self._uri})"

    def needs(self) -> Sequence[Need]:
        """Return nothing: nobody has to be asked."""
        return ()

    def _fetch_blocking(self) -> Snapshot:
        try:
            reply = ask_blocking(self._uri, headers={"Accept": "application/json", **self._authorization()})
        except (NobodyError, SilenceError) as error:
            raise self._unreachable(str(error)) from None
        if reply.status == 429 or reply.status >= 500:
            raise self._unreachable(f"it answered with status {reply.status}")
        if reply.status != 200:
            code, said = _words(reply.text)
            raise CredentialsError(
                Reason.ROLE_REFUSED,
                f"The container's role is refused by {self._uri}: {said} ({code or reply.status}).",
                detail=said,
                code=code,
            )
        try:
            parsed = triples.parse(reply.text, source=self.describe())
        except triples.UnreadableTripleError as error:
            raise self._unreachable(str(error)) from None
        return replace(parsed, obtained_at=issuers_now(reply.headers.get("date"), self._clock))

    def _authorization(self) -> dict[str, str]:
        token = self._token
        if self._token_file is not None:
            try:
                with Path(self._token_file).open("rb") as file:
                    token = file.read(_LARGEST_TOKEN_BYTES).decode("ascii", errors="replace").strip()
            except OSError as error:
                raise CredentialsError(
                    Reason.SESSION_MISSING,
                    f"{_TOKEN_FILE}={self._token_file} cannot be read ({error.strerror}).",
                ) from None
        if token is None:
            return {}
        if not token or not (token.isascii() and token.isprintable()):
            name = f"{_TOKEN_FILE}={self._token_file}" if self._token_file else _TOKEN
            raise CredentialsError(Reason.SESSION_MISSING, f"{name} holds no token: one line is expected.")
        return {"Authorization": token}

    def _unreachable(self, why: str) -> CredentialsError:
        sentence = f"The container's role cannot be had from {self._uri}: {why.rstrip('.')}."
        return CredentialsError(Reason.UNREACHABLE, sentence)


def _may_be_plain(host: str) -> bool:
    try:
        return host in _PLAIN_HOSTS or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _words(text: str) -> tuple[str, str]:
    """Return code and message of a refusal, as far as it is the JSON that ECS and EKS send."""
    try:
        said = json.loads(text)
        return str(said.get("code") or said.get("Code") or ""), str(
            said.get("message") or said.get("Message") or "no reason given"
        )
    except (ValueError, AttributeError):
        return "", "no reason given"
