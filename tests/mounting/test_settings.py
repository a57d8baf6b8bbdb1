"""The configuration files become roles, choices and maps, or one sentence naming the place."""

import os
import pwd
from dataclasses import replace

import pytest

from s3rolefs.config import RoleConfig, StoreConfig
from s3rolefs.errors import UserError
from s3rolefs.mounting import configfile
from s3rolefs.mounting.handover import Handover
from s3rolefs.mounting.option import Target
from s3rolefs.mounting.options import parse_access, parse_mount
from s3rolefs.mounting.optiontable import OPTIONS
from s3rolefs.mounting.settings import load_settings

ROLE = "arn:aws:iam::111122223333:role/data"
STRANGER = 65534
SECOND = f'[roles.b]\nsource_role = "a"\nrole_arn = "{ROLE}"\n'
BASE = '[roles.b]\nprofile = "x"\n'
ABOVE = f'[roles.a]\nrole_arn = "{ROLE}"\n'
CHAIN = f"""
[roles.base]
profile = "work"

[roles.data]
source-role = "base"
role_arn = "{ROLE}"
external_id_file = "id"
duration_seconds = 3600
session_tags = ["team=a+b=c", "x=y"]

[roles.team]
source_role = "data"
role_arn = "{ROLE}2"
mfa-serial = 123456789
mfa_process = "code"

[roles.public]
no_sign_request = true

[buckets]
"s3://data" = "data"
"s3://data/team/" = "team"

[maps.office]
team = {{ source = "s3://data/team/" }}
archive = {{ source = "s3://old-data", role = "data", region = "eu-west-1", path-style = true }}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The one file that is read; `write` fills it."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv(configfile.REPLACEMENT, str(path))
    return path


def write(path, text):
    path.write_text(text)
    path.chmod(0o644)


def settings(file, text):
    write(file, text)
    return load_settings(os.environ)


def refusal(do, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        do(*args, **kwargs)
    assert caught.value.exit_status == 1
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def test_roles_are_what_the_same_options_are(file, tmp_path):
    found = settings(file, CHAIN)
    base = RoleConfig(name="base", profile="work")
    data = RoleConfig(
        name="data",
        source_role=base,
        role_arn=ROLE,
        external_id_file=str(tmp_path / "id"),
        duration_seconds=3600,
        # A list is taken as it is; joined with + this would be three tags.
        session_tags=("team=a+b=c", "x=y"),
    )
    assert found.role("data") == data
    assert [hop.name for hop in found.role("team").hops] == ["team", "data", "base"]
    assert found.role("team").source_role == data
    assert found.role("team").mfa_serial == "123456789"
    assert found.role("public").no_sign_request is True


def test_every_option_of_a_role_is_a_setting(file):
    names = [
        option.name
        for option in OPTIONS
        if option.target is Target.ROLE and option.name not in {"cred_wait", "renew"}
    ]
    assert len(names) > 20
    for name in names:
        # An empty value is refused by the setting's own name; so is what no option has.
        assert f", role x: {name} is empty" in refusal(settings, file, f'[roles.x]\n{name} = ""')


def test_the_longest_prefix_decides(file):
    found = settings(file, CHAIN)
    for prefix, name in (("", "data"), ("tea/", "data"), ("team/", "team"), ("team/x/", "team")):
        assert found.role_for(StoreConfig(bucket="data", prefix=prefix)).name == name
    assert found.role_for(StoreConfig(bucket="data2")) is None


def test_maps_say_directory_source_and_role(file):
    team, archive = settings(file, CHAIN).map("office")
    assert (team.directory, team.role) == ("team", None)
    assert team.store == StoreConfig(bucket="data", prefix="team/")
    assert (archive.directory, archive.role.name) == ("archive", "data")
    assert archive.store == StoreConfig(bucket="old-data", region="eu-west-1", path_style=True)


def chosen(source, *options):
    """Return the role that a mount has, and a command without one."""
    (bucket,) = parse_mount(source, "/srv/data", options).buckets
    assert parse_access(source, options)[0].role == bucket.role
    return bucket.role


def test_a_mount_has_the_role_it_names_or_the_one_of_its_source(file):
    write(file, CHAIN)
    for source, options, name in (
        ("s3://data", "role=team", "team"),
        ("s3://data/team/x", "", "team"),
        ("s3://data", "", "data"),
        ("s3://other", "", None),
        ("s3://data", "profile=mine", None),
        ("s3://data", f"role_arn={ROLE}", None),
    ):
        assert chosen(source, options).name == name, options
    assert chosen("s3://data", "cred_wait=5s") == replace(chosen("s3://data"), cred_wait_seconds=5)
    assert parse_access(None, ["role=data"])[0].role == chosen("s3://data")
    assert parse_access(None, [])[0].role == RoleConfig()


@pytest.mark.parametrize("option", ["sts_endpoint=https://sts.example.org", "imdsv1", "no_sign_request=no"])
def test_half_of_who_does_not_drop_the_role_of_a_bucket(file, option):
    write(file, CHAIN)
    said = refusal(parse_mount, "s3://data", "/srv/data", [option])
    assert "[buckets] does (s3://data has the role data)" in said
    assert chosen("s3://other", option).name is None


def test_who_says_all_of_it_needs_no_file(file):
    write(file, "this is no TOML")
    assert chosen("s3://data", "profile=mine") == RoleConfig(profile="mine")


def test_a_chain_reaches_the_serving_process(file):
    write(file, CHAIN)
    given = Handover(config=parse_mount("s3://data/team/", "/srv/data", []))
    read = Handover.read(given.write())
    assert read == given
    assert [hop.name for hop in read.config.buckets[0].role.hops] == ["team", "data", "base"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("role=dta", "There is no role dta: did you mean data?"),
        ("role=xyz", "There is no role xyz; there are: base, data, public, team."),
        ("role=data,profile=work", "role=data says who the mount is, and so does profile: leave one of them"),
        (f"role_arn={ROLE},role=data", "so does role_arn"),
    ],
)
def test_options_that_do_not_go_with_the_configuration(file, options, words):
    write(file, CHAIN)
    for source in ("s3://data", "map://office"):
        assert words in refusal(parse_mount, source, "/srv/data", [options])


def test_paths_of_a_role_inside_the_mount_are_refused(file):
    write(
        file,
        f'[roles.a]\ncredentials_file = "/srv/data/x/keys"\n{SECOND}',
    )
    said = refusal(parse_mount, "s3://data", "/srv/data", ["role=b"])
    assert "credentials_file=/srv/data/x/keys lies inside the directory to be mounted on" in said
    write(file, '[maps.m]\na = { source = "s3://data", ca_bundle = "/srv/data/x/ca" }')
    said = refusal(parse_mount, "map://m", "/srv/data", [])
    assert "ca_bundle=/srv/data/x/ca lies inside the directory to be mounted on" in said


def test_who_a_mount_is_reaches_some_directory_of_its_map_or_is_refused(file):
    write(file, f'{BASE}[maps.m]\na = {{ source = "s3://data", role = "b" }}')
    for option in ("role=b", "profile=mine"):
        said = refusal(parse_mount, "map://m", "/srv/data", [option])
        assert f"{option.partition('=')[0]} would be used for no directory of map://m" in said
    assert parse_mount("map://m", "/srv/data", ["cred_wait=5s"]).buckets[0].role.cred_wait_seconds == 5


WRONG = [
    ('[roles.a]\nprofile = "x"\nprofil = "y"', ", role a: There is no setting profil: did you mean profile?"),
    ('[rolse.a]\nprofile = "x"', ": There is no table rolse: did you mean roles?"),
    ("roles = 3", ": roles must be a table: write [roles.NAME]."),
    ('[roles]\nprofile = "x"', ", role profile: profile must be a table: write [roles.profile]."),
    ('[roles."a b"]\nprofile = "x"', ", role a b: A name is letters"),
    (f'[roles.a]\nrole_arn = "{ROLE}"', ", role a: It names no source of credentials: give it one of"),
    ('[roles.a]\nprofile = "x"\ncredentials_file = "/y"', "credentials_file=/y and profile=x both"),
    (
        f'[roles.b]\nprofile = "x"\n[roles.a]\nrole_arn = "{ROLE}"\nprofile = "x"\nsource_role = "b"',
        ", role a: profile=x and source_role=b both name a source of credentials; keep one of them.",
    ),
    ('[roles.b]\nprofile = "x"\n[roles.a]\nsource_role = "b"', "source_role=b is of use only together"),
    (
        f'[roles.b]\nno_sign_request = true\n[roles.a]\nrole_arn = "{ROLE}"\nsource_role = "b"',
        ", role a: source_role=b uses no credentials",
    ),
    (f'[roles.base]\nprofile = "x"\n{ABOVE}source_role = "bsae"', "no role bsae: did you mean base?"),
    (
        "".join(f'[roles.{a}]\nrole_arn = "{ROLE}"\nsource_role = "{b}"\n' for a, b in ("ab", "bc", "ca")),
        ", role a: The roles a → b → c → a name each other as source in a circle.",
    ),
    (f'[roles.a]\nrole_arn = "{ROLE}"\nsource_role = "a"', "The roles a → a name each other"),
    (
        "".join(f'[roles.r{n}]\nrole_arn = "{ROLE}"\nsource_role = "r{n + 1}"\n' for n in range(2000)),
        "A chain of roles must not be longer than 100.",
    ),
    (
        '[roles.r0]\nprofile = "x"\n'
        + "".join(f'[roles.r{n}]\nrole_arn = "{ROLE}"\nsource_role = "r{n - 1}"\n' for n in range(1, 2000)),
        "A chain of roles must not be longer than 100.",
    ),
    (
        f'{ABOVE}saml_assertion_process = "echo hush"\nweb_identity_token_process = "echo hush"',
        "web_identity_token_process= and saml_assertion_process= both name a source",
    ),
    (f'{ABOVE}profile = "x"\nduration_seconds = 50000', "duration_seconds=50000 must be"),
    ('[roles.a]\nprofile = "x"\nrole_arn = "data"', ", role a: role_arn=data is not the ARN of a role"),
    ("[roles.a]\nprofile = true", ", role a: profile must be a string between double quotes."),
    ('[roles.a]\nprofile = ""', ", role a: profile is empty"),
    ('[roles.a]\nprofile = "a\\u0000"', ", role a: profile is empty or has a NUL"),
    ('[roles.a]\nprofile = ["x"]', ", role a: profile must be a string between double quotes."),
    (f'[roles.a]\nprofile = "x"\nrole_arn = "{ROLE}"\nsession_tags = [1]', "must be a list of strings"),
    ('[roles.a]\nno_sign_request = "maybe"', "no_sign_request=maybe must be yes or no."),
    ('[roles.a]\nprofile = "x"\nPROFILE = "y"', ", role a: profile is given twice"),
    ('[roles.a]\nprofile = "x"\nregion = "y"', "region concerns the mount: give it there, as an option."),
    ('[roles.a]\nprofile = "x"\ncred_wait = 3', ", role a: cred_wait concerns the mount"),
    ('[roles.a]\nsecret_key = "hush"', ", role a: secret_key is a secret, which does not belong here"),
    (f'[roles.a]\nrole_arn = "{ROLE}"\nweb_identity_token_file = "/dev/fd/3"', "/dev/fd/3 is a descriptor"),
    ('[buckets]\n"s3://data" = "a"', ", bucket s3://data: There is no role a: no role is described in"),
    ('[buckets]\n"data" = "a"', ", bucket data: The source 'data' is not understood"),
    ('[buckets]\n"s3://data" = 3', ", bucket s3://data: The role must be a string"),
    (f'{BASE}[buckets]\n"s3://d-1" = "b"\n"s3://d-1/" = "b"', "s3://d-1/: It is there twice"),
    ('[roles.a]\ncredentials_file = "~no-such-user/x"', "there is no user of that name on this machine"),
    (f"{ABOVE}duration_seconds = 0x{'f' * 9999}", "duration_seconds must be a string"),
    ("[maps.m]", ", map m: It names no directory"),
    ('[maps.m]\n".." = { source = "s3://data" }', ", map m, ..: '..' can be no name of a directory"),
    ('[maps.m]\n"a/b" = { source = "s3://data" }', "'a/b' can be no name of a directory"),
    ('[maps.m]\n"" = { source = "s3://data" }', "'' can be no name of a directory"),
    ('[maps.m]\n"a\\u0000" = { source = "s3://data" }', "can be no name of a directory"),
    ('[maps.m]\n"a\\nb" = { source = "s3://data" }', r"'a\nb' can be no name of a directory"),
    ('[maps.m]\n"‛object=a" = { source = "s3://data" }', "can be no name of a directory"),
    ('[maps.m]\na = "s3://data"', ", map m, a: a must be a table: write a = { source"),
    ("[maps.m]\na = { }", ", map m, a: It needs a source"),
    ('[maps.m]\na = { source = "s3://data", rol = "x" }', "There is no setting rol: did you mean role?"),
    ('[maps.m]\na = { source = "s3://data", role = "x" }', ", map m, a: There is no role x"),
    ('[maps.m]\na = { source = "s3://data", endpoint_url = "x" }', "endpoint_url=x is no address"),
    ("[roles.a\nprofile", ", line 1, is no TOML (Expected ']' at the end of a table declaration)"),
    ('[roles.a]\nprofile = "x"\n\nprofile = "y"', ", line 4, is no TOML (Cannot overwrite a value)"),
    ('[roles.a]\nprofile = "x', ", line 2, is no TOML (Unterminated string)"),
    ("a = " + "[" * 100_000, " nests brackets too deep"),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_what_is_wrong_is_named_with_its_place(file, text, words):
    write(file, text)
    said = refusal(load_settings, os.environ)
    assert said.strip("'").startswith(str(file))
    assert words in said
    assert "hush" not in said


def test_a_file_that_others_could_have_written_is_refused(file):
    for mode in (0o664, 0o646):
        write(file, CHAIN)
        file.chmod(mode)
        assert f"run `chmod go-w {file}`." in refusal(load_settings, os.environ)
    file.chmod(0o644)
    os.chown(file, STRANGER, -1)
    assert f"{file} belongs to another user" in refusal(load_settings, os.environ)


def test_what_is_no_readable_file_is_refused(file):
    assert "does not exist" in refusal(load_settings, os.environ)
    os.mkfifo(file)
    assert "is not a regular file" in refusal(load_settings, os.environ)
    file.unlink()
    file.write_bytes(b"# \n# \xff\n")
    assert "line 2, is no text in UTF-8" in refusal(load_settings, os.environ)
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    assert "larger than 1 MiB" in refusal(load_settings, os.environ)


def test_the_users_own_entry_replaces_the_systems(tmp_path, monkeypatch):
    system, own = tmp_path / "system.toml", tmp_path / "home" / ".config" / "s3rolefs" / "config.toml"
    monkeypatch.setattr(configfile, "_SYSTEM_FILE", system)
    own.parent.mkdir(parents=True)
    environ = {"HOME": str(tmp_path / "home")}
    assert load_settings(environ).roles == {}
    write(
        system,
        f'{ABOVE}profile = "s"\n[roles.b]\nprofile = "b"\n[buckets]\n"s3://data" = "b"',
    )
    assert load_settings(environ).role("a").profile == "s"
    write(own, '[roles.a]\nprofile = "u"\n[buckets]\n"s3://data/" = "a"')
    found = load_settings(environ)
    assert found.role("a") == RoleConfig(profile="u")
    assert found.role("b").profile == "b"
    assert found.role_for(StoreConfig(bucket="data")).profile == "u"
    elsewhere = tmp_path / "xdg" / "s3rolefs" / "config.toml"
    elsewhere.parent.mkdir(parents=True)
    write(elsewhere, '[roles.a]\nprofile = "x"')
    assert load_settings(environ | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}).role("a").profile == "x"


def test_without_home_the_users_file_is_where_the_password_database_says():
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert str(configfile.places({})[-1]) == f"{home}/.config/s3rolefs/config.toml"
