"""Each refusal is told at the step that it is about, with the policies that are missing."""

import json

import pytest

from s3rolefs.mounting import checkup
from s3rolefs.mounting.checkup import check_blocking
from s3rolefs.mounting.findings import as_json
from s3rolefs.mounting.options import parse_mount
from s3rolefs.s3.endpoints import Endpoint
from tests.bed.loopback import Loopback, Said

CALLER = "arn:aws:iam::111122223333:user/builder"
ROLE = "arn:aws:iam::444455556666:role/teams/data"
NOT_AUTHORIZED = f"User: {CALLER} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"


class Sts(Loopback):
    """Answer every call with an error document of STS."""

    def __init__(self, status, code, message):
        super().__init__()
        self.error = Said(
            status=status,
            text=f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>",
        )

    def answer(self, asked):
        return self.error


class CarefulS3(Loopback):
    """Hold one object at most, and honour conditions.

    Listings are answered with `denied`, if there is one; requests of the method `silent` are not.
    """

    def __init__(self, denied="", silent=""):
        super().__init__()
        self.denied = denied
        self.silent = silent
        self.holds = False

    def answer(self, asked):
        if asked.method == self.silent:
            return None
        conditions = {"if-match", "if-none-match"} & set(asked.headers)
        if asked.method == "GET" and "list-type=2" in asked.path:
            if self.denied:
                return error_of(403, "AccessDenied", self.denied)
            return Said(text="<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        if asked.method == "PUT" and conditions and self.holds:
            return error_of(412, "PreconditionFailed", "")
        if asked.method == "GET":
            return Said(status=206, text="A", headers={"Content-Range": "bytes 0-0/40", "ETag": '"e"'})
        self.holds = asked.method == "PUT"
        return Said(status=200 if self.holds else 204, headers={"ETag": '"e"'})


def error_of(status, code, message):
    return Said(status=status, text=f"<Error><Code>{code}</Code><Message>{message}</Message></Error>")


@pytest.fixture
def options(tmp_path):
    path = tmp_path / "credentials"
    path.touch(mode=0o600)
    path.write_text("[default]\naws_access_key_id = AKIA\naws_secret_access_key = hush\n")
    return f"credentials_file={path},region=us-east-1"


def check(source, options):
    [report] = check_blocking(parse_mount(source, "", [options]), {})
    return report, {finding.step: (str(finding.outcome), finding.sentence) for finding in report.findings}


@pytest.mark.parametrize(
    ("status", "code", "message", "step"),
    [
        (403, "AccessDenied", NOT_AUTHORIZED, "trust"),
        (400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration", "trust"),
        (403, "InvalidClientTokenId", "The security token included in the request is invalid", "source"),
        (403, "SignatureDoesNotMatch", "The request signature does not match", "source"),
        (403, "ExpiredToken", "The security token included in the request is expired", "source"),
        (400, "RequestExpired", "Request has expired", "clock"),
        (503, "ServiceUnavailable", "try again", "sts"),
        (405, "MethodNotAllowed", "", "sts"),
    ],
)
def test_what_sts_refuses_is_told_at_the_step_it_is_about(options, status, code, message, step):
    with Sts(status, code, message) as server:
        more = f"role_arn={ROLE},external_id=4711,sts_endpoint={server.url},endpoint_url={server.url}"
        report, found = check("s3://bucket", f"{options},{more}")
    assert not report.usable
    assert found[step][0] == "fails"
    assert message in found[step][1]
    assert [step for step, (outcome, _) in found.items() if outcome == "fails"] == [step]
    assert found["list"][0] == "untried"
    if code == "AccessDenied":
        (advice,) = report.advice
        assert f'"Resource": "{ROLE}"' in advice
        assert f'"AWS": "{CALLER}"' in advice
        assert '"sts:ExternalId": "4711"' in advice


def test_a_service_that_honours_conditions(monkeypatch):
    monkeypatch.setattr(Endpoint, "is_aws", True)
    with CarefulS3() as server:
        report, found = check("s3://bucket", f"no_sign_request,endpoint_url={server.url}")
    assert report.usable
    assert found["conditions"] == ("works", "no write replaces what somebody else wrote meanwhile.")
    assert not server.holds


def test_what_aws_says_of_a_denial_is_repeated():
    said = "User: x is not authorized to perform: s3:ListBucket because no identity-based policy allows it"
    with CarefulS3(said) as server:
        report, found = check("s3://bucket", f"no_sign_request,endpoint_url={server.url}")
    assert report.usable
    assert found["list"] == ("denied", f"s3:ListBucket is denied below s3://bucket/ ({said}).")


def test_a_service_that_falls_silent(monkeypatch):
    monkeypatch.setattr(checkup, "_LIMIT_SECONDS", 1.0)
    with CarefulS3(silent="PUT") as server:
        report, found = check("s3://bucket", f"no_sign_request,endpoint_url={server.url}")
        # The put may have taken effect: so what it put is deleted all the same.
        assert [asked.method for asked in server.asked] == ["GET", "DELETE", "PUT", "DELETE"]
        assert server.asked[2].path.partition("?")[0] == server.asked[3].path
    assert not report.usable
    assert found["put"] == ("fails", "no answer came in time.")
    assert found["delete"][0] == "works"
    assert found["get"][0] == "untried"


def test_an_endpoint_that_is_none():
    report, found = check("s3://bucket", "no_sign_request,endpoint_url=http://127.0.0.1:9?x=1")
    assert not report.usable
    assert found["list"][0] == "fails"


def test_the_report_holds_no_secret(options):
    with CarefulS3() as server:
        report, _ = check("s3://bucket", f"{options},endpoint_url={server.url}")
    assert "hush" not in json.dumps(as_json([report]))
    assert "hush" not in repr(report)
