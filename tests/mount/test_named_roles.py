"""Roles that the configuration file names, on real mounts."""

import json
import shlex
import sys

import pytest

from s3rolefs.mounting import mounttable
from s3rolefs.mounting.configfile import REPLACEMENT
from tests.bed.mounts import PROGRAM, Place, run
from tests.bed.sessions import RoleSessions
from tests.bed.sts import RefusedError, StrictSts

ROLE = "arn:aws:iam::111122223333:role/data"
SERIAL = "arn:aws:iam::111122223333:mfa/"
EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
READING = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
# The role says who the mount is, so that no option does.
NAMELESS = {"credentials_file": None, "sts_endpoint": None}


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Write the configuration file that is read in place of all others."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv(REPLACEMENT, str(path))

    def write(text):
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    return write


def role_table(name, source, role_arn, sts_endpoint, **more):
    settings = {"source_role": source, "role_arn": role_arn, "sts_endpoint": sts_endpoint, **more}
    return f"[roles.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


def test_a_mount_and_every_command_take_a_role_by_its_name(role_place, bucket, radosgw, make_role, configure):
    role_arn = make_role(EVERYTHING)
    configure(
        f'[roles.keys]\ncredentials_file = "{role_place.credentials.name}"\n'
        + role_table("data", "keys", role_arn, radosgw.endpoint_url, role_session_name="me")
    )
    source = f"data ({role_arn}) assumed with credentials_file={role_place.credentials}"
    with role_place.mounted(f"s3://{bucket}", role="data", **NAMELESS) as mount:
        (mount.path / "file").write_text("x")
        who = mount.ask("whoami")
        assert (who["source"], who["session"]) == (source, "me")
        assert REPLACEMENT not in run("cat", f"/proc/{mount.pid}/environ").stdout
    options = role_place.options(role="data", **NAMELESS)
    assert role_arn.rpartition("/")[2] in run(PROGRAM, "whoami", "-o", options).stdout
    assert "SessionToken" in json.loads(run(PROGRAM, "creds", "--process", "-o", options).stdout)
    assert f"{source}." in run(PROGRAM, "check", f"s3://{bucket}", "-o", options).stdout


def test_a_chain_of_three_roles_with_a_device_at_two_of_them(
    role_place, bucket, radosgw, visitor, make_role, configure, tmp_path
):
    """radosgw lets no role assume a role, so a stand-in checks who signs; S3 sees real sessions."""
    hops = {f"{ROLE}2": f"{ROLE}1", f"{ROLE}3": f"{ROLE}2"}
    codes = {f"{ROLE}1": (f"{SERIAL}low", "111111"), f"{ROLE}2": (f"{SERIAL}middle", "222222")}
    asked = []

    def judge(form):
        role_arn = form["RoleArn"]
        signer, _ = sts.issued.get(form["signer"], (form["signer"], None))
        if signer != hops.get(role_arn, visitor.access_key):
            raise RefusedError("AccessDenied", f"{signer} may not assume {role_arn}", status=403)
        if (form.get("SerialNumber"), form.get("TokenCode")) != codes.get(role_arn, (None, None)):
            raise RefusedError("AccessDenied", "MultiFactorAuthentication failed", status=403)
        asked.append((role_arn, form["RoleSessionName"]))
        return f"arn:aws:sts::111122223333:assumed-role/{role_arn.rpartition('/')[2]}/x"

    def device(number):
        serial, code = codes[f"{ROLE}{number}"]
        return {"mfa_serial": serial, "mfa_process": shlex.join([sys.executable, "-c", f"print({code})"])}

    with StrictSts(RoleSessions(radosgw, visitor, make_role(EVERYTHING), seconds=60)) as sts:
        sts.judges["AssumeRole"] = judge
        configure(
            role_table("top", "middle", f"{ROLE}3", sts.url, role_session_name="three")
            + role_table("middle", "low", f"{ROLE}2", sts.url, role_session_name="two", **device(2))
            + role_table("low", "keys", f"{ROLE}1", sts.url, role_session_name="one", **device(1))
            + f'[roles.keys]\ncredentials_file = "{role_place.credentials}"\n'
        )
        with role_place.mounted(f"s3://{bucket}", role="top", **NAMELESS) as mount:
            (mount.path / "file").write_text("x")
            assert mount.ask("refresh")["generation"] == 2
            source = mount.ask("whoami")["source"]
    assert asked == [(f"{ROLE}1", "one"), (f"{ROLE}2", "two"), (f"{ROLE}3", "three")] * 2
    assert source == (
        f"top ({ROLE}3) assumed with middle ({ROLE}2) assumed with low ({ROLE}1) assumed with "
        f"credentials_file={role_place.credentials}"
    )


