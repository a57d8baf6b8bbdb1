"""Carry the configuration, and secrets from the environment, into the serving process.

They travel through an inherited descriptor of a nameless file in memory: never through argv or
the environment, which others can read.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from s3rolefs.config import BucketConfig, FileConfig, MountConfig, RoleConfig, StoreConfig

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Hold what the serving process is started with; the repr shows no secret."""

    config: MountConfig
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def write(self) -> int:
        """Return a descriptor from which `read` gets this; it is inherited by name only."""
        descriptor = os.memfd_create("s3rolefs-handover", os.MFD_CLOEXEC)
        os.write(
            descriptor, json.dumps({"config": asdict(self.config), "secrets": dict(self.secrets)}).encode()
        )
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    @classmethod
    def read(cls, descriptor: int) -> Handover:
        """Return what `write` put there, and close the descriptor."""
        with open(descriptor, encoding="utf-8") as file:
            record = json.load(file)
        config = record["config"]
        config["buckets"] = [
            BucketConfig(
                directory=bucket["directory"],
                role=_role(bucket["role"]),
                store=StoreConfig(**_with_tuples(bucket["store"])),
            )
            for bucket in config["buckets"]
        ]
        config["files"] = FileConfig(**_with_tuples(config["files"]))
        return cls(config=MountConfig(**_with_tuples(config)), secrets=record["secrets"])


def _role(record: Mapping[str, Any]) -> RoleConfig:
    fields = _with_tuples(record)
    if fields["source_role"] is not None:
        fields["source_role"] = _role(fields["source_role"])
    return RoleConfig(**fields)


def _with_tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    # JSON knows lists only.
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
