"""Take the session of an EC2 instance's own role from its metadata service (IMDSv2).

Source of the protocol: EC2 User Guide, "Use the Instance Metadata Service" and "Retrieve security
credentials from instance metadata". What is done otherwise than in botocore, and why: ROLES.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles import triples
from s3rolefs.roles.direct import NobodyError, Reply, SilenceError, ask_blocking, issuers_now
from s3rolefs.roles.threads import Bench

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from s3rolefs.clock import Clock
    from s3rolefs.roles.need import Need
    from s3rolefs.roles.snapshot import Snapshot

_IPV4_ENDPOINT = "http://169.254.169.254"
_IPV6_ENDPOINT = "http://[fd00:ec2::254]"
_TOKEN_PATH = "/latest/api/token"
_ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
_TOKEN_LIFE = "x-aws-ec2-metadata-token-ttl-seconds"
_TOKEN = "x-aws-ec2-metadata-token"
_LONGEST_SECONDS = 21600
# A token is not used in its last minute.
_MARGIN_SECONDS = 60.0
# More than the limits of four requests together.
_LIMIT_SECONDS = 22.0
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
# What a service answers that knows IMDSv1 only.
_NO_TOKENS = frozenset({404, 405, 501})


def instance_endpoint(environment: Mapping[str, str]) -> str:
    """Return the address of the metadata service: AWS_EC2_METADATA_SERVICE_ENDPOINT or the usual one.

    Raises `UserError` for an address that is none.
    """
    named = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
    if named:
        if not re.match(r"https?://[^/@\s]+", named):
            raise UserError(
                f"AWS_EC2_METADATA_SERVICE_ENDPOINT={named} is no address: write http://HOST[:PORT]."
            )
        return named.rstrip("/")
    is_ipv6 = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6"
    return _IPV6_ENDPOINT if is_ipv6 else _IPV4_ENDPOINT


def is_disabled(environment: Mapping[str, str]) -> bool:
    """Say whether AWS_EC2_METADATA_DISABLED forbids to ask the metadata service."""
    return environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"


class InstanceSource:
    """Ask the metadata service for the session of the role attached to this instance.

    `allow_v1` lets it do without a token where the service gives none. `otherwise` is what to say
    on a machine without such a service when nobody asked for it by name (None: somebody did).
    """

    renews_on_change = False

    def __init__(
        self, endpoint: str, *, clock: Clock, allow_v1: bool = False, otherwise: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._allow_v1 = allow_v1
        self._otherwise = otherwise
        self._bench = Bench()
        self._token = ""
        self._token_ends_at = 0.0  # boot seconds

    async def fetch(self) -> Snapshot:
        """Return the session as the service has it now, with its true expiry."""
        return await self._bench.run(self._fetch_blocking, limit_seconds=_LIMIT_SECONDS, what=self.describe())

    async def stamp(self) -> Hashable:
        """Return None: the service tells of no change."""
        return None

    def describe(self) -> str:
        """Return its name and address."""
        return f"the instance's role ({self._endpoint})"

    def needs(self) -> Sequence[Need]:
        """Return nothing: nobody has to be asked."""
        return ()

    def _fetch_blocking(self) -> Snapshot:
        try:
            listed = self._ask(_ROLES_PATH)
            if listed.status == 404:
                sentence = (
                    "No role is attached to this instance: attach an instance profile "
                    "(aws ec2 associate-iam-instance-profile), or name another source."
                )
                raise CredentialsError(Reason.SESSION_MISSING, self._in_context(sentence))
            role = self._text(listed).strip().split("\n")[0].strip()
            if not _ROLE_NAME.fullmatch(role):
                raise self._unusable("it lists no role")
            answer = self._ask(_ROLES_PATH + role)
            return self._session(self._text(answer), answer.headers.get("date"))
        except NobodyError as error:
            raise self._absent(error) from None
        except SilenceError as error:
            raise self._unusable(str(error)) from None

    def _session(self, text: str, date: str | None) -> Snapshot:
        try:
            whole = json.loads(text)
            code = whole.get("Code", "Success")
            if code == "Success":
                parsed = triples.parse(text, source=self.describe())
                return replace(parsed, obtained_at=issuers_now(date, self._clock))
        except (triples.UnreadableTripleError, ValueError, AttributeError) as error:
            why = str(error) if isinstance(error, triples.UnreadableTripleError) else "it is no JSON object"
            raise self._unusable(why) from None
        said = str(whole.get("Message") or "no reason given")
        raise CredentialsError(
            Reason.ROLE_REFUSED,
            f"The instance's role could not be assumed: {said} ({code}); check its trust policy.",
            detail=said,
            code=str(code),
        )

    def _ask(self, path: str) -> Reply:
        reply = ask_blocking(self._endpoint + path, headers=self._headers())
        if reply.status == 401 and self._token:
            # The service forgot its tokens (a restart, a migration): a new one, once.
            self._token = ""
            reply = ask_blocking(self._endpoint + path, headers=self._headers())
        return reply

    def _text(self, reply: Reply) -> str:
        if reply.status == 200:
            return reply.text
        if reply.status == 403:
            raise self._refusal("it forbids access; it is switched off (HttpEndpoint), or filtered")
        if reply.status == 401:
            raise self._unusable("it demands a token (IMDSv2), and takes none of its own")
        raise self._unusable(f"it answered with status {reply.status}")

    def _headers(self) -> dict[str, str]:
        """Return the header with a token, kept for its life; none where only IMDSv1 is to be had."""
        now = self._clock.boot_seconds()
        if not self._token or now >= self._token_ends_at:
            self._token = self._new_token()
        return {_TOKEN: self._token} if self._token else {}

    def _new_token(self) -> str:
        asked_at = self._clock.boot_seconds()
        try:
            reply = ask_blocking(
                self._endpoint + _TOKEN_PATH, method="PUT", headers={_TOKEN_LIFE: str(_LONGEST_SECONDS)}
            )
        except SilenceError:
            if self._allow_v1:
                return ""
            raise self._unusable(
                "its token does not arrive. In a container the answer needs a second hop: aws ec2 "
                "modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2"
            ) from None
        if reply.status in _NO_TOKENS:
            if self._allow_v1:
                return ""
            raise self._refusal("it gives no tokens (IMDSv2); the option imdsv1 lets it do without")
        token = self._text(reply).strip()
        if not token or not token.isprintable():
            raise self._unusable("what it gave is no token")
        life = reply.headers.get(_TOKEN_LIFE, "")
        seconds = min(int(life), _LONGEST_SECONDS) if life.isdecimal() else _LONGEST_SECONDS
        self._token_ends_at = asked_at + seconds - min(_MARGIN_SECONDS, seconds / 2)
        return token

    def _absent(self, error: NobodyError) -> CredentialsError:
        if self._otherwise is not None and not error.is_network_down:
            return CredentialsError(Reason.SESSION_MISSING, self._otherwise)
        return CredentialsError(
            Reason.UNREACHABLE,
            f"No metadata service of an EC2 instance can be reached at {self._endpoint} ({error}).",
        )

    def _unusable(self, why: str) -> CredentialsError:
        sentence = f"The metadata service at {self._endpoint} gives no session: {why}"
        return CredentialsError(Reason.UNREACHABLE, f"{sentence.rstrip('.')}.")

    def _refusal(self, why: str) -> CredentialsError:
        sentence = f"The metadata service at {self._endpoint} gives no session: {why}."
        return CredentialsError(Reason.ROLE_REFUSED, self._in_context(sentence))

    def _in_context(self, sentence: str) -> str:
        """Return a sentence for whoever may not even know that the metadata service was asked."""
        return sentence if self._otherwise is None else f"{self._otherwise} {sentence}"
