"""`s3rolefs check` says of each step whether a mount could take it, and what is missing."""

import json
import re

import pytest

from s3rolefs.mounting.checkup import check_blocking
from s3rolefs.mounting.findings import as_json
from s3rolefs.mounting.options import parse_mount
from tests.bed.loopback import Loopback, Said
from tests.bed.mounts import PROGRAM, run
from tests.bed.radosgw import Keys
from tests.bed.relay import Relay

STEPS = ["source", "sts", "trust", "list", "get", "put", "delete", "clock", "conditions"]
ALONE = {"spool_dir": None, "mount_wait": None, "stop_timeout": None}
NONSENSE = "endpoint_url=nonsense,no_sign_request"
NOBODY = Keys(access_key="NOSUCHKEY", secret_key="no such secret")


def allow(actions, *resources, **conditions):
    names = [f"arn:aws:s3:::{resource}" for resource in resources]
    statement = {"Effect": "Allow", "Action": actions, "Resource": names}
    return statement | ({"Condition": conditions} if conditions else {})


def check(place, source, *, usable=True, **options):
    """Check in this process, which saves a second each; return as `taken_apart` does."""
    config = parse_mount(source, "", [place.options(**ALONE | options)])
    return taken_apart(as_json(check_blocking(config, {})), usable=usable)


def read(result, *, usable=True):
    """Return what the command found, as `taken_apart` does, having seen its exit status."""
    assert result.returncode == (0 if usable else 1), result
    return taken_apart(json.loads(result.stdout), usable=usable)


def taken_apart(report, *, usable):
    """Return report, and outcome and sentence of each step."""
    assert report["usable"] == usable, report
    assert [finding["step"] for finding in report["findings"]] == STEPS
    findings = {finding["step"]: finding for finding in report["findings"]}
    return (
        report,
        {step: findings[step]["outcome"] for step in STEPS},
        {step: findings[step]["sentence"] for step in STEPS},
    )


def rights(outcomes):
    return [outcomes[step] for step in ("list", "get", "put", "delete")]


def policy_in(report):
    (advice,) = report["advice"]
    return json.loads(re.search(r"^\{.*^\}", advice, re.DOTALL | re.MULTILINE)[0])


def keys_of(s3, bucket):
    uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return [entry["Key"] for entry in (*listed, *uploads)]


def test_full_rights(role_place, make_role, bucket, radosgw_s3):
    role_arn = make_role(allow(["s3:*"], bucket, f"{bucket}/*"))
    options = role_place.options(**ALONE, role_arn=role_arn)
    report, outcomes, sentences = read(run(PROGRAM, "check", f"s3://{bucket}", "--json", "-o", options))
    assert outcomes == dict.fromkeys(STEPS, "works") | {"conditions": "weaker"}
    assert not report["advice"]
    assert role_arn.rpartition("/")[2] in report["principal"]
    assert role_arn in sentences["trust"]
    # radosgw ignores conditions where an upload in parts is completed.
    assert "files sent in parts" in sentences["conditions"]
    assert keys_of(radosgw_s3, bucket) == []


def test_read_only_role(role_place, make_role, bucket, radosgw_s3):
    radosgw_s3.put_object(Bucket=bucket, Key="d/empty", Body=b"")
    radosgw_s3.put_object(Bucket=bucket, Key="d/f", Body=b"read me")
    role_arn = make_role(allow(["s3:ListBucket"], bucket), allow(["s3:GetObject"], f"{bucket}/*"))
    report, outcomes, sentences = check(role_place, f"s3://{bucket}", role_arn=role_arn)
    assert rights(outcomes) == ["works", "works", "denied", "denied"]
    assert outcomes["conditions"] == "untried"
    assert f"s3:PutObject is denied below s3://{bucket}/" in sentences["put"]
    assert policy_in(report)["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"],
            "Resource": f"arn:aws:s3:::{bucket}/*",
        }
    ]
    assert f"this policy of {role_arn} would allow" in report["advice"][0]
    # Mounted with ro nothing is lacking, and nothing is asked for.
    report, outcomes, _ = check(role_place, f"s3://{bucket}", role_arn=role_arn, ro=True)
    assert outcomes["put"] == outcomes["delete"] == "untried"
    assert not report["advice"]


