import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3rolefs.fs import spool as spool_module
from s3rolefs.fs.spool import Spool
from s3rolefs.s3.store import FileSpan

# Small enough for histories to cross it often.
LIMIT = 32
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 60), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("resize"), st.integers(0, 80), st.just(b"")),
    ),
    max_size=12,
)


@pytest.fixture(scope="module", autouse=True)
def low_limit():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "MEMORY_LIMIT_BYTES", LIMIT)
        yield


def bytes_of(body):
    return os.pread(body.fd, body.length, body.offset) if isinstance(body, FileSpan) else bytes(body)


@settings(max_examples=150, deadline=None)
@given(steps=steps)
def test_a_spool_is_a_file(steps):
    with tempfile.TemporaryDirectory() as folder:
        spool, model = Spool(folder), bytearray()
        for step, place, content in steps:
            if step == "write":
                if place > len(model):
                    spool.extend(len(model), place)
                    model.extend(bytes(place - len(model)))
                spool.write(place, content)
                model[place : place + len(content)] = content
            elif place < len(model):
                spool.cut(place)
                del model[place:]
            else:
                spool.extend(len(model), place)
                model.extend(bytes(place - len(model)))
            assert spool.present.missing(0, len(model)) == []
            assert spool.read(0, len(model)) == model
            assert bytes_of(spool.span(0, len(model))) == model
        kept = Path(folder) / "kept"
        spool.keep(kept, len(model))
        assert kept.read_bytes() == model
        spool.close()
        assert [path.name for path in Path(folder).iterdir()] == ["kept"]


@pytest.fixture(params=["nameless", "named"])
def spool(request, tmp_path, monkeypatch):
    """A spool on a file system that knows O_TMPFILE, and on one that does not."""
    if request.param == "named":
        monkeypatch.setattr(spool_module.os, "O_TMPFILE", 1 << 30)
    made = Spool(str(tmp_path))
    yield made
    made.close()


def test_a_kept_spool_goes_on_and_is_kept_again(spool, tmp_path):
    kept = tmp_path / "kept"
    spool.write(0, b"first")
    spool.keep(kept, 5)
    assert kept.read_bytes() == b"first"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    spool.write(5, b" and more")
    spool.keep(kept, 14)
    assert kept.read_bytes() == b"first and more"
    assert spool.read(0, 14) == b"first and more"
    spool.cut(5)
    spool.keep(kept, 5)
    assert kept.read_bytes() == b"first"


def test_bytes_fetched_from_s3_are_present_but_not_changed(tmp_path):
    spool = Spool(str(tmp_path))
    spool.write(10, b"from S3", changed=False)
    assert list(spool.present) == [(10, 17)]
    assert not spool.changed
    spool.close()


def test_a_kept_file_is_taken_over(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"0123456789")
    spool = Spool(str(tmp_path))
    spool.adopt(path, [(0, 4), (6, 10)], [(6, 10)])
    assert spool.present.missing(0, 10) == [(4, 6)]
    assert list(spool.changed) == [(6, 10)]
    assert spool.read(6, 4) == b"6789"
    spool.close()
