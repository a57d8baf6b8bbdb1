"""Issue and verify SAML assertions: an identity provider with a login page, and STS's side of it."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import trustme
from lxml import etree
from signxml import XMLSigner, XMLVerifier
from signxml.exceptions import InvalidInput, InvalidSignature

from tests.bed.loopback import Asked, Loopback, Said
from tests.bed.sts import RefusedError

AUDIENCE = "https://signin.aws.amazon.com/saml"
ROLE_ATTRIBUTE = "https://aws.amazon.com/SAML/Attributes/Role"
NAME_ATTRIBUTE = "https://aws.amazon.com/SAML/Attributes/RoleSessionName"
LIFE = timedelta(minutes=5)
NAMES = {"a": "urn:oasis:names:tc:SAML:2.0:assertion", "p": "urn:oasis:names:tc:SAML:2.0:protocol"}
RESPONSE = """<p:Response xmlns:p="{NAMES[p]}" xmlns:a="{NAMES[a]}" ID="{id}" Version="2.0"
IssueInstant="{issued}">
<p:Status><p:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></p:Status>
<a:Assertion ID="{id}-a" Version="2.0" IssueInstant="{issued}"><a:Issuer>https://idp.example</a:Issuer>
<a:Subject><a:NameID>ada</a:NameID><a:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
<a:SubjectConfirmationData Recipient="{AUDIENCE}" NotOnOrAfter="{ends}"/></a:SubjectConfirmation></a:Subject>
<a:Conditions><a:AudienceRestriction><a:Audience>{audience}</a:Audience></a:AudienceRestriction></a:Conditions>
<a:AttributeStatement><a:Attribute Name="{ROLE_ATTRIBUTE}">{values}</a:Attribute>
<a:Attribute Name="{NAME_ATTRIBUTE}"><a:AttributeValue>ada@example</a:AttributeValue></a:Attribute>
</a:AttributeStatement></a:Assertion></p:Response>"""


class SamlProvider(Loopback):
    """Sign responses; any GET is answered with the form that a browser would post to AWS."""

    def __init__(self, *offers: str) -> None:
        super().__init__()
        certificate = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert(
            "idp.example", key_type=trustme.KeyType.RSA
        )
        self._key = certificate.private_key_pem.bytes()
        self.certificate = certificate.cert_chain_pems[0].bytes().decode()
        self.offers = offers

    def assertion(self, *, audience: str = AUDIENCE, age: timedelta = timedelta()) -> str:
        """Return a new signed response in base64, issued `age` ago."""
        issued = datetime.now(UTC) - age
        values = "".join(f"<a:AttributeValue>{offer}</a:AttributeValue>" for offer in self.offers)
        text = RESPONSE.format(
            **globals(),
            id=f"r{uuid.uuid4().hex}",
            issued=issued.isoformat(),
            ends=(issued + LIFE).isoformat(),
            audience=audience,
            values=values,
        )
        signed = XMLSigner().sign(etree.fromstring(text), key=self._key, cert=self.certificate)
        return base64.b64encode(etree.tostring(signed)).decode()

    def answer(self, _asked: Asked) -> Said:
        return Said(text=urlencode({"SAMLResponse": self.assertion(), "RelayState": ""}))


def tampered(assertion: str) -> str:
    """Return an assertion with another user than the one it was signed for."""
    xml = base64.b64decode(assertion).replace(b"ada@example", b"eve@example")
    return base64.b64encode(xml).decode()


class AssertionJudge:
    """Verify responses as AWS's STS does, in its words (STS API reference, AssumeRoleWithSAML, Errors;
    IAM User Guide, "Troubleshoot SAML federation with IAM").
    """

    def __init__(self, provider: SamlProvider, *, provider_arn: str) -> None:
        self._certificate = provider.certificate
        self._provider_arn = provider_arn
        self.accepted: list[str] = []

    def __call__(self, form: dict[str, str]) -> str:
        if "RoleSessionName" in form or form["PrincipalArn"] != self._provider_arn:
            raise RefusedError("ValidationError", "wrong parameters")
        try:
            xml = base64.b64decode(form["SAMLAssertion"], validate=True)
            signed = XMLVerifier().verify(xml, x509_cert=self._certificate).signed_xml
        except (InvalidInput, InvalidSignature, ValueError):
            raise RefusedError("InvalidIdentityToken", "Response signature invalid") from None
        confirmation = signed.find(".//a:SubjectConfirmationData", NAMES)
        if datetime.fromisoformat(confirmation.get("NotOnOrAfter")) <= datetime.now(UTC):
            said = "Token must be redeemed within 5 minutes of issuance"
            raise RefusedError("ExpiredTokenException", said)
        if signed.findtext(".//a:Audience", namespaces=NAMES) != AUDIENCE:
            raise RefusedError("InvalidIdentityToken", "Audience is invalid")
        pairs = signed.findall(f".//a:Attribute[@Name='{ROLE_ATTRIBUTE}']/a:AttributeValue", NAMES)
        if not any({form["RoleArn"], self._provider_arn} == set(pair.text.split(",")) for pair in pairs):
            raise RefusedError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithSAML", status=403)
        self.accepted.append(signed.get("ID"))
        role = form["RoleArn"].rpartition("/")[2]
        return f"arn:aws:sts::111122223333:assumed-role/{role}/ada@example"