def test_a_policy_that_is_printed_makes_it_work(role_place, make_role, bucket, radosgw):
    role_arn = make_role(allow(["s3:ListBucket"], "another-bucket"))
    source = f"s3://{bucket}/team$*"
    report, outcomes, _ = check(role_place, source, usable=False, role_arn=role_arn)
    assert [outcomes[step] for step in ("list", "put", "delete")] == ["denied"] * 3
    assert "still valid" in report["advice"][0]
    policy = policy_in(report)
    # radosgw 16 knows neither ${*} nor ${$}; what AWS takes literally is written out for it.
    literal = json.loads(json.dumps(policy).replace("${$}", "$").replace("${*}", "*"))
    assert literal != policy
    radosgw.put_role_policy(role_arn.rpartition("/")[2], literal)
    _, outcomes, _ = check(role_place, source, role_arn=role_arn)
    assert [outcomes[step] for step in ("list", "put", "delete")] == ["works"] * 3


def test_write_only_role(role_place, make_role, bucket, radosgw_s3):
    role_arn = make_role(allow(["s3:PutObject"], f"{bucket}/*"))
    report, outcomes, _ = check(role_place, f"s3://{bucket}", role_arn=role_arn)
    assert rights(outcomes) == ["denied", "untried", "works", "denied"]
    assert [statement["Action"] for statement in policy_in(report)["Statement"]] == [
        "s3:ListBucket",
        ["s3:GetObject", "s3:DeleteObject"],
    ]
    assert keys_of(radosgw_s3, bucket) == []


def test_a_role_that_may_put_and_delete_but_not_read(role_place, make_role, bucket, radosgw_s3):
    role_arn = make_role(allow(["s3:PutObject", "s3:DeleteObject"], f"{bucket}/*"))
    _, outcomes, _ = check(role_place, f"s3://{bucket}", role_arn=role_arn)
    assert rights(outcomes) == ["denied", "denied", "works", "works"]
    assert keys_of(radosgw_s3, bucket) == []


def test_list_only_role(role_place, make_role, bucket, radosgw_s3):
    radosgw_s3.put_object(Bucket=bucket, Key="f", Body=b"read me not")
    role_arn = make_role(allow(["s3:ListBucket"], bucket))
    report, outcomes, _ = check(role_place, f"s3://{bucket}", usable=False, role_arn=role_arn)
    assert rights(outcomes) == ["works", "denied", "denied", "denied"]
    assert "s3:GetObject" in policy_in(report)["Statement"][0]["Action"]


def test_a_prefix_and_nothing_outside_it(role_place, make_role, bucket, radosgw, radosgw_s3):
    radosgw_s3.put_object(Bucket=bucket, Key="other/f", Body=b"not yours")
    role_arn = make_role(
        allow(["s3:ListBucket"], bucket, StringLike={"s3:prefix": "team/*"}),
        allow(["s3:GetObject", "s3:PutObject"], f"{bucket}/team/*"),
    )
    with Relay.to(radosgw.endpoint_url) as relay:
        options = {"role_arn": role_arn, "endpoint_url": relay.url}
        report, outcomes, _ = check(role_place, f"s3://{bucket}/team", **options)
        asked = [request for request in relay.requests if request.path != "/"]
    assert outcomes["delete"] == "denied"
    assert {statement["Resource"] for statement in policy_in(report)["Statement"]} == {
        f"arn:aws:s3:::{bucket}/team/*"
    }
    assert len(asked) >= 4
    for request in asked:
        probe = request.path.startswith(f"/{bucket}/team/.s3rolefs-check-")
        listing = request.path.rstrip("/") == f"/{bucket}" and "prefix=team%2F&" in f"{request.query}&"
        assert probe or listing, request
    assert keys_of(radosgw_s3, bucket) == ["other/f"]


