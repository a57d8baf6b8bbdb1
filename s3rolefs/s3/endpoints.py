"""Find out where a bucket is reached: endpoint, region, and virtual-host or path style.

botocore knows AWS's endpoint rules (partitions, dual-stack, FIPS, access points); they are asked
through its public surface, an unsigned "presigned" URL, once per region. A custom endpoint comes from
the option, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile, in that order.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ProfileNotFound

from s3rolefs.errors import UserError
from s3rolefs.s3.attempt import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.config import StoreConfig

DEFAULT_REGION = "us-east-1"
_AWS_SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".amazonaws.eu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Say where requests go: the server, the path before the key (no "/" at its end), the region."""

    origin: Origin
    base_path: str
    region: str

    @property
    def is_aws(self) -> bool:
        """Say whether Amazon itself answers there."""
        return self.origin.host.endswith(_AWS_SUFFIXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """Hold what options, environment and profile say, first one wins."""

    region: str
    endpoint_url: str | None
    path_style: bool | None


class EndpointFinder:
    """Answer for one bucket where it is. Blocking: reads files, loads botocore's rules."""

    def __init__(self, store: StoreConfig, *, profile: str | None, environ: Mapping[str, str]) -> None:
        self._store = store
        self._environ = environ
        self._session = botocore.session.Session(profile=profile)

    def ca_bundle_blocking(self) -> str | None:
        """Return the CA bundle of the option, AWS_CA_BUNDLE or the profile."""
        chosen = self._store.ca_bundle or self._environ.get("AWS_CA_BUNDLE")
        return chosen or self._profile_values().get("ca_bundle")

    def endpoint_url_blocking(self) -> str | None:
        """Return the address of a service other than AWS that the option, environment or profile names."""
        return self._settings(None).endpoint_url

    def find_blocking(self, region: str | None = None) -> Endpoint:
        """Return the endpoint, for the `region` that the service itself named if there is one.

        Raise UserError for an endpoint that is no URL or a region nobody knows.
        """
        settings = self._settings(region)
        if settings.endpoint_url:
            return custom_endpoint(
                settings.endpoint_url,
                bucket=self._store.bucket,
                region=settings.region,
                path_style=settings.path_style is not False,
            )
        return self._aws_endpoint(settings)

    def _settings(self, region: str | None) -> _Settings:
        values = self._profile_values()
        s3_values = _section(values.get("s3"))
        style = {"path": True, "virtual": False}.get(s3_values.get("addressing_style", ""))
        environ = self._environ
        return _Settings(
            region=region
            or self._store.region
            or environ.get("AWS_REGION")
            or environ.get("AWS_DEFAULT_REGION")
            or values.get("region")
            or DEFAULT_REGION,
            endpoint_url=self._store.endpoint_url
            or environ.get("AWS_ENDPOINT_URL_S3")
            or environ.get("AWS_ENDPOINT_URL")
            or self._profile_endpoint(values),
            path_style=self._store.path_style if self._store.path_style is not None else style,
        )

    def _profile_values(self) -> dict[str, Any]:
        try:
            return dict(self._session.get_scoped_config())
        except ProfileNotFound:
            # Whoever takes credentials from it says so, with the nearest name.
            return {}
        except BotoCoreError as error:
            raise UserError(f"the AWS configuration cannot be used: {error}") from None

    def _profile_endpoint(self, values: Mapping[str, Any]) -> str | None:
        services = self._session.full_config.get("services", {}).get(values.get("services"), {})
        return _section(services.get("s3")).get("endpoint_url") or values.get("endpoint_url")

    def _aws_endpoint(self, settings: _Settings) -> Endpoint:
        bucket = self._store.bucket
        s3_options: Any = {"us_east_1_regional_endpoint": "regional"}
        # A certificate's wildcard covers one label only. "virtual" is given in so many words because
        # URLs to hand out go to the global endpoint otherwise.
        dotted = "." in bucket and not bucket.startswith("arn:")
        path_style = dotted if settings.path_style is None else settings.path_style
        s3_options["addressing_style"] = "path" if path_style else "virtual"
        try:
            client: Any = self._session.create_client(
                "s3",
                region_name=settings.region,
                config=Config(signature_version=UNSIGNED, s3=s3_options),
            )
            url = client.generate_presigned_url("head_object", Params={"Bucket": bucket, "Key": "k"})
        except (BotoCoreError, ValueError) as error:
            raise UserError(f"no S3 endpoint for the bucket {bucket}: {error}") from None
        parts = urlsplit(url)
        return Endpoint(
            origin=_origin(url),
            base_path=parts.path.removesuffix("/k"),
            region=settings.region,
        )


def custom_endpoint(url: str, *, bucket: str, region: str, path_style: bool) -> Endpoint:
    """Return the endpoint of a service at `url`; path style wherever a host name cannot carry the bucket.

    Raise UserError for what is no http(s) URL.
    """
    origin = _origin(url)
    path = urlsplit(url).path.rstrip("/")
    dotted_tls = origin.scheme == "https" and "." in bucket
    if path_style or dotted_tls or _is_address(origin.host):
        return Endpoint(origin=origin, base_path=f"{path}/{quote(bucket, safe='-_.~')}", region=region)
    host = f"{bucket}.{origin.host}"
    return Endpoint(
        origin=Origin(scheme=origin.scheme, host=host, port=origin.port), base_path=path, region=region
    )


def _origin(url: str) -> Origin:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    usable = parts.scheme in {"http", "https"} and parts.hostname and port != 0
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise UserError("the endpoint must be given as http://host[:port] or https://host[:port]")
    host = str(parts.hostname)
    return Origin(scheme=parts.scheme, host=host, port=port or (443 if parts.scheme == "https" else 80))


def _is_address(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _section(value: object) -> dict[str, str]:
    """Return a nested section of the AWS configuration file, empty where it is something else."""
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, dict) else {}