def test_the_longest_prefix_says_which_role_a_mount_has(
    role_place, bucket, radosgw, make_role, configure, tmp_path
):
    reader, writer = make_role(READING), make_role(EVERYTHING)
    configure(
        f'[roles.keys]\ncredentials_file = "{role_place.credentials}"\n'
        + role_table("reader", "keys", reader, radosgw.endpoint_url)
        + role_table("writer", "keys", writer, radosgw.endpoint_url)
        + f'[buckets]\n"s3://{bucket}" = "reader"\n"s3://{bucket}/team" = "writer"\n'
    )
    folder = tmp_path / "second"
    folder.mkdir()
    second = Place(folder, radosgw)
    with (
        role_place.mounted(f"s3://{bucket}", **NAMELESS, metadata_ttl="0") as whole,
        second.mounted(f"s3://{bucket}/team/", **NAMELESS) as team,
    ):
        (team.path / "file").write_text("x")
        assert (whole.path / "team" / "file").read_text() == "x"
        with pytest.raises(PermissionError):
            (whole.path / "team" / "other").write_text("y")
        for mount, role_arn in ((whole, reader), (team, writer)):
            assert mount.ask("whoami")["role"] == role_arn.rpartition("/")[2]
    answer = run(
        PROGRAM, "whoami", f"s3://{bucket}/team/x/", "-o", role_place.options(**NAMELESS), "--json"
    ).stdout
    assert json.loads(answer)["role"] == writer.rpartition("/")[2]


GOOD = '[roles.base]\nprofile = "work"\n'
CIRCLE = "".join(f'[roles.{a}]\nrole_arn = "{ROLE}"\nsource_role = "{b}"\n' for a, b in ("ab", "bc", "ca"))


@pytest.mark.parametrize(
    ("text", "mode", "options", "words"),
    [
        (GOOD, 0o600, {"role": "bsae"}, "There is no role bsae: did you mean base?"),
        (
            GOOD,
            0o600,
            {"role": "base", "profile": "x"},
            "so does profile: leave one of them out",
        ),
        (GOOD, 0o666, {"role": "base"}, "run `chmod go-w {path}`"),
        (GOOD + "profil", 0o600, {}, "{path}, line 3, is no TOML"),
        (GOOD + 'profil = "x"', 0o600, {}, "{path}, role base: There is no setting profil: did you mean"),
        (GOOD + 'secret_key = "hunter2"', 0o600, {}, "put it into a file that only you can read"),
        (CIRCLE, 0o600, {"role": "a"}, "The roles a → b → c → a name each other as source in a circle."),
        (
            f'[roles.x]\nrole_arn = "{ROLE}"',
            0o600,
            {"role": "x"},
            "role x: It names no source",
        ),
    ],
)
def test_what_is_refused_costs_one_sentence(place, configure, text, mode, options, words):
    path = configure(text)
    path.chmod(mode)
    result = run(*place.command("s3://bucket", **NAMELESS, **options), check=False)
    assert result.returncode == 1
    assert words.format(path=path) in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.stderr
    assert mounttable.mount_at(str(place.directory)) is None
