"""A session shows none of its secrets by accident."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from s3rolefs.roles.snapshot import Snapshot


@pytest.fixture
def snapshot(secrets):
    return Snapshot(
        access_key_id="ASIAEXAMPLE", secret_access_key=secrets[0], session_token=secrets[1], generation=3
    )


def test_no_text_of_it_holds_a_part_of_the_keys(snapshot, secrets):
    texts = [
        repr(snapshot),
        str(snapshot),
        f"{snapshot}",
        repr([snapshot.secret_access_key, snapshot.session_token]),
    ]
    assert not [text for text in texts for secret in (*secrets, "ASIAEXAMPLE") if secret in text]
    assert "generation=3" in texts[0]


@pytest.mark.parametrize("take", [asdict, pickle.dumps, copy.deepcopy], ids=lambda take: take.__name__)
def test_it_is_neither_copied_nor_written_out(snapshot, take):
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        take(snapshot)


def test_it_is_frozen(snapshot):
    with pytest.raises(FrozenInstanceError):
        snapshot.expires_at = 1.0


def test_signers_get_plain_strings(snapshot, secrets):
    assert ("AWS4" + snapshot.secret_access_key).encode() == b"AWS4" + secrets[0].encode()
    assert snapshot.session_token == secrets[1]


def test_keys_are_compared_whatever_else_differs(snapshot):
    assert snapshot.has_keys_of(replace(snapshot, generation=9, expires_at=1.0))
    assert not snapshot.has_keys_of(replace(snapshot, session_token=None))
