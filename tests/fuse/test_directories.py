"""Directories of many entries, read as programs read them, while others change them."""

import ctypes
import os

import pytest

DT_UNKNOWN, DT_DIR, DT_REG = 0, 4, 8


class Entry(ctypes.Structure):
    """struct dirent of Linux on 64 bits."""

    _fields_ = (
        ("number", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_ushort),
        ("kind", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    )


libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Entry)
libc.telldir.restype = ctypes.c_long
for function in (libc.readdir, libc.telldir, libc.rewinddir, libc.closedir):
    function.argtypes = (ctypes.c_void_p,)
libc.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)


class Stream:
    """A DIR of the C library."""

    def __init__(self, path):
        self._stream = libc.opendir(os.fsencode(path))
        assert self._stream

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        libc.closedir(self._stream)

    def read(self, count=10**9):
        names = []
        while len(names) < count and (entry := libc.readdir(self._stream)):
            names.append(entry.contents.name.decode())
        return names

    @classmethod
    def kind(cls, path, name):
        """Return the type that the entry of a name has in its directory."""
        with cls(path) as stream:
            while entry := libc.readdir(stream._stream):
                if entry.contents.name == name.encode():
                    return entry.contents.kind
        return None

    def tell(self):
        return libc.telldir(self._stream)

    def seek(self, place):
        libc.seekdir(self._stream, place)

    def rewind(self):
        libc.rewinddir(self._stream)


def everything(names):
    """Check that no name comes twice; return the names without the dots."""
    assert len(set(names)) == len(names)
    return set(names) - {".", ".."}


@pytest.mark.timeout(120)
def test_a_directory_of_a_hundred_thousand(mount):
    mount.ask("fill", "d/", 100_000)
    (mount.path / "d").stat()
    before_kib = mount.resident_kib()
    mount.ask("counts")
    with Stream(mount.path / "d") as stream:
        first = stream.read(3)
        # One page, and at most two that are fetched ahead.
        assert mount.ask("counts").get("list_page", 0) <= 3
        begun = stream.tell()
        some = stream.read(50_000)
        middle = stream.tell()
        # What comes and goes meanwhile does not disturb what stays.
        mount.shell("cd d; rm 000500 090000; touch 050000-new zzz; mv 091000 091000-moved")
        rest = stream.read()
        names = {f"{number:06}" for number in range(100_000)}
        come = {"050000-new", "zzz", "091000-moved"}
        assert names - {"090000", "091000"} <= everything(first + some + rest) <= names - {"090000"} | come
        # Places stay what they are, also when what is behind them comes and goes.
        mount.shell("rm d/099999; touch d/new")
        stream.seek(middle)
        assert stream.read(100) == rest[:100]
        stream.seek(begun)
        assert stream.read(100) == some[:100]
        # No page comes twice; each look-up of what is removed or made is a short one.
        assert mount.ask("counts")["list_page"] <= 99 + 15
        stream.rewind()
        assert set(first) <= set(stream.read(5))
    assert mount.resident_kib() - before_kib < 200 * 1024


def test_changes_during_a_listing_leave_the_other_names_alone(mount):
    mount.ask("fill", "d/", 5000)
    with Stream(mount.path / "d") as stream:
        names = stream.read(1500)
        mount.shell("cd d; rm 000007 004000 004999; touch new; mkdir newer; mv 003000 moved")
        mount.put("d/theirs", b"x")
        names += stream.read()
        stay = {f"{number:06}" for number in range(5000)} - {"000007", "003000", "004000", "004999"}
        assert everything(names) >= stay
        assert not {"004000", "004999", "003000"} & set(names)
        stream.rewind()
        assert everything(stream.read()) >= stay | {"new", "newer", "moved"}


def test_everything_is_removed_while_it_is_listed(mount):
    mount.ask("fill", "d/", 5000)
    mount.ask("fill", "d/below/", 100)
    mount.shell("test $(ls -U d | wc -l) = 5001; test $(find d -type f | wc -l) = 5100; rm -r d")
    assert mount.ask("keys") == []
    assert os.listdir(mount.path) == []  # noqa: PTH208 - one system call after the other


def test_types_and_link_counts(mount):
    mount.put("d/sub/f", b"x")
    mount.put("d/f", b"x")
    kinds = {name: Stream.kind(mount.path / "d", name) for name in ("sub", "f")}
    assert kinds == {"sub": DT_DIR, "f": DT_UNKNOWN}  # an object may be a symlink or a FIFO
    assert (mount.path / "d").stat().st_nlink == 1  # find then looks at every name
    (mount.path / "d" / "f").stat()
    assert Stream.kind(mount.path / "d", "f") == DT_REG
    assert mount.shell("find d -type d") == "d\nd/sub\n"


def test_an_implicit_directory_stays_for_whoever_is_in_it(mount):
    mount.put("d/e/f", b"x")
    script = "cd d/e; rm f; ls -la; touch g; test -f ../e/g; rm g; cd ..; rmdir e; ls"
    assert "f" not in mount.shell(script).split()
    with Stream(mount.path / "d") as stream:
        assert everything(stream.read()) == set()
    mount.put("h/f", b"x")
    file = os.open(mount.path / "h", os.O_DIRECTORY)
    try:
        mount.ask("delete", "h/f")  # somebody else empties it: it is gone, and there again with the next file
        made = os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=file)
        os.write(made, b"content")
        os.close(made)
    finally:
        os.close(file)
    assert mount.get("h/new") == b"content"
    assert (mount.path / "h" / "new").read_bytes() == b"content"
