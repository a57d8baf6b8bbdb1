"""The text of -o becomes a configuration, or one sentence."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3rolefs.errors import MountFailure, UserError
from s3rolefs.mounting.options import parse_access, parse_mount, split_options
from s3rolefs.mounting.optiontable import OPTIONS

ROLE = "arn:aws:iam::111122223333:role/data"


def parse(*texts, **kwargs):
    return parse_mount("s3://bucket/team/", "/srv/data", texts, **kwargs)


def refusal(*texts, **kwargs):
    with pytest.raises(UserError) as caught:
        parse(*texts, **kwargs)
    return caught.value.sentence


def test_an_fstab_line_as_mount_hands_it_over():
    config = parse(
        f"rw,nosuid,role_arn={ROLE},duration-seconds=15m,cache_memory=64M,uid=7,file_mode=0640,"
        'role_session_name="a,b=c",path_style,allow_other,_netdev,nofail,user,x-systemd.automount'
    )
    assert config.source == "s3://bucket/team/"
    assert config.buckets[0].store.bucket == "bucket"
    assert config.buckets[0].store.prefix == "team/"
    assert config.buckets[0].store.path_style is True
    assert config.buckets[0].role.role_arn == ROLE
    assert config.buckets[0].role.duration_seconds == 900
    assert config.buckets[0].role.role_session_name == "a,b=c"
    assert config.files.cache_memory_bytes == 64 * 1024**2
    assert config.files.uid == 7
    assert config.files.gid == os.getgid()
    assert config.files.file_mode == 0o640
    assert config.fuse_options == ("rw", "nosuid", "allow_other")


def test_every_option_lands_in_a_field():
    samples = {
        "role_arn": ROLE,
        "metadata": "listing",
        "exclusive": "open",
        "credential_source": "Environment",
        "log_level": "debug",
        "region": "eu-west-1",
        "pass_env": "A+B",
        "renew": "no",
    }
    parsed = {}
    for option in OPTIONS:
        usage = option.placeholder or "yes"
        sample = samples.get(option.name) or {
            "PATH": "/elsewhere/x",
            "URL": "http://127.0.0.1:1",
            "TIME": "1000",
            "SIZE": "64M",
            "MODE": "0700",
            "NUMBER": "5",
            "USER": "3",
            "GROUP": "4",
        }.get(usage, "yes")
        parsed[option.name] = option.parse(option.name, sample)
    assert len(parsed) == len(OPTIONS)
    assert parsed["renew"] is False
    assert parsed["pass_env"] == ("A", "B")
    assert parsed["io_timeout"] == 1000.0


def test_lists_are_joined_with_plus_signs_that_may_stand_inside_their_parts_too():
    arns = "policy_arns=arn:aws:iam::aws:policy/A+B+arn:aws:iam::aws:policy/C"
    role = parse(f"role_arn={ROLE},{arns},session_tags=a=x+y+b=z,transitive_tags=a+b").buckets[0].role
    assert role.policy_arns == ("arn:aws:iam::aws:policy/A+B", "arn:aws:iam::aws:policy/C")
    assert role.session_tags == ("a=x+y", "b=z")
    assert role.transitive_tags == ("a", "b")


def test_the_last_one_of_a_pair_counts():
    assert parse("ro,rw").files.read_only is False
    config = parse("rw,nosuid", "ro,suid")
    assert config.files.read_only is True
    assert config.fuse_options == ("ro", "suid")


def test_read_only_by_flag():
    assert "ro" in parse("rw", read_only=True).fuse_options


def test_umask_gives_the_modes():
    files = parse("umask=0027").files
    assert (files.file_mode, files.dir_mode) == (0o640, 0o750)
    files = parse("umask=0027,dir_mode=0700").files
    assert (files.file_mode, files.dir_mode) == (0o640, 0o700)


def test_caches_lie_where_unsent_data_does_unless_the_option_says_otherwise():
    files = parse("").files
    assert files.cache_dir == files.spool_dir
    files = parse("cache_dir=/fast").files
    assert files.cache_dir == "/fast" != files.spool_dir


def test_metadata_from_listings():
    assert parse("metadata=listing").files.metadata_from_listing is True
    assert parse("metadata=full").files.metadata_from_listing is False


def test_relative_paths_count_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("credentials_file=keys").buckets[0].role.credentials_file == f"{tmp_path}/keys"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (f"role_arn={ROLE},mfa_serial={ROLE},mfa_process=it's", ["mfa_process", "quote", "not closed"]),
        (f"role_arn={ROLE},saml_assertion_file=/srv/data/a", ["/srv/data/a", "inside the directory"]),
        (f"role_arn={ROLE},web_identity_token_file=/srv/data/a", ["/srv/data/a", "inside the directory"]),
        ("policy_file=/srv/data/policy", ["/srv/data/policy", "inside the directory"]),
        ("role_arm=x", ["no option role_arm", "did you mean role_arn?"]),
        ("passwd-file=/etc/passwd-s3fs", ["no option passwd_file", "did you mean credentials_file?"]),
        ("cache-mem=1M", ["cache_mem", "cache_memory"]),
        ("zzzz", ["zzzz", "man mount.s3rolefs"]),
        ("region", ["region needs a value", "region=NAME"]),
        ("region=", ["region= is empty"]),
        ("region=a,region=b", ["region is given twice"]),
        ("ro=1", ["ro takes no value"]),
        ("allow_other,allow_root", ["allow_other and allow_root contradict"]),
        ("umask=022,file_mode=0644,dir_mode=0755", ["umask does nothing"]),
        ("xattr,metadata=listing", ["xattr does not go with metadata=listing"]),
        ("cache_memory=lots", ["cache_memory=lots", "512M"]),
        ("cache_size=1M", ["cache_size=1M", "at least 64M"]),
        ("cred_wait=soon", ["cred_wait=soon", "15m"]),
        ("io_timeout=0", ["io_timeout=0", "longer than zero"]),
        ("file_mode=9", ["file_mode=9", "octal"]),
        ("uid=nobody-of-that-name", ["uid=nobody-of-that-name", "no user"]),
        ("gid=nobody-of-that-name", ["gid=nobody-of-that-name", "no group"]),
        ("connections=0", ["connections=0", "1 to 512"]),
        ("path_style=perhaps", ["path_style=perhaps", "yes or no"]),
        ("metadata=some", ["metadata=some", "listing or full"]),
        ("endpoint_url=localhost:9000", ["endpoint_url=localhost:9000", "http://HOST:PORT"]),
        ("pass_env=A B", ["pass_env=A B", "A+B"]),
        ('role_session_name="a', ["double quote", "not closed"]),
        ("profile=a,credentials_file=/b", ["profile=a", "credentials_file=/b"]),
        ("credentials_file=/srv/data/keys", ["/srv/data/keys", "inside the directory"]),
        ("spool_dir=/srv/data", ["spool_dir=/srv/data", "inside the directory"]),
        ("cache_dir=/srv/data/cache", ["cache_dir=/srv/data/cache", "inside the directory"]),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(options, words):
    sentence = refusal(options)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("access_key", "credentials_file"),
        ("aws-secret-access-key", "credentials_file"),
        ("session_token", "credentials_file"),
        ("password", "credentials_file"),
        ("web_identity_token", "web_identity_token_file"),
        ("saml-assertion", "saml_assertion_file"),
    ],
)
def test_a_literal_secret_is_refused_and_not_repeated(name, instead):
    sentence = refusal(f"{name}=AKIAVERYSECRET")
    assert f" {instead}=PATH" in sentence
    assert "AKIAVERYSECRET" not in sentence
    # mount's -s is for options of other systems, not for secrets.
    assert f" {instead}=PATH" in refusal(f"{name}=AKIAVERYSECRET", sloppy=True)


def test_an_unknown_option_is_named_without_its_value():
    assert "hunter2" not in refusal("my_secret=hunter2")


def test_sloppy_lets_unknown_options_pass():
    assert parse("errors=continue,ro", sloppy=True).fuse_options == ("ro",)


def test_remount_is_a_failed_mount():
    with pytest.raises(MountFailure):
        parse("remount,ro")


def test_a_link_into_the_mount_point_is_seen_through(tmp_path):
    directory = tmp_path / "dir"
    directory.mkdir()
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(UserError, match="inside the directory"):
        parse_mount("s3://bucket", str(directory), [f"credentials_file={tmp_path}/link/keys"])


def test_access_without_a_mount():
    [bucket] = parse_access(None, [f"role_arn={ROLE},region=eu-west-1"])
    assert (bucket.role.role_arn, bucket.store.region, bucket.store.bucket) == (ROLE, "eu-west-1", "")
    [bucket] = parse_access("s3://bucket/x", [])
    assert (bucket.store.bucket, bucket.store.prefix) == ("bucket", "x/")


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters='",'), min_size=1)))
def test_splitting_undoes_joining(items):
    expected = [item.strip() for item in items if item.strip()]
    assert list(split_options(",".join(items))) == expected


@given(st.text(st.characters(codec="ascii", exclude_characters='"')))
def test_quotes_keep_commas(value):
    assert list(split_options(f'ro,name="{value}",rw')) == ["ro", f'name="{value}"', "rw"]
