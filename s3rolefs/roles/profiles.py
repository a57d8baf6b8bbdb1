"""Take credentials from a profile of the AWS configuration files, resolved by botocore.

botocore does what it is good at: reading the files, SSO, `aws login` and `credential_process`. Each
fetch resolves anew with a new botocore session; its own refreshing never runs, and roles
named in a profile are assumed by `roles.sts` (ROLES.md, "Why not botocore's own refreshers").
"""

from __future__ import annotations

import difflib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.credentials import CredentialResolver, Credentials, ProcessProvider
from botocore.exceptions import (
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    LoginError,
    NoAuthTokenError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from s3rolefs.errors import CredentialsError, Reason, UserError
from s3rolefs.roles.reading import stamp_of
from s3rolefs.roles.snapshot import Snapshot
from s3rolefs.roles.sso import SsoToken
from s3rolefs.roles.threads import Bench

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from s3rolefs.roles.need import Need

_LIMIT_SECONDS = 75.0
_PROCESS_SECONDS = 60.0
_STAMP_SECONDS = 10.0
# botocore's names of the providers that read profiles. Environment, metadata services and
# everything that assumes roles are not botocore's business here.
_METHODS = frozenset({"sso", "shared-credentials-file", "login", "custom-process", "config-file"})
_SOURCE_KEYS = frozenset(
    {"aws_access_key_id", "credential_process", "login_session", "sso_session", "sso_account_id"}
    | {"role_arn", "source_profile", "credential_source", "web_identity_token_file"}
)


class Profiles:
    """Read the AWS configuration files that an environment names, each time anew."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        home = environment.get("HOME", "~")
        self.config_file = environment.get("AWS_CONFIG_FILE") or f"{home}/.aws/config"
        self.credentials_file = environment.get("AWS_SHARED_CREDENTIALS_FILE") or f"{home}/.aws/credentials"
        chosen = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
        self.is_chosen = bool(chosen)
        self.default_name = chosen or "default"

    def session(self, name: str) -> botocore.session.Session:
        """Return a new botocore session for one profile of these files."""
        session = botocore.session.Session(profile=name)
        session.set_config_variable("config_file", self.config_file)
        session.set_config_variable("credentials_file", self.credentials_file)
        return session

    def settings(self, name: str) -> Mapping[str, Any]:
        """Return what stands in a profile, nothing for one that is not there.

        Raises `UserError` for files that cannot be parsed.
        """
        try:
            found: Mapping[str, Any] = self.session(name).get_scoped_config()
        except (ProfileNotFound, ConfigNotFound):
            return {}
        except ConfigParseError:
            raise UserError(
                f"{self.config_file} or {self.credentials_file} is not a well-formed configuration file."
            ) from None
        return found

    def endpoint_url(self, name: str, service: str) -> str | None:
        """Return the endpoint that a profile names for a service ("s3", "sts"), if any."""
        settings = self.settings(name)
        sections = self.session(name).full_config.get("services", {})
        services = sections.get(settings.get("services"), {})
        own = services.get(service, {})
        url: str | None = own.get("endpoint_url") if isinstance(own, dict) else None
        return url or settings.get("endpoint_url")

    def has_source(self, name: str) -> bool:
        """Say whether a profile says where credentials come from (one with a region only does not)."""
        return not _SOURCE_KEYS.isdisjoint(self.settings(name))

    def sso_settings(self, name: str) -> Mapping[str, Any]:
        """Return the settings of a profile with those of the sso-session it names, if any."""
        settings = self.settings(name)
        sections: Mapping[str, Any] = self.session(name).full_config.get("sso_sessions", {})
        return {**settings, **sections.get(settings.get("sso_session", ""), {})}

    def mfa_serial(self, name: str) -> str | None:
        """Return the multi-factor device that a profile, or one it is based on, demands."""
        seen: set[str] = set()
        while name not in seen:
            seen.add(name)
            settings = self.settings(name)
            if serial := settings.get("mfa_serial"):
                return str(serial)
            name = settings.get("source_profile", name)
        return None

    def nothing_found(self) -> str:
        """Return the sentence for a person who named no source where none is found."""
        return (
            "No credentials were found: name a source with profile= or credentials_file=, set "
            f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or fill {self.credentials_file}."
        )


class ProfileSource:
    """Resolve one profile. `is_named` is false for the default profile that nobody asked for."""

    renews_on_change = True

    def __init__(self, profiles: Profiles, name: str, *, is_named: bool = True) -> None:
        self._profiles = profiles
        self._name = name
        self._is_named = is_named
        self._bench = Bench()
        self._sso = SsoToken(profiles, name)
        self._is_sso = False

    async def fetch(self) -> Snapshot:
        """Return the credentials the profile has now, with their expiry where botocore knows it."""
        try:
            credentials, expires_at = await self._bench.run(
                self._resolve_blocking, limit_seconds=_LIMIT_SECONDS, what=self.describe()
            )
        except ProfileNotFound:
            raise self._missing(f"The profile {self._name} does not exist") from None
        except (SSOError, LoginError, NoAuthTokenError, TokenRetrievalError):
            self._sso.is_missing = self._is_sso
            raise CredentialsError(
                Reason.SESSION_EXPIRED,
                f"The login of the profile {self._name} has expired; run: {self._login_words()}",
            ) from None
        except ClientError as error:
            raise self._refusal(error) from None
        except CredentialRetrievalError as error:
            why = str(error).splitlines()[0][:200]
            raise CredentialsError(Reason.UNREACHABLE, f"The profile {self._name} failed: {why}") from None
        except CredentialsError:
            raise
        except Exception as error:
            # Whatever botocore's many providers let out: one bad answer must not end the mount.
            # Not the exception's own words: a parser's may quote what it could not parse.
            raise CredentialsError(
                Reason.UNREACHABLE,
                f"The profile {self._name} could not be used ({type(error).__name__}); "
                f"check {self._profiles.config_file} and {self._profiles.credentials_file}.",
            ) from None
        if credentials is None:
            raise self._missing(f"The profile {self._name} holds no credentials")
        return Snapshot(
            access_key_id=credentials.access_key,
            secret_access_key=credentials.secret_key,
            session_token=credentials.token,
            expires_at=expires_at,
            source=self.describe(),
        )

    async def stamp(self) -> Hashable:
        """Return the stamps of both configuration files."""
        paths = (self._profiles.config_file, self._profiles.credentials_file)
        try:
            return await self._bench.run(
                lambda: tuple(stamp_of(str(Path(path).expanduser())) for path in paths),
                limit_seconds=_STAMP_SECONDS,
                what=self.describe(),
            )
        except CredentialsError:
            return "unreachable"

    def describe(self) -> str:
        """Return the profile's name."""
        return f"profile {self._name}"

    def needs(self) -> Sequence[Need]:
        """Return the token of a profile that logs in by SSO."""
        return (self._sso,) if self._is_sso else ()

    def _resolve_blocking(self) -> tuple[Any, float | None]:
        session = self._profiles.session(self._name)
        settings = session.get_scoped_config()  # raises ProfileNotFound, which the providers would hide
        self._is_sso = "sso_session" in settings or "sso_start_url" in settings
        providers = [
            ProcessProvider(self._name, lambda: session.full_config, popen=_BoundedProcess)
            if provider.METHOD == "custom-process"
            else provider
            for provider in session.get_component("credential_provider").providers
            if provider.METHOD in _METHODS
        ]
        credentials: Credentials | None = CredentialResolver(providers).load_credentials()
        if credentials is None:
            return None, None
        # Without these, handing over what has just been fetched would fetch once more whenever
        # less than 15 minutes are left.
        for window in ("_advisory_refresh_timeout", "_mandatory_refresh_timeout"):
            if hasattr(credentials, window):
                setattr(credentials, window, 0)
        frozen = credentials.get_frozen_credentials()
        expiry = getattr(credentials, "_expiry_time", None)
        return frozen, expiry.timestamp() if expiry is not None else None

    def _missing(self, what: str) -> CredentialsError:
        if self._is_named:
            where = f"{self._profiles.config_file} and {self._profiles.credentials_file}"
            return CredentialsError(Reason.SESSION_MISSING, f"{what} in {where}: {self._way_out()}")
        return CredentialsError(Reason.SESSION_MISSING, self._profiles.nothing_found())

    def _way_out(self) -> str:
        known = self._profiles.session(self._name).available_profiles
        near = difflib.get_close_matches(self._name, [name for name in known if name != self._name], n=1)
        return f"did you mean {near[0]}?" if near else "correct the name, or write them there."

    def _login_words(self) -> str:
        if self._is_sso:
            return f"aws sso login --profile {self._name}, or `s3rolefs login DIR` for a mount that runs"
        return f"aws login --profile {self._name}"

    def _refusal(self, error: ClientError) -> CredentialsError:
        said = error.response.get("Error", {})
        code, sentence = str(said.get("Code", "")), str(said.get("Message") or "no reason given")
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        is_transient = status >= 500 or status == 429 or "Throttl" in code or "TooMany" in code
        return CredentialsError(
            Reason.UNREACHABLE if is_transient else Reason.ROLE_REFUSED,
            f"The profile {self._name} was refused a session: {sentence} ({code})",
            detail=sentence,
            code=code,
        )


class _BoundedProcess(subprocess.Popen[bytes]):
    """Run a `credential_process` for a minute at most; botocore itself would wait for ever."""

    def communicate(self, *args: Any, **kwargs: Any) -> tuple[bytes, bytes]:
        """Return what the process wrote, or kill it and fail."""
        try:
            return super().communicate(*args, **{"timeout": _PROCESS_SECONDS, **kwargs})
        except subprocess.TimeoutExpired:
            with self:  # closes the pipes and reaps the process
                self.kill()
            raise CredentialRetrievalError(
                provider="custom-process", error_msg=f"no answer within {_PROCESS_SECONDS:g} s"
            ) from None
