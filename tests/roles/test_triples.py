"""Credentials are read in every spelling people have, and half of a file never passes for a whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3rolefs.roles.triples import UnreadableTripleError, from_environment, parse

SECRET = "wJalr/XUtn+FEMI=K7MDENG"
TOKEN = "FwoGZXIvYXdzEJr//token+=="
EXPIRY = "2030-01-02T03:04:05Z"
SECONDS = 1893553445.0

STS_JSON = json.dumps(
    {
        "Credentials": {
            "AccessKeyId": "ASIA1",
            "SecretAccessKey": SECRET,
            "SessionToken": TOKEN,
            "Expiration": EXPIRY,
        },
        "AssumedRoleUser": {
            "AssumedRoleId": "AROA:me",
            "Arn": "arn:aws:sts::111122223333:assumed-role/data/me",
        },
    },
    indent=4,
)
PROCESS_JSON = json.dumps({"Version": 1, **json.loads(STS_JSON)["Credentials"]})
INI = f"""# written by a cron job
[default]
aws_access_key_id = ASIA1
aws_secret_access_key={SECRET}
aws_session_token = {TOKEN}
expiration = {EXPIRY}

[other]
aws_access_key_id = AKIAOTHER
aws_secret_access_key = x
"""
LINES = f"""
export AWS_ACCESS_KEY_ID="ASIA1"
export AWS_SECRET_ACCESS_KEY='{SECRET}'
AWS_SESSION_TOKEN={TOKEN}
export AWS_CREDENTIAL_EXPIRATION={EXPIRY}
export AWS_REGION=eu-central-1
"""
WINDOWS = f"""SET AWS_ACCESS_KEY_ID=ASIA1\r
$Env:AWS_SECRET_ACCESS_KEY="{SECRET}"\r
set -gx AWS_SESSION_TOKEN {TOKEN};\r
SET AWS_CREDENTIAL_EXPIRATION={SECONDS:.0f}\r
"""
TEXTS = {
    "sts": STS_JSON,
    "process": PROCESS_JSON,
    "ini": INI,
    "one section": INI.split("\n\n")[0].replace("default", "profile x"),
    "lines": LINES,
    "windows and fish": WINDOWS,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_spelling_gives_the_same_credentials(text):
    triple = parse(text, source="a file")
    assert triple.access_key_id == "ASIA1"
    assert triple.secret_access_key == SECRET
    assert triple.session_token == TOKEN
    assert triple.expires_at == SECONDS


def test_the_arn_that_sts_printed_is_kept():
    assert parse(STS_JSON, source="").arn == "arn:aws:sts::111122223333:assumed-role/data/me"


def test_long_lived_keys_have_no_token():
    triple = parse("AWS_ACCESS_KEY_ID=AKIA1\nAWS_SECRET_ACCESS_KEY=x", source="")
    assert triple.session_token is None
    assert triple.expires_at is None


@given(text=st.sampled_from(list(TEXTS.values())), share=st.floats(min_value=0.0, max_value=1.0))
def test_a_part_of_a_file_is_refused_or_has_all_three_parts(text, share):
    triple = error = None
    try:
        triple = parse(text[: int(len(text) * share)], source="")
    except UnreadableTripleError as caught:
        error = caught
    if error is None:
        assert triple.session_token
        assert triple.secret_access_key
    else:
        assert not [secret for secret in (SECRET, TOKEN) if secret[:6] in str(error)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no access key id"),
        ("[]", "no access key id|no well-formed"),
        ("[a]\naws_access_key_id=x\n[b]\naws_access_key_id=y", "several sections"),
        ('{"Credentials": "x"}', "no JSON object"),
        ("AWS_ACCESS_KEY_ID=ASIA1\nAWS_SECRET_ACCESS_KEY=x", "without its session token"),
        (PROCESS_JSON.replace(EXPIRY, "tomorrow"), "no date"),
    ],
)
def test_what_is_missing_is_said(text, words):
    with pytest.raises(UnreadableTripleError, match=words):
        parse(text, source="")


def test_the_environment_is_read_from_what_is_handed_over():
    triple = from_environment({"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": SECRET, "PATH": "/bin"})
    assert triple is not None
    assert triple.secret_access_key == SECRET
    assert from_environment({"AWS_SECRET_ACCESS_KEY": SECRET}) is None
