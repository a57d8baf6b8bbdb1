"""Where `login` gets what is needed from, and what it says where it gets nothing."""

import io

import pytest

from s3rolefs.cli import login
from s3rolefs.errors import UserError

NEED = {"kind": "saml-assertion", "prompt": "SAML assertion for r", "details": {}}


def given(monkeypatch, text, path=None):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return login._Text(path)


@pytest.mark.parametrize("path", [None, "-"])
def test_a_pipe_serves_one_need(monkeypatch, path):
    text = given(monkeypatch, "an assertion\n", path)
    assert text.for_need(NEED) == "an assertion\n"
    with pytest.raises(UserError, match="Something else is needed, too"):
        text.for_need(NEED)


@pytest.mark.parametrize(
    ("text", "words"), [(" \n", "nothing was given"), ("x" * 300_000, "longer than 262144 characters")]
)
def test_nothing_and_too_much_are_refused(monkeypatch, text, words):
    with pytest.raises(UserError, match=words) as caught:
        given(monkeypatch, text).for_need(NEED)
    assert caught.value.sentence.startswith("SAML assertion for r: ")


def test_a_file_that_is_none_is_told(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        login._Text(str(tmp_path)).for_need(NEED)


def test_a_file_serves_an_sso_login_too(tmp_path):
    path = tmp_path / "token.json"
    path.write_text("{}")
    assert login._Text(str(path)).for_need({**NEED, "kind": "sso"}) == "{}"
