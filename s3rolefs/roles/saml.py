"""Assume a role with an assertion of a SAML 2.0 identity provider: AssumeRoleWithSAML.

Sources: STS API reference, AssumeRoleWithSAML; IAM User Guide, "Configure SAML assertions for the
authentication response" (the attribute that lists roles) and "API request parameters" (5 minutes).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from xml.etree import ElementTree

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.need import Given, Kind

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from s3rolefs.roles.need import Need
    from s3rolefs.roles.proofs import Proof
    from s3rolefs.roles.request import RoleRequest
    from s3rolefs.roles.snapshot import Snapshot
    from s3rolefs.roles.sts import TokenService

_NAMESPACE = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_ROLE_ATTRIBUTE = "https://aws.amazon.com/SAML/Attributes/Role"
_LONGEST_ASSERTION = 100_000


class UnreadableAssertionError(ValueError):
    """Say what a text lacks to be a SAML response; the message never quotes the text."""


class SamlRole:
    """Assume a role with an assertion, each time another one; the request is not signed.

    STS takes an assertion for 5 minutes after it was issued, and no session is shorter than 15: so
    one that served is never sent again. From a file comes one session, until somebody writes a
    new assertion or gives one to the running mount; a command gives one for each session.
    """

    # A new assertion does not end the session; but once the old one has served, it is what is missing.
    renews_on_change = False

    def __init__(
        self, proof: Proof, service: TokenService, request: RoleRequest, *, provider_arn: str
    ) -> None:
        self._proof = proof
        self._service = service
        self._request = request
        self._provider_arn = provider_arn
        self._spent: tuple[str, CredentialsError] | None = None
        self._given = Given(
            Kind.SAML_ASSERTION,
            f"SAML assertion for {request.role_arn} with {provider_arn}",
            check=lambda text: self._checked(text, "What was given"),
        )

    async def fetch(self) -> Snapshot:
        """Return a new session of the role; what somebody gave goes first, and once."""
        with self._given.missed():
            if self._given.text is None:
                return await self._fetch_with_proof()
            session = await self._ask(self._given.text)
            self._given.text = None
            return session

    async def _fetch_with_proof(self) -> Snapshot:
        """Return a new session; an assertion that came too late is acquired once more."""
        try:
            return await self._assume(await self._assertion())
        except CredentialsError as error:
            if error.reason is not Reason.SESSION_EXPIRED:
                raise
        return await self._assume(await self._assertion())

    async def stamp(self) -> Hashable:
        """Return the stamp of the assertion."""
        return await self._proof.stamp()

    def describe(self) -> str:
        """Return role and source of the assertion."""
        return f"{self._request.title} assumed with {self._proof.describe()}"

    def needs(self) -> Sequence[Need]:
        """Return the assertion, whatever else may bring one."""
        return (self._given,)

    async def _assertion(self) -> str:
        """Return the assertion in base64, if it offers the role."""
        return self._checked(await self._proof.read(), f"What comes from {self._proof.describe()}")

    def _checked(self, text: str, which: str) -> str:
        try:
            assertion = assertion_in(text)
            offers = roles_in(assertion)
        except UnreadableAssertionError as error:
            sentence = f"{which} is no SAML response: {error}."
            raise CredentialsError(Reason.SESSION_MISSING, sentence) from None
        wanted = {self._request.role_arn, self._provider_arn}
        if offers is None or any(set(offer) == wanted for offer in offers):
            return assertion
        offered = "; ".join(" with ".join(offer) for offer in offers) or "no role at all"
        raise CredentialsError(
            Reason.ROLE_REFUSED,
            f"{which} does not offer {self._request.role_arn} with {self._provider_arn}; "
            f"it offers {offered}.",
        )

    async def _assume(self, assertion: str) -> Snapshot:
        if self._spent is not None and self._spent[0] == assertion:
            raise self._spent[1].with_traceback(None)
        try:
            session = await self._ask(assertion)
        except CredentialsError as error:
            if error.reason is Reason.SESSION_EXPIRED:
                self._spent = assertion, error
            raise
        sentence = (
            f"The assertion from {self._proof.describe()} has served its session: put a new one there, hand "
            "one to the mount with `s3rolefs login DIR`, or give saml_assertion_process=COMMAND, which "
            "prints one each time."
        )
        self._spent = assertion, CredentialsError(Reason.SESSION_MISSING, sentence)
        return session

    async def _ask(self, assertion: str) -> Snapshot:
        return await self._service.assume_role_with_saml(
            assertion, self._request, provider_arn=self._provider_arn
        )


def assertion_in(text: str) -> str:
    """Return the base64 of the SAML response in `text`: that itself, or the form that was posted.

    Raises `UnreadableAssertionError`.
    """
    if "SAMLResponse=" in text:
        # In a form "+" is a space, but tools that save it leave base64's own as they are.
        form = parse_qs(text.replace("+", "%2B"))
        text = form.get("SAMLResponse", [""])[0]
    assertion = "".join(text.split())
    if len(assertion) > _LONGEST_ASSERTION:
        raise UnreadableAssertionError(f"it is longer than {_LONGEST_ASSERTION} characters")
    try:
        base64.b64decode(assertion, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableAssertionError(
            "it is neither base64 nor a form with SAMLResponse= (a login page, perhaps)"
        ) from None
    return assertion


def roles_in(assertion: str) -> list[tuple[str, ...]] | None:
    """Return the pairs of role and provider (in either order) that an assertion offers.

    None where it is encrypted, so that only AWS can tell. Raises `UnreadableAssertionError`.
    """
    xml = base64.b64decode(assertion)
    # No SAML response has one, and it is what attacks on XML parsers are made of.
    if b"<!DOCTYPE" in xml:
        raise UnreadableAssertionError("it has a document type, which SAML forbids")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        raise UnreadableAssertionError("it is no well-formed XML") from None
    if root.find(f".//{_NAMESPACE}EncryptedAssertion") is not None:
        return None
    return [
        tuple(part.strip() for part in (value.text or "").split(","))
        for attribute in root.iter(f"{_NAMESPACE}Attribute")
        if attribute.get("Name") == _ROLE_ATTRIBUTE
        for value in attribute.iter(f"{_NAMESPACE}AttributeValue")
    ]
