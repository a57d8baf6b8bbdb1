"""A mount that lives on tokens of an identity provider, rotated under it while old ones are refused."""

import threading
import time
from pathlib import Path

import pytest

from tests.bed.mounts import run
from tests.bed.oidc import Provider, Site, TokenJudge, registered, tampered
from tests.bed.patience import read_until
from tests.bed.sessions import RoleSessions
from tests.bed.sts import RefusedError, StrictSts

ROLE = "arn:aws:iam::111122223333:role/data"
EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
SESSION_SECONDS = 8
ROTATION_SECONDS = 2


@pytest.fixture(scope="module")
def oidc():
    return Provider(life_seconds=ROTATION_SECONDS + 1.5)


@pytest.fixture
def judge(oidc):
    return TokenJudge(oidc, role_arn=ROLE)


@pytest.fixture
def sts(radosgw, visitor, make_role, judge):
    with StrictSts(RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=SESSION_SECONDS)) as sts:
        sts.judges["AssumeRoleWithWebIdentity"] = judge
        yield sts


@pytest.fixture
def token_file(tmp_path, oidc):
    """A file that holds a new token every two seconds, put there by renaming as Kubernetes does."""
    path = tmp_path / "token"
    end = threading.Event()

    def rotate():
        while True:
            new = path.with_suffix(".new")
            new.write_text(oidc.token())
            new.rename(path)
            if end.wait(ROTATION_SECONDS):
                return

    thread = threading.Thread(target=rotate)
    thread.start()
    yield path
    end.set()
    thread.join()


@pytest.mark.timeout(120)
def test_rotated_tokens_keep_a_mount_alive_that_kubernetes_configured(
    role_place, bucket, sts, judge, token_file, monkeypatch
):
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token_file))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "pod")
    with role_place.mounted(f"s3://{bucket}", credentials_file=None, sts_endpoint=sts.url) as mount:
        path = mount.path / "watched"
        path.write_bytes(b"still here")
        read_until(lambda: len(judge.accepted) >= 3, path)
        before = len(judge.accepted)
        judge.troubles = [
            RefusedError("IDPCommunicationError", "Error communicating with the provider"),
            RefusedError("InvalidIdentityToken", "Couldn't retrieve verification key from your provider"),
        ]
        read_until(lambda: len(judge.accepted) >= before + 2, path)
        role = mount.ask("status")["roles"][0]
        who = mount.ask("whoami")
    assert role["longest_wait_seconds"] <= 0.1
    assert role["failures"] == 2
    assert len(set(judge.accepted)) == len(judge.accepted)  # each session had a token of its own
    # This STS has no GetCallerIdentity: what it said when the role was assumed stands in.
    assert (who["role"], who["session"], who["account"]) == ("data", "pod", "111122223333")


def test_a_token_from_a_descriptor(role_place, bucket, sts, oidc):
    options = {"role_arn": ROLE, "credentials_file": None, "sts_endpoint": sts.url}
    command = role_place.command(f"s3://{bucket}", web_identity_token_file="/dev/fd/0", **options)
    mount = None
    try:
        run(
            "sh",
            "-c",
            'token=$1; shift; printf %s "$token" | "$@"',
            "sh",
            oidc.token(exp=time.time() + 60),
            *command,
        )
        mount = role_place.find()
        (mount.path / "a").write_bytes(b"x")
        for name in ("environ", "cmdline"):
            assert b"eyJ" not in Path(f"/proc/{mount.pid}/{name}").read_bytes()
    finally:
        role_place.clear(mount.pid if mount else None)


def test_a_refused_token_is_told_in_the_services_words(role_place, bucket, sts, oidc, tmp_path):
    path = tmp_path / "token"
    path.write_text(oidc.token(aud="another", exp=time.time() + 60))
    options = {"role_arn": ROLE, "credentials_file": None, "sts_endpoint": sts.url, "mount_wait": 6}
    command = role_place.command(f"s3://{bucket}", web_identity_token_file=path, **options)
    result = run(*command, check=False)
    assert result.returncode == 32
    assert "Incorrect token audience" in result.stderr
    assert "eyJ" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.timeout(120)
def test_radosgw_itself_verifies_the_tokens_that_a_mount_lives_on(role_place, bucket, radosgw, tmp_path):
    provider, token = Provider(), tmp_path / "token"
    with Site(provider) as site:
        policy = {"Version": "2012-10-17", "Statement": [EVERYTHING]}
        role_arn = radosgw.create_role("web", policy, registered(radosgw, site, provider.thumbprint))
        options = {"role_arn": role_arn, "credentials_file": None, "web_identity_token_file": token}
        for wrong in (tampered(provider.token(iss=site.url)), provider.token(iss=site.url, aud="another")):
            token.write_text(wrong)
            result = run(*role_place.command(f"s3://{bucket}", mount_wait=6, **options), check=False)
            assert result.returncode == 32
            assert f"refuses to assume {role_arn}" in result.stderr
        token.write_text(provider.token(iss=site.url))
        verified = len(site.asked)
        with role_place.mounted(f"s3://{bucket}", duration_seconds=4, **options) as mount:
            path = mount.path / "watched"
            path.write_bytes(b"still here")
            read_until(lambda: mount.ask("status")["roles"][0]["generation"] >= 3, path)
            role = mount.ask("status")["roles"][0]
            who = mount.ask("whoami")
        assert (role["failures"], role["longest_wait_seconds"] <= 0.1) == (0, True)
        assert len(site.asked) >= verified + 3 * 2  # for each session: where the keys are, and the keys
        assert who["role"] == "web"
