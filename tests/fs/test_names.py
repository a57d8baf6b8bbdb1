"""Names and keys: pure functions, both ways, over anything a key or a name can be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3rolefs.fs import names
from s3rolefs.fs.names import ESCAPE, Form, Kind, Step

# Words that mean something to the escapes, so that random text comes near to them.
WORDS = [
    *(
        ESCAPE,
        ESCAPE,
        "name=",
        "object=",
        "part=",
        "0",
        "E9",
        "C3",
        "A9",
        "FF",
        "\0",
        ".",
        "..",
        "a",
        "/",
        "é",
    ),
    *("-", "!", "\n", "\x7f", "\U0001f600", "n" * 236, "n" * 255, "é" * 120, f"{ESCAPE}part={'n' * 236}"),
]
characters = st.characters(exclude_categories=("Cs",))
keys = (
    st.lists(st.sampled_from(WORDS) | characters, min_size=1, max_size=8)
    .map("".join)
    .filter(lambda key: len(key.encode()) <= names.KEY_LIMIT_BYTES)
)
components = keys.map(lambda key: key.replace("/", ""))
file_names = (
    st.lists(
        st.sampled_from([word.encode() for word in WORDS]) | st.binary(min_size=1, max_size=3),
        min_size=1,
        max_size=6,
    )
    .map(b"".join)
    .map(lambda name: name.replace(b"/", b"").replace(b"\0", b"")[:255])
    .filter(lambda name: name not in (b"", b".", b".."))
)


def tree(keys):
    """Return path → key of a set of keys: what a mount lists."""
    return {names.path(key, beside=any(other.startswith(key + "/") for other in keys)): key for key in keys}


def resolved(path):
    """Return the key that a path stands for, with no look at the bucket."""
    parts, key = (), ""
    for place, name in enumerate(path):
        form, text = names.read(name)
        if form is Form.PART:
            parts = (*parts, Step(Kind.PART, text))
            continue
        is_last = place == len(path) - 1
        kind = Kind.OBJECT if is_last else Kind.DIRECTORY
        assert is_last or form is Form.NAME
        component = "".join(step.text for step in parts) + text
        assert names.child(parts, kind, component, beside=form is Form.OBJECT) == Step(kind, text)
        key += Step(kind, component).key
        parts = ()
    assert not parts
    return key


@settings(max_examples=600, deadline=None)
@given(keys, st.booleans())
def test_every_key_is_found_again_by_its_path(key, beside):
    path = names.path(key, beside=beside)
    assert resolved(path) == key
    for name in path:
        assert 0 < len(names.encoded(name)) <= 255
        assert name not in (".", "..")
        assert "\0" not in name
        assert "/" not in name
        assert names.decoded(names.encoded(name)) == name


@settings(max_examples=600, deadline=None)
@given(file_names)
def test_every_file_name_is_the_name_of_its_key(name):
    form, text = names.read(names.decoded(name))
    text.encode()
    kind = Kind.PART if form is Form.PART else Kind.OBJECT
    assert names.encoded(names.spell(Step(kind, text), beside=form is Form.OBJECT)) == name


@settings(max_examples=250, deadline=None)
@given(st.sets(keys, max_size=12))
def test_no_two_keys_share_a_path_and_no_file_is_a_directory(keys):
    paths = tree(keys)
    assert set(paths.values()) == keys
    directories = {path[:depth] for path in paths for depth in range(len(path))}
    assert not directories & set(paths)


@given(
    st.text(
        st.characters(exclude_categories=("Cs",), exclude_characters=f"/\0{ESCAPE}"), min_size=1, max_size=60
    )
)
def test_names_that_need_no_escape_are_shown_as_they_are(text):
    if text not in (".", ".."):
        assert names.path(text) == (text,)
        assert names.read(text) == (Form.NAME, text)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a//b", "a/‛name=/b"),
        ("/lead", "‛name=/lead"),
        ("x/../y", "x/‛name=../y"),
        ("./z", "‛name=./z"),
        ("d/", "d/‛object="),
        ("d//", "d/‛name=/‛object="),
        ("nul\0", "‛name=nul‛0"),
        ("line\nbreak", "line\nbreak"),
        ("100%25", "100%25"),
        ("‛", "‛"),
        ("‛name=..", "‛name=‛‛name=.."),
        ("‛name=a", "‛name=a"),
        ("caf‛E9", "caf\udce9"),
        ("caf‛‛E9", "caf‛E9"),
        ("caf‛C3‛A9", "‛name=caf‛‛C3‛‛A9"),
        ("n" * 255, "n" * 255),
        ("n" * 256, f"‛part={'n' * 240}/{'n' * 16}"),
    ],
)
def test_examples(key, path):
    assert "/".join(names.path(key)) == path


def test_an_object_beside_a_directory_gives_it_the_plain_name():
    assert names.path("d/a", beside=True) == ("d", "‛object=a")
    assert names.path("n" * 250, beside=True) == (f"‛part={'n' * 240}", f"‛object={'n' * 10}")
