"""No secret of any kind of role shows: in /proc, the log at debug, answers, refusals or core dumps."""

import os
import resource
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from s3rolefs.mounting import mounttable
from tests.bed.leaks import leaks, shown_in_proc
from tests.bed.mounts import LIMIT_SECONDS, PROGRAM, run
from tests.bed.oidc import Provider, TokenJudge
from tests.bed.patience import wait_until
from tests.bed.saml import AssertionJudge, SamlProvider
from tests.bed.sessions import RoleSessions
from tests.bed.sts import StrictSts
from tests.mount.test_survival import EVERYTHING, read_now

ROLE = "arn:aws:iam::111122223333:role/data"
PROVIDER = "arn:aws:iam::111122223333:saml-provider/idp"
SERIAL = "arn:aws:iam::111122223333:mfa/ada"
EXTERNAL_ID = "correct-horse/battery+staple"
CODE = "481516"


@dataclass
class Case:
    """A mount of one kind of role: its options, what nobody may see, and how to make a renewal fail."""

    options: dict[str, object]
    secrets: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    broken: Path | None = None
    said: str = ""


@pytest.fixture
def sessions(radosgw, visitor, make_role):
    return RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=900)


@pytest.fixture
def handed_out():
    return []


@pytest.fixture
def sts(sessions, handed_out):
    def hand_out():
        keys, expires_at = sessions()
        handed_out.append(keys)
        return keys, expires_at

    with StrictSts(hand_out) as sts:
        yield sts


def secret_file(path, text, mode=0o600):
    path.touch(mode=mode)
    path.write_text(text)
    path.chmod(mode)
    return path


def keys_of(keys, name):
    token = {f"{name}'s token": keys.session_token} if keys.session_token else {}
    return {f"{name}'s secret": keys.secret_key, **token}


@pytest.fixture
def another_account(sts, visitor, tmp_path):
    """R2: keys, an external id in a file, and a device whose codes a command prints."""
    sts.judges["AssumeRole"] = lambda _form: "arn:aws:sts::111122223333:assumed-role/data/x"
    codes = secret_file(tmp_path / "codes", f"echo {CODE}\n")
    options = {
        "role_arn": ROLE,
        "sts_endpoint": sts.url,
        "external_id_file": secret_file(tmp_path / "external-id", f"{EXTERNAL_ID}\n"),
        "mfa_serial": SERIAL,
        "mfa_process": f"sh {codes}",
    }
    secrets = {**keys_of(visitor, "the user"), "the external id": EXTERNAL_ID, "the code": CODE}
    return Case(options, secrets, broken=codes)


@pytest.fixture
def web_identity(sts, tmp_path):
    """R3: a token in a file that others can read, as Kubernetes has it."""
    oidc = Provider()
    sts.judges["AssumeRoleWithWebIdentity"] = TokenJudge(oidc, role_arn=ROLE)
    token = oidc.token()
    file = secret_file(tmp_path / "token", token, mode=0o644)
    options = {"role_arn": ROLE, "sts_endpoint": sts.url, "web_identity_token_file": file}
    said = f"web_identity_token_file={file} can be read by every user of this machine"
    return Case({"credentials_file": None, **options}, {"the token": token}, broken=file, said=said)


@pytest.fixture
def saml(sts, tmp_path):
    """R4: a command that prints another assertion each time."""
    folder = tmp_path / "assertions"
    folder.mkdir()
    with SamlProvider(f"{ROLE},{PROVIDER}") as idp:
        sts.judges["AssumeRoleWithSAML"] = AssertionJudge(idp, provider_arn=PROVIDER)
        assertions = {f"assertion {number}": idp.assertion() for number in range(5)}
    for name, assertion in assertions.items():
        secret_file(folder / name, assertion)
    text = f'set -e; cd {shlex.quote(str(folder))}; for file in *; do cat "$file"; rm "$file"; exit; done\n'
    command = secret_file(tmp_path / "login", text)
    options = {
        "role_arn": ROLE,
        "sts_endpoint": sts.url,
        "saml_provider_arn": PROVIDER,
        "saml_assertion_process": f"sh {command}",
    }
    return Case({"credentials_file": None, **options}, assertions, broken=command)


