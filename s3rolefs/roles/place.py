"""Find the source for what a person configured: option, profile, environment, machine.

A profile with a `role_arn` of its own is what the role is assumed with here, by us, not by botocore;
so chains of profiles become chains of sources, of any length.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from s3rolefs.config import MFA_CODE, PROOF
from s3rolefs.errors import UserError
from s3rolefs.roles import arguments
from s3rolefs.roles.assumed import AssumedRole
from s3rolefs.roles.container import FULL, RELATIVE, ContainerSource, container_uri
from s3rolefs.roles.endpoints import is_aws, sts_endpoint, sts_region
from s3rolefs.roles.environment import EnvironmentSource
from s3rolefs.roles.files import FileSource
from s3rolefs.roles.instance import InstanceSource, instance_endpoint, is_disabled
from s3rolefs.roles.mfa import MfaCodes
from s3rolefs.roles.profiles import Profiles, ProfileSource
from s3rolefs.roles.proofs import GivenProof, ProofCommand, ProofFile
from s3rolefs.roles.reading import is_descriptor
from s3rolefs.roles.request import RoleRequest
from s3rolefs.roles.saml import SamlRole
from s3rolefs.roles.sts import TokenService
from s3rolefs.roles.validation import has_source
from s3rolefs.roles.webidentity import WebIdentityRole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.clock import Clock
    from s3rolefs.config import RoleConfig
    from s3rolefs.roles.proofs import Proof
    from s3rolefs.roles.source import Source

_TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"
_SURROUNDINGS = ("Environment", "Ec2InstanceMetadata", "EcsContainer")
# Sources whose sessions are a role's: AWS calls it chaining when they assume another one.
_ROLES = (AssumedRole, WebIdentityRole, SamlRole, InstanceSource, ContainerSource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Hold what surrounds a role: environment, configuration files, the service's whereabouts.

    `environment` is the launcher's as handed over; the keys in the process's own are not read. `region`,
    `endpoint_url` and `ca_bundle` are those of the mount. Its methods raise `UserError` for what is
    configured wrongly.
    """

    environment: Mapping[str, str] = field(repr=False)
    clock: Clock
    region: str | None = None
    endpoint_url: str | None = None
    ca_bundle: str | None = None

    @property
    def profiles(self) -> Profiles:
        """Return the configuration files that the environment names."""
        return Profiles(self.environment)

    def source(self, role: RoleConfig) -> Source:
        """Return the source whose sessions the mount uses."""
        if role.role_arn is not None and role.saml_provider_arn is not None:
            return self._saml(role, request_of(role, role.role_arn), role.saml_provider_arn)
        own = self.environment.get("AWS_ROLE_ARN")
        if role.role_arn is not None and (
            role.web_identity_token_file is not None
            or role.web_identity_token_process is not None
            # What Kubernetes says and what the options say is the same role: no role assumes itself.
            or (role.role_arn == own and not has_source(role) and self._has_web_identity())
        ):
            return self._web_identity(role, request_of(role, role.role_arn))
        source = self._base_source(role)
        if role.role_arn is None:
            return source
        return self._assume(source, role, request_of(role, role.role_arn))

    def token_service(self, role: RoleConfig, role_arn: str | None = None) -> TokenService:
        """Return the STS to ask about a role: `role_arn`, where that is not the configuration's own."""
        first = role.hops[-1]
        profile = first.profile or first.source_profile or self.profiles.default_name
        return TokenService(
            region=sts_region(
                self.region,
                partition=(role_arn or role.role_arn or "").partition("arn:")[2].partition(":")[0],
                environment=self.environment,
                profiles=self.profiles,
                profile=profile,
            ),
            endpoint_url=sts_endpoint(
                role.sts_endpoint,
                s3_option=self.endpoint_url,
                environment=self.environment,
                profiles=self.profiles,
                profile=profile,
            ),
            ca_bundle=self.ca_bundle or self.environment.get("AWS_CA_BUNDLE"),
            clock=self.clock,
        )

    def _base_source(self, role: RoleConfig) -> Source:
        """Return the one source the configuration names, or the one that is found."""
        if role.source_role is not None:
            return self.source(role.source_role)
        if role.credentials_file is not None:
            return FileSource(role.credentials_file)
        if role.credential_source is not None:
            return self._surrounding_source(role, role.credential_source)
        named = role.profile or role.source_profile
        if named is not None:
            return self._profile_source(role, named, above=())
        return self._found_source(role)

    def _assume(self, source: Source, role: RoleConfig, request: RoleRequest) -> AssumedRole:
        """Return the source that assumes a role with another one."""
        service = self._service_for(role, request)
        codes = None
        if request.mfa_serial is not None:
            typed = json.loads(self.environment.get(MFA_CODE, "{}"))
            codes = MfaCodes(
                request.mfa_serial, typed=typed.get(request.mfa_serial), command=role.mfa_process
            )
        is_chained = isinstance(source, _ROLES) and is_aws(service.endpoint_url)
        return AssumedRole(source, service, request, is_chained=is_chained, codes=codes)

    def _service_for(self, role: RoleConfig, request: RoleRequest) -> TokenService:
        """Return the STS for a request, having checked the request against what that STS takes."""
        service = self.token_service(role, request.role_arn)
        arguments.check_role_arn(request.role_arn, is_aws=is_aws(service.endpoint_url))
        if request.duration_seconds is not None:
            arguments.check_duration(request.duration_seconds, is_aws=is_aws(service.endpoint_url))
        return service

    def _found_source(self, role: RoleConfig) -> Source:
        """Return the first source that is there, in the order of the AWS SDKs."""
        profiles = self.profiles
        name = profiles.default_name
        if self.environment.get("AWS_ACCESS_KEY_ID"):
            return EnvironmentSource(self.environment)
        if self._has_web_identity():
            return self._web_identity_of_environment(role)
        # Whoever sets AWS_PROFILE means that profile, and nobody else.
        if profiles.is_chosen or profiles.has_source(name):
            return self._profile_source(role, name, above=(), is_named=False)
        if container_uri(self.environment) is not None:
            return self._surrounding_source(role, "EcsContainer")
        if is_disabled(self.environment):
            return self._profile_source(role, name, above=(), is_named=False)
        return self._instance(role, otherwise=profiles.nothing_found())

    def _has_web_identity(self) -> bool:
        return bool(self.environment.get(_TOKEN_FILE)) and not self.environment.get("AWS_ACCESS_KEY_ID")

    def _web_identity_of_environment(self, role: RoleConfig) -> Source:
        """Return the role that Kubernetes names, for which it keeps a token in a file."""
        role_arn = self.environment.get("AWS_ROLE_ARN")
        if not role_arn:
            raise UserError(
                f"{_TOKEN_FILE} is set, but AWS_ROLE_ARN is not: set it, or give role_arn= and "
                "web_identity_token_file= as options."
            )
        name = self.environment.get("AWS_ROLE_SESSION_NAME") or _default_session_name()
        return self._web_identity(role, RoleRequest(role_arn=role_arn, session_name=name))

    def _web_identity(self, role: RoleConfig, request: RoleRequest, *, path: str | None = None) -> Source:
        """Return the source that assumes a role with a token: of an option, `path` or the environment."""
        service = self._service_for(role, request)
        option = "web_identity_token"
        proof = self._proof(option, path or role.web_identity_token_file, role.web_identity_token_process)
        if proof is None:
            proof = ProofFile(self.environment[_TOKEN_FILE], option=_TOKEN_FILE, is_private=False)
        return WebIdentityRole(proof, service, request, provider_id=role.provider_id)

    def _saml(self, role: RoleConfig, request: RoleRequest, provider_arn: str) -> Source:
        proof = self._proof("saml_assertion", role.saml_assertion_file, role.saml_assertion_process)
        assert proof is not None  # validate() has seen to it
        return SamlRole(proof, self._service_for(role, request), request, provider_arn=provider_arn)

    def _proof(self, option: str, path: str | None, command: str | None) -> Proof | None:
        """Return what reads the token or assertion that options name, None where they name none."""
        if command is not None:
            return ProofCommand(command, option=f"{option}_process")
        if path is None:
            return None
        if is_descriptor(path):
            return GivenProof(self.environment.get(PROOF, ""), option=f"{option}_file")
        # Kubernetes lets everybody in the container read its tokens.
        return ProofFile(path, option=f"{option}_file", is_private=option == "saml_assertion")

    def _surrounding_source(self, role: RoleConfig, credential_source: str) -> Source:
        """Return what `credential_source`, an option or a profile's setting, names."""
        if credential_source == "Environment":
            return EnvironmentSource(self.environment)
        if credential_source == "EcsContainer":
            uri = container_uri(self.environment)
            if uri is None:
                raise UserError(
                    f"credential_source=EcsContainer needs {RELATIVE} or {FULL} in the environment, "
                    "which containers of ECS and EKS have."
                )
            return ContainerSource(uri, self.environment, clock=self.clock)
        if is_disabled(self.environment):
            raise UserError(
                "credential_source=Ec2InstanceMetadata is forbidden by AWS_EC2_METADATA_DISABLED; unset it."
            )
        return self._instance(role, otherwise=None)

    def _instance(self, role: RoleConfig, *, otherwise: str | None) -> Source:
        return InstanceSource(
            instance_endpoint(self.environment), clock=self.clock, allow_v1=role.imdsv1, otherwise=otherwise
        )

    def _profile_source(
        self, role: RoleConfig, name: str, *, above: tuple[str, ...], is_named: bool = True
    ) -> Source:
        """Return the source for a profile; roles it names are assumed with its own source."""
        settings = self.profiles.settings(name)
        role_arn = settings.get("role_arn")
        # A profile may name itself as source: its own keys assume its role.
        if role_arn is None or (above and above[-1] == name):
            return ProfileSource(self.profiles, name, is_named=is_named)
        if name in above:
            raise UserError(
                f"The profiles {' → '.join((*above, name))} name each other as source in a circle."
            )
        request = RoleRequest(
            role_arn=role_arn,
            session_name=settings.get("role_session_name") or _default_session_name(),
            external_id=settings.get("external_id"),
            duration_seconds=_whole(settings.get("duration_seconds"), profile=name),
            mfa_serial=settings.get("mfa_serial"),
        )
        token_file = settings.get("web_identity_token_file")
        if token_file is None:
            return self._assume(self._source_below(role, name, settings, (*above, name)), role, request)
        for other in ("source_profile", "credential_source"):
            if other in settings:
                raise UserError(
                    f"The profile {name} has both web_identity_token_file and {other}; keep one of them."
                )
        return self._web_identity(role, request, path=str(Path(token_file).expanduser()))

    def _source_below(
        self, role: RoleConfig, name: str, settings: Mapping[str, str], above: tuple[str, ...]
    ) -> Source:
        source_profile, credential_source = settings.get("source_profile"), settings.get("credential_source")
        if source_profile is not None:
            return self._profile_source(role, source_profile, above=above)
        if credential_source in _SURROUNDINGS:
            return self._surrounding_source(role, credential_source)
        raise UserError(
            f"The profile {name} has a role_arn but no source to assume it with: give it a source_profile, "
            f"or a credential_source of {', '.join(_SURROUNDINGS)}."
        )


def request_of(role: RoleConfig, role_arn: str) -> RoleRequest:
    """Return how options say that a role is to be assumed; reads the files they name."""
    external_id = role.external_id
    if role.external_id_file is not None:
        external_id = arguments.read_external_id(role.external_id_file)
    return RoleRequest(
        role_arn=role_arn,
        session_name=role.role_session_name or _default_session_name(),
        external_id=external_id,
        duration_seconds=role.duration_seconds,
        policy=arguments.read_policy(role.policy_file) if role.policy_file is not None else None,
        policy_arns=role.policy_arns,
        tags=tuple(arguments.parse_tag(tag) for tag in role.session_tags),
        transitive_tags=role.transitive_tags,
        source_identity=role.source_identity,
        mfa_serial=role.mfa_serial,
        name=role.name,
    )


def _default_session_name() -> str:
    """Return a name by which an administrator finds the machine in CloudTrail."""
    return re.sub(r"[^\w+=,.@-]", "-", f"s3rolefs-{socket.gethostname()}", flags=re.ASCII)[:64]


def _whole(text: str | None, *, profile: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise UserError(f"duration_seconds={text} in the profile {profile} is not a number of seconds.")
    return int(text)
