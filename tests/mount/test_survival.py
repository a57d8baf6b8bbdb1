"""What a mount survives besides the passing of its sessions: bad networks, revocation, crowds, rotation."""

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.bed.mounts import LIMIT_SECONDS, PROGRAM, run
from tests.bed.patience import wait_until
from tests.bed.relay import Relay
from tests.bed.revocation import DENIED, EXPIRED, RevokingFront
from tests.bed.sessions import RoleSessions

EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
SLOW_SECONDS = 0.5


@pytest.fixture
def sts(radosgw):
    """What stands between the mount and STS, and counts; S3 is reached without it."""
    with Relay.to(radosgw.endpoint_url) as made:
        yield made


def read_now(path):
    """Read past every cache: S3 is asked at each open."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        return os.read(file, 100)
    finally:
        os.close(file)


@pytest.mark.timeout(90)
def test_a_black_holed_sts_slows_nothing_down_until_the_session_ends(role_place, bucket, make_role, sts):
    options = {"role_arn": make_role(EVERYTHING), "duration_seconds": 20, "sts_endpoint": sts.url}
    with role_place.mounted(f"s3://{bucket}", **options) as mount:
        path = mount.path / "watched"
        path.write_bytes(b"still here")
        expires_at = mount.ask("status")["roles"][0]["expires_at"]
        assert expires_at - time.time() > 9, "it may have been renewed already"
        sts.blackhole()
        took = []
        flow = threading.Timer(expires_at - time.time() + 1, sts.flow)
        flow.start()
        for number in count():
            began = time.time()
            assert read_now(path) == b"still here"
            (mount.path / f"written{number % 10}").write_bytes(b"too")
            took.append((began, time.time() - began))
            if began > expires_at:
                break
            time.sleep(0.05)
        flow.join()
        before = [seconds for began, seconds in took if began < expires_at - SLOW_SECONDS]
        role = mount.ask("status")["roles"][0]
        assert len(before) > 40
        assert max(before) < SLOW_SECONDS
        assert (role["state"], role["generation"]) == ("fresh", 2)
        # Whoever came after the end waited for STS, and for no more than that.
        assert 0.3 < role["longest_wait_seconds"] < 8


@pytest.mark.timeout(90)
def test_five_hundred_opens_at_once_on_a_cold_mount_cost_one_call(
    role_place, bucket, make_role, sts, radosgw_s3
):
    for number in range(100):
        radosgw_s3.put_object(Bucket=bucket, Key=f"f{number}", Body=b"%d" % number)
    options = {"role_arn": make_role(EVERYTHING), "duration_seconds": 900, "sts_endpoint": sts.url}
    with role_place.mounted(f"s3://{bucket}", **options) as mount:
        together = threading.Barrier(500)

        def read(number):
            together.wait(LIMIT_SECONDS)
            return (mount.path / f"f{number % 100}").read_bytes() == b"%d" % (number % 100)

        with ThreadPoolExecutor(500) as crowd:
            assert all(crowd.map(read, range(500)))
        assert mount.ask("status")["roles"][0]["longest_wait_seconds"] <= 0.1
    assert sts.counts == {"AssumeRole": 1}


def use_everything(folder):
    """Do what takes LIST, HEAD, GET, PUT and a multipart upload, whose bytes are returned."""
    large = os.urandom(20 << 20)
    assert os.listdir(folder / "d") == ["f"]  # noqa: PTH208 - one system call after the other
    assert read_now(folder / "d" / "f") == b"read me"
    (folder / "small").write_bytes(b"written")
    (folder / "large").write_bytes(large)
    assert read_now(folder / "small") == b"written"
    return large


@pytest.mark.parametrize("refusal", [DENIED, EXPIRED], ids=lambda refusal: refusal.code)
@pytest.mark.parametrize("kind", ["GET", "HEAD", "LIST", "PUT", "UPLOAD_PART", "COMPLETE_UPLOAD"])
def test_an_early_revocation_costs_one_renewal_and_nobody_sees_it(
    role_place, bucket, make_role, sts, radosgw, radosgw_s3, visitor, kind, refusal
):
    radosgw_s3.put_object(Bucket=bucket, Key="d/f", Body=b"read me")
    options = {"role_arn": make_role(EVERYTHING), "duration_seconds": 900, "sts_endpoint": sts.url}
    with (
        RevokingFront.to(radosgw.endpoint_url) as front,
        role_place.mounted(f"s3://{bucket}", endpoint_url=front.url, **options) as mount,
    ):
        front.revoke_at(kind, refusal)
        written = use_everything(mount.path)
        role = mount.ask("status")["roles"][0]
        assert front.refused[0].kind == kind
        assert (role["forced"], role["generation"], role["failures"]) == (1, 2, 0)
        assert len({request.access_key for request in front.refused}) == 1
        # Each of the requests that were on their way at that moment is refused once, and repeated.
        assert len(front.refused) <= 32
    assert sts.counts == {"AssumeRole": 2}
    owner = radosgw.client("s3", visitor)  # what a role wrote belongs to who assumed it
    assert owner.get_object(Bucket=bucket, Key="large")["Body"].read() == written


def rename_over(path, text):
    new = path.with_name("new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.rename(path)


def rewrite_in_place(path, text):
    """Write as slow programs do: for a moment half of it is there."""
    half = text.index("aws_secret") + 5
    with path.open("w") as file:
        file.write(text[:half])
        file.flush()
        time.sleep(0.3)
        file.write(text[half:])


@pytest.mark.timeout(90)
def test_a_triple_that_is_rotated_while_files_are_read_and_written(
    role_place, bucket, radosgw, visitor, make_role
):
    half_life_seconds = 5
    sessions = RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=2 * half_life_seconds)
    role_place.write_keys(sessions()[0])
    errors, done = [], threading.Event()

    def use(folder):
        try:
            for number in count():
                (folder / f"f{number % 5}").write_bytes(b"%d" % number)
                assert read_now(folder / f"f{number % 5}") == b"%d" % number
                if done.wait(0.02):
                    return
        except (OSError, AssertionError) as error:
            errors.append(error)

    with role_place.mounted(f"s3://{bucket}") as mount:
        user = threading.Thread(target=use, args=(mount.path,))
        user.start()
        try:
            for generation, replace in enumerate((rename_over, rewrite_in_place, rename_over), 2):
                keys, _expires_at = sessions()
                replace(
                    role_place.credentials,
                    f"[default]\naws_access_key_id = {keys.access_key}\n"
                    f"aws_secret_access_key = {keys.secret_key}\naws_session_token = {keys.session_token}\n",
                )
                rotated_at = time.monotonic()
                wait_until(
                    lambda: mount.ask("status")["roles"][0]["generation"] == generation,  # noqa: B023
                    10,
                )
                # Half a life each: in the end the first session is long over.
                time.sleep(max(0.0, rotated_at + half_life_seconds - time.monotonic()))
        finally:
            done.set()
            user.join(LIMIT_SECONDS)
        role = mount.ask("status")["roles"][0]
    assert errors == []
    assert (role["generation"], role["failures"], role["rejections"]) == (4, 0, 0)


@pytest.mark.timeout(90)
def test_a_network_that_comes_up_after_the_mount_began(role_place, bucket, make_role, radosgw):
    role_arn = make_role(EVERYTHING)
    with Relay.to(radosgw.endpoint_url) as network:
        network.refuse()
        up = threading.Timer(5, network.accept)
        began = time.monotonic()
        up.start()
        options = {"role_arn": role_arn, "endpoint_url": network.url, "sts_endpoint": network.url}
        try:
            with role_place.mounted(f"s3://{bucket}", mount_wait=30, **options) as mount:
                assert 5 <= time.monotonic() - began < 25
                (mount.path / "f").write_bytes(b"still here")
                assert read_now(mount.path / "f") == b"still here"
        finally:
            up.join()


@pytest.mark.timeout(90)
def test_an_unmount_does_not_wait_for_a_pending_renewal(role_place, bucket, make_role, sts, radosgw, visitor):
    options = {"role_arn": make_role(EVERYTHING), "duration_seconds": 900, "sts_endpoint": sts.url}
    with role_place.mounted(f"s3://{bucket}", **options) as mount:
        (mount.path / "f").write_bytes(b"sent")
        sts.blackhole()
        command = [PROGRAM, "refresh", str(mount.path)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as refresh:
            wait_until(lambda: mount.ask("status")["roles"][0]["state"] == "refreshing", 10)
            began = time.monotonic()
            run(PROGRAM, "umount", mount.path)
            mount.wait_for_end()
            took_seconds = time.monotonic() - began
            assert refresh.wait(LIMIT_SECONDS) != 0
    assert took_seconds < 5  # STS is given 10 s to answer
    owner = radosgw.client("s3", visitor)
    assert owner.get_object(Bucket=bucket, Key="f")["Body"].read() == b"sent"


@pytest.mark.timeout(90)
def test_a_thousand_genuine_denials_cost_at_most_one_call_more(
    role_place, bucket, make_role, sts, radosgw, radosgw_s3
):
    radosgw_s3.put_object(Bucket=bucket, Key="d/f", Body=b"keep me")
    denied = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{bucket}/d/*"}
    options = {"role_arn": make_role(EVERYTHING, denied), "duration_seconds": 900, "sts_endpoint": sts.url}
    with (
        Relay.to(radosgw.endpoint_url) as s3,
        role_place.mounted(f"s3://{bucket}", endpoint_url=s3.url, **options) as mount,
    ):

        def remove(_number):
            with pytest.raises(PermissionError):
                (mount.path / "d" / "f").unlink()

        with ThreadPoolExecutor(20) as crowd:
            list(crowd.map(remove, range(1000)))
        assert s3.counts["DELETE"] >= 1000
    assert sts.counts["AssumeRole"] <= 2
    assert radosgw_s3.get_object(Bucket=bucket, Key="d/f")["Body"].read() == b"keep me"