@pytest.fixture
def triple_in_a_file(sessions, role_place):
    """R5: a watched file."""
    keys, _ = sessions()
    role_place.write_keys(keys)
    return Case({}, keys_of(keys, "the triple"), broken=role_place.credentials)


@pytest.fixture
def triple_in_the_environment(sessions):
    """R5: what the one who mounts has in the environment."""
    keys, _ = sessions()
    environment = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.session_token,
    }
    return Case({"credentials_file": None}, keys_of(keys, "the triple"), environment)


KINDS = ["another_account", "web_identity", "saml", "triple_in_a_file", "triple_in_the_environment"]


def wanting_dumps(command):
    """Return a command that may leave a core dump, as far as whoever starts it is concerned."""
    return ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", *command]


def aborted(process):
    """Let a child abort; return whether the kernel wrote a core dump of it."""
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)  # reaped here: Popen does not tell about dumps
    assert os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status)


@contextmanager
def foreground(place, bucket, case, folder):
    """Mount as a service does, with the log at debug in folder/log."""
    command = place.command(f"s3://{bucket}", log_level="debug", **case.options)
    dumps = folder / "dumps"
    dumps.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            wanting_dumps([*command, "--foreground"]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=dumps,
            env={**os.environ, **case.environment},
        )
        try:
            wait_until(
                lambda: process.poll() is not None or mounttable.mount_at(str(place.directory)), LIMIT_SECONDS
            )
            assert process.poll() is None, (folder / "log").read_text()
            yield process
        finally:
            place.clear()
            process.kill()
            process.wait(LIMIT_SECONDS)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_shows_a_secret(role_place, bucket, tmp_path, request, handed_out, kind):
    case = request.getfixturevalue(kind)
    said = {}

    def asks(*command, fails=False):
        result = run(PROGRAM, *command, check=False, env={**os.environ, **case.environment})
        said[" ".join(map(str, command))] = (result.stdout + result.stderr).encode()
        assert (result.returncode != 0) == fails, result.stdout + result.stderr

    with foreground(role_place, bucket, case, tmp_path) as process:
        (role_place.directory / "file").write_bytes(b"still here")
        assert read_now(role_place.directory / "file") == b"still here"
        asks("status", role_place.directory)
        for command in ("status", "whoami", "check"):
            asks(command, role_place.directory, "--json")
        if kind != "triple_in_the_environment":  # that session comes once
            asks("refresh", role_place.directory)
        if case.broken is not None:
            # Half of a secret is what a file that is being written shows.
            half = next(iter(case.secrets.values()))[:30]
            case.broken.write_text(f"exit 1 # {half}\n")
            asks("refresh", role_place.directory, fails=True)
            asks("status", role_place.directory, "--json")
            assert b"last_error" in said[f"status {role_place.directory} --json"]
        said |= shown_in_proc(process.pid)
        said["/proc/mounts"] = Path("/proc/mounts").read_bytes()
        is_dumped = aborted(process)
    said["the log"] = (tmp_path / "log").read_bytes()
    said["dumps"] = b" ".join(path.read_bytes() for path in (tmp_path / "dumps").iterdir())

    # What was looked at is what it should be.
    assert str(role_place.directory).encode() in said[f"/proc/{process.pid}/cmdline"]
    assert b"DEBUG" in said["the log"] or b"INFO" in said["the log"]
    assert case.said.encode() in said["the log"]
    assert case.secrets
    for keys in handed_out:
        case.secrets |= keys_of(keys, "the session")
    assert leaks(case.secrets, said) == []
    assert not is_dumped
    assert list((tmp_path / "dumps").iterdir()) == []


def test_a_program_that_does_not_refuse_is_dumped_where_this_machine_dumps(tmp_path):
    """The control for the above: the same launcher and signal, another program."""
    command = wanting_dumps([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        process.stdout.readline()
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
        may_dump = pattern and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0
        assert aborted(process) == bool(may_dump)
