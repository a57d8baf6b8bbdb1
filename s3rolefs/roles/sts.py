"""Ask STS for sessions and for names, and tell its refusals apart.

botocore's client is called directly, in threads, signing with the session that the call brings
along. It does not retry: the broker's back-off does, and counts what it asks.
"""

from __future__ import annotations

import contextvars
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import policies
from s3rolefs.roles.direct import issuers_now
from s3rolefs.roles.signing import ServiceClock, Signer
from s3rolefs.roles.snapshot import Snapshot
from s3rolefs.roles.threads import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_sts.client import STSClient

    from s3rolefs.clock import Clock
    from s3rolefs.roles.request import RoleRequest

_CONNECT_SECONDS = 5
_READ_SECONDS = 10
# More than both together; what goes beyond is a name server that does not answer.
_LIMIT_SECONDS = 20.0

_TRANSIENT_CODES = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "SlowDown"}
    | {"TooManyRequestsException", "RequestThrottled", "IDPCommunicationError", "InternalFailure"}
    | {"InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException"}
)
_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException"})
_CLOCK_CODES = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
# AWS's STS says "Signature expired" with the code of a wrong signature.
_PERHAPS_CLOCK_CODES = _CLOCK_CODES | {"SignatureDoesNotMatch"}
_WRONG_KEY_CODES = frozenset(
    {"InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"}
    | {"SignatureDoesNotMatch", "IncompleteSignature", "InvalidToken", "InvalidTokenId"}
)
# What a server that speaks S3 but not STS answers to an STS request.
_NO_STS_CODES = frozenset(
    {"MethodNotAllowed", "NotImplemented", "InvalidAction", "InvalidRequest", "404", "405", "501"}
)
# What radosgw says without a word more; AWS denies what does not exist.
_UNEXPLAINED = {"NoSuchEntity": "it does not exist there"}
_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException"})
_PROOF_CODES = frozenset({"InvalidIdentityToken", "IDPRejectedClaim"})

# The keys that the calling thread signs with; each call runs in a context of its own.
_signer: contextvars.ContextVar[Snapshot | None] = contextvars.ContextVar("signer")