def test_a_role_that_does_not_trust_the_caller(role_place, bucket, radosgw):
    role_arn = radosgw.create_role("trusts-another", {"Version": "2012-10-17", "Statement": []}, "another")
    report, outcomes, sentences = check(role_place, f"s3://{bucket}", usable=False, role_arn=role_arn)
    assert [outcomes[step] for step in STEPS[:4]] == ["works", "works", "fails", "untried"]
    assert role_arn in sentences["trust"]
    (advice,) = report["advice"]
    assert f'"Resource": "{role_arn}"' in advice
    assert f"The trust policy of {role_arn}" in advice
    lines = run(
        PROGRAM, "check", f"s3://{bucket}", "-o", role_place.options(**ALONE, role_arn=role_arn), check=False
    ).stdout
    assert re.search(r"^ok +source: .*credentials", lines, re.MULTILINE)
    assert re.search(r"^FAILS +trust: ", lines, re.MULTILINE)
    assert lines.endswith(f"A mount of s3://{bucket} does not work.\n")


def test_keys_that_nobody_knows(role_place, make_role, bucket):
    role_arn = make_role(allow(["s3:*"], bucket, f"{bucket}/*"))
    role_place.write_keys(NOBODY)
    _, outcomes, sentences = check(role_place, f"s3://{bucket}", usable=False, role_arn=role_arn)
    # radosgw's STS says no more than AccessDenied.
    assert outcomes["trust"] == "fails"
    assert "wrong keys" in sentences["trust"]
    assert NOBODY.secret_key not in str(sentences)
    # Its S3 says no more, either.
    report, outcomes, _ = check(role_place, f"s3://{bucket}", usable=False)
    assert rights(outcomes) == ["denied", "untried", "denied", "denied"]
    assert "whether the credentials belong to this service" in report["advice"][0]


def test_no_keys_at_all(role_place, bucket):
    role_place.credentials.unlink()
    _, outcomes, sentences = check(role_place, f"s3://{bucket}", usable=False)
    assert outcomes == dict.fromkeys(STEPS, "untried") | {"source": "fails"}
    assert str(role_place.credentials) in sentences["source"]


