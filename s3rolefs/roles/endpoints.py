"""Find out which STS to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3rolefs.roles.profiles import Profiles

_AWS_DOMAINS = ("amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "api.aws", "c2s.ic.gov", "sc2s.sgov.gov")
# Where a partition's STS is when nobody names a region.
_FIRST_REGIONS = {"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1", "aws-eusc": "eusc-de-east-1"}


def is_aws(endpoint_url: str | None) -> bool:
    """Say whether an endpoint is AWS's own; None (the region's default) is."""
    if endpoint_url is None:
        return True
    host = urlsplit(endpoint_url).hostname or ""
    return any(host == domain or host.endswith(f".{domain}") for domain in _AWS_DOMAINS)


def sts_endpoint(
    option: str | None,
    *,
    s3_option: str | None,
    environment: Mapping[str, str],
    profiles: Profiles,
    profile: str,
) -> str | None:
    """Return the STS endpoint, None for AWS's own of the region.

    In this order: the option `sts_endpoint`, AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL, the
    profile. With none of them, a bucket that is not at AWS is asked for at the address of S3
    itself: radosgw, MinIO and their like serve STS there, and AWS knows none of their keys.
    (The address of S3 is `endpoint_url`, AWS_ENDPOINT_URL_S3, or the profile's.)
    """
    named = (
        option
        or environment.get("AWS_ENDPOINT_URL_STS")
        or environment.get("AWS_ENDPOINT_URL")
        or profiles.endpoint_url(profile, "sts")
    )
    if named:
        return named
    s3 = s3_option or environment.get("AWS_ENDPOINT_URL_S3") or profiles.endpoint_url(profile, "s3")
    return s3 if not is_aws(s3) else None


def sts_region(
    option: str | None,
    *,
    partition: str,
    environment: Mapping[str, str],
    profiles: Profiles,
    profile: str,
) -> str:
    """Return the region to sign for: option, AWS_REGION, AWS_DEFAULT_REGION, profile, partition."""
    return (
        option
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or str(profiles.settings(profile).get("region") or "")
        or _FIRST_REGIONS.get(partition, "us-east-1")
    )