class TokenService:
    """Call one STS endpoint. The client is made at the first call and kept."""

    def __init__(self, *, region: str, endpoint_url: str | None, ca_bundle: str | None, clock: Clock) -> None:
        self._region = region
        self.endpoint_url = endpoint_url
        self._ca_bundle = ca_bundle
        self._clock = clock
        self._service_clock = ServiceClock(clock)
        self._bench = Bench()
        self._making = threading.Lock()
        self._client: STSClient | None = None

    @property
    def name(self) -> str:
        """Return how to call this endpoint in a sentence."""
        return f"STS at {self.endpoint_url}" if self.endpoint_url else f"STS in {self._region}"

    async def assume_role(
        self, signer: Snapshot, request: RoleRequest, *, mfa_code: str | None = None
    ) -> Snapshot:
        """Return a session of the role, asked for with the keys of `signer`.

        Raises `CredentialsError`: UNREACHABLE (transient), SESSION_EXPIRED (the signer's session),
        ROLE_REFUSED with STS's sentence in `detail`, its code in `code` and, for a denial, the
        policies to paste in `advice`.
        """
        parameters = request.parameters(mfa_code)
        try:
            answer = await self._call(signer, lambda client: client.assume_role(**parameters))
        except ClientError as error:
            refusal = self._refusal(error, what=f"assume {request.role_arn}")
            if refusal.code in _DENIED_CODES and not refusal.detail.startswith("MultiFactorAuthentication"):
                refusal.advice = await self._advice(signer, request, refusal.detail)
            raise refusal from None
        return self._session_of(answer)

    async def assume_role_with_web_identity(
        self, token: str, request: RoleRequest, *, provider_id: str | None
    ) -> Snapshot:
        """Return a session of the role, asked for with a token and no signature.

        Raises `CredentialsError` as `assume_role` does; SESSION_EXPIRED is about the token.
        """
        parameters = {
            **request.common_parameters(),
            "RoleSessionName": request.session_name,
            "WebIdentityToken": token,
        }
        if provider_id is not None:
            parameters["ProviderId"] = provider_id
        return await self._assume_unsigned(
            request,
            lambda client: client.assume_role_with_web_identity(**parameters),
            proof="web identity token",
            advice=lambda: policies.web_identity_advice(role_arn=request.role_arn, token=token),
        )

    async def assume_role_with_saml(
        self, assertion: str, request: RoleRequest, *, provider_arn: str
    ) -> Snapshot:
        """Return a session of the role, asked for with an assertion and no signature.

        `assertion` is in base64; session name and tags come from it. Raises `CredentialsError` as
        `assume_role` does; SESSION_EXPIRED is about the assertion.
        """
        parameters = {
            **request.common_parameters(),
            "PrincipalArn": provider_arn,
            "SAMLAssertion": assertion,
        }
        return await self._assume_unsigned(
            request,
            lambda client: client.assume_role_with_saml(**parameters),
            proof="SAML assertion",
            advice=lambda: policies.saml_advice(role_arn=request.role_arn, provider_arn=provider_arn),
        )

    async def _assume_unsigned(
        self,
        request: RoleRequest,
        call: Callable[[STSClient], Any],
        *,
        proof: str,
        advice: Callable[[], str],
    ) -> Snapshot:
        try:
            answer = await self._call(None, call)
        except ClientError as error:
            refusal = self._refusal(error, what=f"assume {request.role_arn}", proof=proof)
            if refusal.code in _DENIED_CODES:
                refusal.advice = advice()
            raise refusal from None
        return self._session_of(answer)

    def _session_of(self, answer: Mapping[str, Any]) -> Snapshot:
        credentials = answer["Credentials"]
        return Snapshot(
            access_key_id=credentials["AccessKeyId"],
            secret_access_key=credentials["SecretAccessKey"],
            session_token=credentials["SessionToken"],
            expires_at=credentials["Expiration"].timestamp(),
            obtained_at=issuers_now(_date_of(answer), self._clock),
            arn=answer.get("AssumedRoleUser", {}).get("Arn"),
        )

    async def caller_arn(self, signer: Snapshot) -> str:
        """Return who STS says the keys of `signer` belong to (GetCallerIdentity).

        Raises `CredentialsError`, with code "NoSts" where the service has no such call.
        """
        try:
            answer = await self._call(signer, lambda client: client.get_caller_identity())
        except ClientError as error:
            raise self._refusal(error, what="say who the caller is") from None
        arn: str = answer["Arn"]
        return arn

    async def _call(self, signer: Snapshot | None, call: Callable[[STSClient], Any]) -> dict[str, Any]:
        """Call in a thread; ClientErrors are left to the caller, all else becomes UNREACHABLE."""
        try:
            return await self._bench.run(
                partial(self._call_blocking, signer, call), limit_seconds=_LIMIT_SECONDS, what=self.name
            )
        except ClientError:
            raise
        except SSLError as error:
            why = f"the connection is not trusted ({error}); ca_bundle= names the certificates to trust"
            raise self._unreachable(why) from None
        except (ResponseParserError, KeyError):
            raise self._unreachable("it does not answer like STS; is sts_endpoint right?") from None
        except (HTTPClientError, BotoCoreError, ValueError) as error:
            raise self._unreachable(str(error)) from None

    def _call_blocking(self, signer: Snapshot | None, call: Callable[[STSClient], Any]) -> dict[str, Any]:
        _signer.set(signer)
        with self._making:
            if self._client is None:
                self._client = self._make_client()
        answer: dict[str, Any]
        try:
            answer = call(self._client)
        except ClientError as error:
            said = _said(error)
            is_clocks = said.get("Code") in _PERHAPS_CLOCK_CODES
            if not (is_clocks and self._service_clock.learn(_date_of(error.response))):
                raise
            answer = call(self._client)
        return answer

    def _make_client(self) -> STSClient:
        # What botocore signs by the machine's clock, we sign by the service's.
        client = botocore.session.Session().create_client(
            "sts",
            region_name=self._region,
            endpoint_url=self.endpoint_url,
            verify=self._ca_bundle,
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"total_max_attempts": 1},
                signature_version=UNSIGNED,
                # botocore itself refuses less than 900 s, which other services allow.
                parameter_validation=False,
            ),
        )
        signer = Signer(_signer.get, region=self._region, clock=self._service_clock)
        client.meta.events.register("request-created.sts", signer.sign)
        return cast("STSClient", client)

    async def _advice(self, signer: Snapshot, request: RoleRequest, sentence: str) -> str:
        caller = policies.caller_named_in(sentence) or signer.arn
        if caller is None:
            try:
                caller = await self.caller_arn(signer)
            except CredentialsError:
                caller = None
        return policies.assume_role_advice(
            role_arn=request.role_arn, caller_arn=caller, external_id=request.external_id
        )

    def _unreachable(self, why: str) -> CredentialsError:
        return CredentialsError(Reason.UNREACHABLE, f"{self.name} cannot be reached: {why}", detail=why)

    def _refusal(self, error: ClientError, *, what: str, proof: str = "session") -> CredentialsError:
        """Turn an answer of STS into an error of ours (the classes are ROLES.md's)."""
        said = _said(error)
        code = str(said.get("Code", ""))
        sentence = str(said.get("Message") or _UNEXPLAINED.get(code, "no reason given"))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        words = f"{sentence} ({code})"
        reason = Reason.ROLE_REFUSED
        if code in _NO_STS_CODES or (status in (404, 405, 501) and code not in _UNEXPLAINED):
            code = "NoSts"
            message = f"{self.name} does not know how to {what}: {words}; sts_endpoint= names the right one."
        elif code in _TRANSIENT_CODES or status >= 500 or status == 429 or "verification key" in sentence:
            reason, message = Reason.UNREACHABLE, f"{self.name} could not {what} just now: {words}"
        elif code in _EXPIRED_CODES:
            reason = Reason.SESSION_EXPIRED
            message = f"The {proof} that was to {what} has expired: {words}; renew it{_whence(proof)}."
        elif code in _PROOF_CODES:
            message = (
                f"{self.name} does not take the {proof} that was to {what}: {words}; "
                f"get another one{_whence(proof)}."
            )
        elif code in _CLOCK_CODES:
            reason = Reason.UNREACHABLE
            message = f"{self.name} refuses the time of the request, set the machine's clock: {words}"
        elif code in _WRONG_KEY_CODES:
            message = f"{self.name} does not accept the keys that were to {what}: {words}"
        elif code in _DENIED_CODES and not said.get("Message"):
            # radosgw says no more, whatever it is.
            message = f"{self.name} refuses to {what} ({code}): wrong keys, or policies that do not allow it."
        else:
            message = f"{self.name} refuses to {what}: {words}"
        return CredentialsError(reason, message, detail=sentence, code=code)


def _whence(proof: str) -> str:
    """Name the options that give a token or an assertion."""
    option = proof.replace(" ", "_").lower()
    return "" if option == "session" else f" ({option}_file= or {option}_process=)"


def _said(error: ClientError) -> Mapping[str, Any]:
    """Return code and message; radosgw answers in S3's form, which botocore leaves at the top."""
    return error.response.get("Error") or cast("Mapping[str, Any]", error.response)


def _date_of(answer: Mapping[str, Any]) -> str | None:
    date: str | None = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return date