def test_an_expired_session(role_place, make_role, bucket, radosgw, visitor):
    role_arn = make_role(allow(["s3:*"], bucket, f"{bucket}/*"))
    sts = radosgw.client("sts", visitor)
    given = sts.assume_role(RoleArn=role_arn, RoleSessionName="short", DurationSeconds=900)["Credentials"]
    record = {
        "Version": 1,
        **{name: given[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")},
        "Expiration": "2026-01-01T00:00:00Z",
    }
    role_place.credentials.write_text(json.dumps(record))
    _, outcomes, sentences = check(role_place, f"s3://{bucket}", usable=False)
    assert outcomes == dict.fromkeys(STEPS, "untried") | {"source": "fails"}
    assert "has expired" in sentences["source"]


def test_no_such_bucket(role_place, make_role):
    role_arn = make_role(allow(["s3:*"], "no-such-bucket", "no-such-bucket/*"))
    _, outcomes, sentences = check(role_place, "s3://no-such-bucket", usable=False, role_arn=role_arn)
    assert outcomes["trust"] == "works"
    assert outcomes["list"] == "fails"
    assert "There is no bucket no-such-bucket" in sentences["list"]
    assert outcomes["put"] == "untried"


def test_nobody_answers(role_place, make_role, bucket, radosgw):
    role_arn = make_role(allow(["s3:*"], bucket, f"{bucket}/*"))
    with Relay.to(radosgw.endpoint_url) as relay:
        relay.refuse()
        options = {"role_arn": role_arn, "sts_endpoint": relay.url}
        _, outcomes, sentences = check(role_place, f"s3://{bucket}", usable=False, **options)
        assert [outcomes[step] for step in STEPS[:4]] == ["works", "fails", "untried", "untried"]
        assert relay.url in sentences["sts"]
    result = run(
        PROGRAM, "check", f"s3://{bucket}", "-o", "endpoint_url=nonsense,no_sign_request", check=False
    )
    assert result.returncode == 1
    assert "http" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_bucket_with_versions(place, bucket, radosgw_s3):
    radosgw_s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    _, outcomes, sentences = check(place, f"s3://{bucket}")
    # radosgw 16 ignores If-None-Match there.
    assert outcomes["conditions"] == "weaker"
    assert "ignores If-None-Match here" in sentences["conditions"]
    assert outcomes["delete"] == "works"
    versions = radosgw_s3.list_object_versions(Bucket=bucket)["Versions"]
    assert f"the bucket keeps versions, those of {versions[0]['Key']}, too" in sentences["delete"]
    assert keys_of(radosgw_s3, bucket) == []


class LateS3(Loopback):
    """Answer as an S3 that ignores conditions, with a clock of its own."""

    def answer(self, asked):
        if asked.method == "GET" and "list-type=2" in asked.path:
            return Said(text="<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        if asked.method == "GET":
            return Said(status=206, text="A", headers={"Content-Range": "bytes 0-0/40", "ETag": '"e"'})
        return Said(status=204 if asked.method == "DELETE" else 200, headers={"ETag": '"e"'})


@pytest.mark.parametrize(("ahead_seconds", "words"), [(600, "behind"), (-600, "ahead of")])
def test_a_wrong_clock_and_a_service_that_ignores_conditions(role_place, ahead_seconds, words):
    with LateS3() as server:
        server.ahead_seconds = ahead_seconds
        options = {"endpoint_url": server.url, "credentials_file": None, "no_sign_request": True}
        _, outcomes, sentences = check(role_place, "s3://bucket", **options)
        assert server.asked[-1].method == "DELETE"
    assert outcomes["clock"] == outcomes["conditions"] == "weaker"
    assert re.search(rf"(599|60[01]) s {words} the service", sentences["clock"])
    assert "ignores If-None-Match and If-Match" in sentences["conditions"]


def test_public_for_reading(role_place, bucket, radosgw_s3):
    radosgw_s3.put_object(Bucket=bucket, Key="f", Body=b"for all")
    policy = {
        "Version": "2012-10-17",
        "Statement": [allow(["s3:ListBucket", "s3:GetObject"], bucket, f"{bucket}/*") | {"Principal": "*"}],
    }
    radosgw_s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    options = {"credentials_file": None, "no_sign_request": True}
    report, outcomes, _ = check(role_place, f"s3://{bucket}", **options)
    assert rights(outcomes) == ["works", "works", "denied", "denied"]
    assert "not public" in report["advice"][0]


def test_a_mounted_directory(role_place, make_role, bucket, radosgw, radosgw_s3):
    role_arn = make_role(allow(["s3:*"], bucket, f"{bucket}/*"))
    with role_place.mounted(f"s3://{bucket}", role_arn=role_arn) as mount:
        before = mount.ask("whoami")["generation"]
        _, outcomes, _ = read(run(PROGRAM, "check", mount.path, "--json", check=False))
        assert outcomes == dict.fromkeys(STEPS, "works") | {"conditions": "weaker"}
        assert mount.ask("whoami")["generation"] == before + 1
        # The session still works, but it is the last one.
        radosgw.client("iam").delete_role_policy(
            RoleName=role_arn.rpartition("/")[2], PolicyName="permissions"
        )
        radosgw.client("iam").delete_role(RoleName=role_arn.rpartition("/")[2])
        _, outcomes, _ = read(run(PROGRAM, "check", mount.path, "--json", check=False), usable=False)
        assert "fails" in (outcomes["sts"], outcomes["trust"])
        refused = run(PROGRAM, "check", mount.path, "-o", "region=x", check=False)
        assert refused.returncode == 1
        assert "options of its own" in refused.stderr
    assert keys_of(radosgw_s3, bucket) == []


def test_a_table_on_a_terminal(role_place, make_role, bucket):
    role_arn = make_role(allow(["s3:*"], bucket, f"{bucket}/*"))
    options = role_place.options(**ALONE, role_arn=role_arn)
    shown = run("script", "-qec", f"{PROGRAM} check s3://{bucket} -o {options}", "/dev/null").stdout
    assert "✓" in shown
    assert "╭" in shown
    assert f"A mount of s3://{bucket} works." in shown


def test_nothing_to_check():
    result = run(PROGRAM, "check", check=False)
    assert result.returncode == 1
    assert "Say what is to be checked" in result.stderr
