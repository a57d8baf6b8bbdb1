"""The serving process sees no variable that carries a secret."""

import os
import pwd

import pytest

from s3rolefs.errors import UserError
from s3rolefs.mounting.environment import clean_environment, proxies_of, secrets_of

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAX",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "HTTPS_PROXY": "http://me:secret@proxy:1",
}
HARMLESS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LANG": "C.UTF-8",
    "LC_ALL": "C",
    "XDG_RUNTIME_DIR": "/run/user/7",
    "AWS_PROFILE": "work",
    "AWS_CONFIG_FILE": "/etc/aws",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
    "https_proxy": "http://proxy:1",
    "NO_PROXY": "localhost",
}
OTHERS = {"LD_PRELOAD": "/x.so", "PYTHONPATH": "/y", "AWS_BEARER_TOKEN_BEDROCK": "b", "DB_PASSWORD": "p"}


def test_only_what_is_harmless_is_kept():
    assert clean_environment({**SECRETS, **HARMLESS, **OTHERS}) == HARMLESS


def test_secrets_are_handed_over():
    secrets = secrets_of({**SECRETS, **HARMLESS})
    assert secrets == SECRETS
    assert set(proxies_of(secrets)) == {"HTTPS_PROXY"}


def test_named_variables_are_kept():
    kept = clean_environment({"DB_PASSWORD": "p", "PATH": "/bin", "HOME": "/"}, ["DB_PASSWORD"])
    assert kept["DB_PASSWORD"] == "p"


def test_a_secret_of_ours_cannot_be_named():
    with pytest.raises(UserError, match="AWS_SECRET_ACCESS_KEY"):
        clean_environment(SECRETS, ["AWS_SECRET_ACCESS_KEY"])


def test_what_mount_removes_is_filled_in():
    kept = clean_environment({})
    assert kept["HOME"] == pwd.getpwuid(os.getuid()).pw_dir
    assert "/usr/bin" in kept["PATH"].split(":")
