"""Read and write through a mount while its sessions of 900 s (AWS's shortest) come and go in real time.

`make soak` takes 20 minutes, in which the first session ends; MINUTES=180 goes on for longer. It fails when
an operation fails, when STS is called more than twice in any ten minutes, or when a session was waited for.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from tests.bed.mounts import Mounted, Place
from tests.bed.radosgw import RadosGateway
from tests.bed.relay import Relay
from tests.bed.traffic import Traffic

_SESSION_SECONDS = 900
_WINDOW_SECONDS = 600
_MOST_CALLS = 2
# A wait that nobody notices.
_LONGEST_WAIT_SECONDS = 0.1
_REPORT_SECONDS = 60

console = Console(highlight=False, soft_wrap=True)


@click.command(help=__doc__)
@click.option("--minutes", default=20.0, show_default=True, help="How long the mount is used.")
def main(minutes: float) -> None:
    """Soak, and say how it went."""
    with (
        tempfile.TemporaryDirectory(prefix="s3rolefs-soak.") as folder,
        RadosGateway() as gateway,
        Relay.to(gateway.endpoint_url) as sts,
    ):
        everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [everything]}
        keys = gateway.create_user("visitor")
        role_arn = gateway.create_role("soak", policy, "visitor")
        gateway.client("s3").create_bucket(Bucket="soak")
        place = Place(Path(folder), gateway, keys)
        options = {"role_arn": role_arn, "duration_seconds": _SESSION_SECONDS, "sts_endpoint": sts.url}
        with place.mounted("s3://soak", **options) as mount, Traffic(mount.path) as traffic:
            role = _watch(mount, traffic, minutes * 60)
    calls = [request.at_seconds for request in sts.requests if request.kind == "AssumeRole"]
    most = max(sum(0 <= later - call < _WINDOW_SECONDS for later in calls) for call in calls)
    wrong = [
        *traffic.errors,
        *([f"STS was called {most} times in ten minutes"] if most > _MOST_CALLS else []),
        *([f"{role['failures']} renewals failed"] if role["failures"] else []),
        *(["somebody waited for a session"] if role["longest_wait_seconds"] > _LONGEST_WAIT_SECONDS else []),
    ]
    console.print(
        f"{minutes:g} minutes, {traffic.rounds} rounds, {len(traffic.errors)} errors; slowest round "
        f"{traffic.slowest_seconds:.2f} s; {role['generation']} sessions, {len(calls)} calls of STS, "
        f"at most {most} in ten minutes; longest wait for a session {role['longest_wait_seconds']:.3f} s"
    )
    if wrong:
        raise click.ClickException("; ".join(wrong))


def _watch(mount: Mounted, traffic: Traffic, seconds: float) -> dict[str, Any]:
    """Report each minute until the time is over; return how the session stands then."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _REPORT_SECONDS))
        role = mount.ask("status")["roles"][0]
        console.print(
            f"{time.strftime('%H:%M:%S')}  {traffic.rounds} rounds, {len(traffic.errors)} errors, session "
            f"{role['generation']} for {role['expires_at'] - time.time():.0f} s more",
            style="dim",
        )
    return dict(mount.ask("status")["roles"][0])


if __name__ == "__main__":
    main()
