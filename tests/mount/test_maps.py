"""One mount that shows several buckets as directories, each with a role of its own."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from s3rolefs.mounting import mounttable
from tests.bed.mounts import PROGRAM, has_ended, run
from tests.bed.patience import wait_until
from tests.bed.radosgw import REGION, Keys
from tests.bed.relay import Relay

MOUNT_OPTIONS = {"credentials_file": None, "region": None, "endpoint_url": None}


def everything_in(*buckets):
    below = [f"arn:aws:s3:::{bucket}" for bucket in buckets]
    return {"Effect": "Allow", "Action": ["s3:*"], "Resource": below + [f"{arn}/*" for arn in below]}


@pytest.fixture
def write_config(role_place, tmp_path, monkeypatch, radosgw):
    """Write the configuration file: roles by name and ARN, directories by bucket and role."""

    def write(roles, directories, sts=None):
        text = ""
        for name, arn in roles.items():
            text += (
                f'[roles.{name}]\ncredentials_file = "{role_place.credentials}"\nrole_arn = "{arn}"\n'
                f'sts_endpoint = "{sts or radosgw.endpoint_url}"\n'
            )
        text += "[maps.office]\n"
        for directory, (bucket, role) in directories.items():
            text += (
                f'{directory} = {{ source = "s3://{bucket}", role = "{role}", region = "{REGION}", '
                f'endpoint_url = "{radosgw.endpoint_url}" }}\n'
            )
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        monkeypatch.setenv("S3ROLEFS_CONFIG", str(path))
        return path

    return write


@pytest.fixture
def two(role_place, make_role, buckets, write_config):
    """A map of two buckets with a role each: a, and b below a prefix."""
    a, b = buckets(), buckets()
    roles = {"ada": make_role(everything_in(a)), "bob": make_role(everything_in(b))}
    write_config(roles, {"a": (a, "ada"), "b": (f"{b}/deep/er/", "bob")})
    with role_place.mounted("map://office", **MOUNT_OPTIONS) as mount:
        yield mount, a, b


def session_of(path):
    given = json.loads(run(PROGRAM, "creds", "--process", path).stdout)
    return Keys(
        access_key=given["AccessKeyId"],
        secret_key=given["SecretAccessKey"],
        session_token=given["SessionToken"],
    )


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def error_of(call, *arguments):
    with pytest.raises(OSError) as caught:  # noqa: PT011
        call(*arguments)
    return caught.value.errno


def test_two_buckets_with_two_roles_each_refused_by_the_others_bucket(two, radosgw):
    mount, a, b = two
    (mount.path / "a/f").write_text("in a")
    (mount.path / "b/f").write_text("in b")
    for directory, own, key, other in (("a", a, "f", b), ("b", b, "deep/er/f", a)):
        s3 = radosgw.client("s3", session_of(mount.path / directory))
        assert s3.get_object(Bucket=own, Key=key)["Body"].read() == f"in {directory}".encode()
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.list_objects_v2(Bucket=other)
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket=other, Key="f", Body=b"")


def test_the_root_holds_the_directories_and_nothing_else(two):
    mount, _, _ = two
    root = mount.path
    assert names(root) == ["a", "b"]
    assert "drwxr-xr-x" in run("ls", "-l", root).stdout
    assert names(root / "a") == []
    assert error_of((root / "new").mkdir) == errno.EPERM
    assert error_of((root / "new").touch) == errno.EPERM
    assert error_of(os.symlink, "a", root / "new") == errno.EPERM
    assert error_of(os.rmdir, root / "a") == errno.EBUSY
    assert error_of(os.rename, root / "a", root / "c") == errno.EBUSY
    assert error_of(os.rename, root / "a", root / "b" / "a") == errno.EBUSY
    assert error_of(os.stat, root / "new") == errno.ENOENT
    (root / "a").chmod(0o700)
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o700
    (root / "a" / "f").write_text("x")
    (root / "a" / "f").unlink()
    assert names(root) == ["a", "b"]
    assert names(root / "a") == []


def test_what_moves_to_another_bucket_is_copied_by_mv(two, radosgw_s3):
    mount, a, b = two
    source, target = mount.path / "a", mount.path / "b"
    (source / "f").write_text("a file")
    (source / "d/e").mkdir(parents=True)
    (source / "d/e/g").write_bytes(os.urandom(100_000))
    (source / "d/h").symlink_to("e/g")
    content = (source / "d/e/g").read_bytes()
    for name in ("f", "d"):
        assert error_of(os.rename, source / name, target / name) == errno.EXDEV
        assert not (target / name).exists()
        run("mv", source / name, target)
    assert names(source) == []
    assert (target / "f").read_text() == "a file"
    assert (target / "d/e/g").read_bytes() == content
    assert (target / "d/h").readlink() == Path("e/g")
    assert "Contents" not in radosgw_s3.list_objects_v2(Bucket=a)
    keys = [found["Key"] for found in radosgw_s3.list_objects_v2(Bucket=b)["Contents"]]
    assert keys == [f"deep/er/{name}" for name in ("d/", "d/e/", "d/e/g", "d/h", "f")]
    # Within one bucket a rename is one.
    (target / "f").rename(target / "d/f")
    assert (target / "d/f").read_text() == "a file"


def test_mv_does_not_lose_what_two_directories_show(role_place, make_role, buckets, write_config, radosgw_s3):
    a = buckets()
    write_config({"ada": make_role(everything_in(a))}, {"all": (a, "ada"), "part": (f"{a}/d/", "ada")})
    with role_place.mounted("map://office", **MOUNT_OPTIONS) as mount:
        (mount.path / "all/d").mkdir()
        (mount.path / "all/d/f").write_text("x")
        run("mv", mount.path / "all/d/f", mount.path / "part/f")
        assert (mount.path / "part/f").read_text() == "x"
    keys = [found["Key"] for found in radosgw_s3.list_objects_v2(Bucket=a)["Contents"]]
    assert keys == ["d/", "d/f"]


def test_tools_across(two):
    mount, _, _ = two
    a, b = mount.path / "a", mount.path / "b"
    run("cp", "-r", Path(__file__).parents[2] / "doc", a / "doc")
    run("cp", "-r", a / "doc", b / "copy")
    run("rsync", "-a", f"{a}/doc/", f"{b}/synced/")
    run("diff", "-r", a / "doc", b / "copy")
    run("diff", "-r", a / "doc", b / "synced")
    assert run("rsync", "-ai", f"{a}/doc/", f"{b}/synced/").stdout == ""
    sizes = [int(line.split()[0]) for line in run("du", "-sb", a / "doc", b / "copy").stdout.splitlines()]
    assert sizes[0] == sizes[1] > 0


def test_one_directory_without_rights_leaves_the_others_alone(
    role_place, make_role, buckets, write_config, radosgw
):
    a, b = buckets(), buckets()
    ada, bob = make_role(everything_in(a, b)), make_role(everything_in(b))
    write_config({"ada": ada, "bob": bob}, {"a": (a, "ada"), "b": (b, "bob"), "c": (b, "ada")})
    with role_place.mounted("map://office", **MOUNT_OPTIONS, metadata_ttl=0) as mount:
        (mount.path / "c/f").write_text("while it may")
        policy = {"Version": "2012-10-17", "Statement": [everything_in(a)]}
        radosgw.put_role_policy(ada.rpartition("/")[2], policy)
        assert error_of((mount.path / "c/g").write_text, "not any more") == errno.EACCES
        assert error_of(names, mount.path / "c") == errno.EACCES
        assert names(mount.path) == ["a", "b", "c"]
        for name in ("a", "b"):
            (mount.path / name / "g").write_text(name)
            assert (mount.path / name / "g").read_text() == name
        assert (mount.path / "b/f").read_text() == "while it may"
        said = run(PROGRAM, "check", mount.path, "--json", check=False)
        reports = json.loads(said.stdout)["reports"]
        assert [(report["directory"], report["usable"]) for report in reports] == [
            ("a", True),
            ("b", True),
            ("c", False),
        ]
        assert said.returncode == 1
        role_place.write_keys(Keys(access_key="NOSUCHKEY", secret_key="wrong"))
        said = run(PROGRAM, "refresh", mount.path, "--json", check=False)
        assert all(role["error"] for role in json.loads(said.stdout)["roles"])
        assert said.returncode == 1


def test_equal_roles_share_one_session(role_place, make_role, buckets, write_config, radosgw):
    a, b, c = buckets(), buckets(), buckets()
    with Relay.to(radosgw.endpoint_url) as sts:
        one, other = make_role(everything_in(a, b)), make_role(everything_in(c))
        directories = {"a": (a, "one"), "b": (b, "same"), "c": (c, "other")}
        write_config({"one": one, "same": one, "other": other}, directories, sts=sts.url)
        with role_place.mounted("map://office", **MOUNT_OPTIONS) as mount:
            for name in directories:
                (mount.path / name / "f").write_text(name)
            roles = mount.ask("status")["roles"]
            assert [(role["name"], role["directories"]) for role in roles] == [
                ("one", ["a", "b"]),
                ("other", ["c"]),
            ]
        assert sts.counts["AssumeRole"] == 2


def test_commands_answer_for_the_directory_they_are_given(two):
    mount, _, _ = two
    (mount.path / "a/d").mkdir()
    for name, path in (("ada", "a/d"), ("bob", "b")):
        [status] = [role for role in mount.ask("status")["roles"] if role["name"] == name]
        who = json.loads(run(PROGRAM, "whoami", mount.path / path, "--json").stdout)
        assert who["arn"] == status["arn"]
        renewed = json.loads(run(PROGRAM, "refresh", mount.path / path, "--json").stdout)
        assert renewed["generation"] == status["generation"] + 1
        assert f"as {path[0]} works" in run(PROGRAM, "check", mount.path / path).stdout
    assert [role["directories"] for role in mount.ask("whoami")["roles"]] == [["a"], ["b"]]
    # A check renews the session, too.
    assert [role["generation"] for role in mount.ask("refresh")["roles"]] == [4, 4]
    for command in ("status", "whoami", "refresh"):
        said = run(PROGRAM, command, mount.path).stdout
        told = [" ".join(line.split()) for line in said.splitlines() if line.startswith("directories")]
        assert told == ["directories: a", "directories: b"]
    said = run(PROGRAM, "creds", "--process", mount.path, check=False)
    assert (said.returncode, said.stdout) == (1, "")
    assert "name one of the directories a, b" in said.stderr
    said = run(PROGRAM, "whoami", mount.path / "c", check=False)
    assert "has no directory c; there are: a, b" in said.stderr


def test_mount_all_twice_mounts_once(two, role_place, tmp_path, helpers):
    mount, _, _ = two
    run(PROGRAM, "umount", mount.path)
    options = f"_netdev,nofail,{role_place.options(**MOUNT_OPTIONS)}"
    # mount(8) starts its helpers with the variable that names the configuration.
    fstab = tmp_path / "fstab"
    fstab.write_text(f"map://office {mount.path} s3rolefs {options} 0 0\n")
    for _ in range(2):
        run("mount", "-a", "-T", fstab)
    there = [one for one in mounttable.mounts() if one.mountpoint == str(mount.path)]
    assert [one.source for one in there] == ["map://office"]
    (mount.path / "a/f").write_text("x")
    pid = role_place.find().pid
    run("umount", mount.path)
    assert has_ended(pid)


def test_what_was_left_unsent_is_sent_by_the_next_mount(
    role_place, make_role, buckets, write_config, radosgw, radosgw_s3
):
    a, b = buckets(), buckets()
    ada = make_role(everything_in(a))
    roles = {"ada": ada, "bob": make_role(everything_in(b))}
    write_config(roles, {"a": (f"{a}/deep/", "ada"), "b": (b, "bob")})
    with role_place.mounted("map://office", **MOUNT_OPTIONS, stop_timeout=1) as mount:
        nothing = {**everything_in(a), "Effect": "Deny"}
        radosgw.put_role_policy(ada.rpartition("/")[2], {"Version": "2012-10-17", "Statement": [nothing]})
        assert error_of((mount.path / "a/f").write_text, "kept") == errno.EACCES
        assert [unsent["path"] for unsent in mount.ask("status")["unsent"]] == ["/a/f"]
        unmounted = run(PROGRAM, "umount", mount.path, check=False)
        told = unmounted.stderr
        assert unmounted.returncode == 2
        assert f"1 file is not in the bucket, but kept for the next mount: {role_place.spool}" in told
        assert told.count("waiting until 1 file is sent: /a/f") <= 1
    radosgw.put_role_policy(
        ada.rpartition("/")[2], {"Version": "2012-10-17", "Statement": [everything_in(a)]}
    )
    write_config(roles, {"a": (b, "bob")})
    with role_place.mounted("map://office", **MOUNT_OPTIONS) as mount:
        [unsent] = mount.ask("status")["unsent"]
        assert f"it belongs to {radosgw.endpoint_url}/{a} s3://{a}/deep/" in unsent["reason"]
        assert names(mount.path / "a") == []
    write_config(roles, {"a": (f"{a}/deep/", "ada"), "b": (b, "bob")})
    with role_place.mounted("map://office", **MOUNT_OPTIONS) as mount:
        assert (mount.path / "a/f").read_text() == "kept"
        wait_until(lambda: not mount.ask("status")["unsent"], 20)
    [found] = radosgw_s3.list_objects_v2(Bucket=a)["Contents"]
    assert (found["Key"], found["Size"]) == ("deep/f", 4)


def test_a_directory_that_is_refused_keeps_the_map_from_being_mounted(
    role_place, make_role, buckets, write_config
):
    a, b = buckets(), buckets()
    ada = make_role(everything_in(a))
    write_config({"ada": ada}, {"a": (a, "ada"), "wrong": (b, "ada")})
    said = run(*role_place.command("map://office", **MOUNT_OPTIONS), check=False)
    assert said.returncode == 32
    for word in ("map://office", "directory wrong", f"s3://{b}", "s3:ListBucket"):
        assert word in said.stderr
    said = run(PROGRAM, "check", "map://office", check=False)
    assert said.returncode == 1
    assert f"s3://{a} as a works" in said.stdout
    assert f"s3://{b} as wrong does not work" in said.stdout


@pytest.mark.parametrize(
    ("source", "directory", "words"),
    [
        ("map://", "a", "'map://' names no map: write map://NAME"),
        ("map://ofice", "a", "did you mean office?"),
        ("map://office", "a.b/c", "directory"),
        ("map://office", "..", "directory"),
    ],
)
def test_what_is_no_map(role_place, tmp_path, monkeypatch, source, directory, words):
    path = tmp_path / "config.toml"
    path.write_text(f'[maps.office]\n"{directory}" = {{ source = "s3://bucket" }}\n')
    monkeypatch.setenv("S3ROLEFS_CONFIG", str(path))
    said = run(*role_place.command(source), check=False)
    assert said.returncode == 1
    assert words in said.stderr
    assert len(said.stderr.splitlines()) == 1
