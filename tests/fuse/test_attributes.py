"""Modes, owners, times, nodes and extended attributes through a real kernel mount, as root and as others."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from s3rolefs.fs import xattrs
from tests.fuse.conftest import LIMIT_SECONDS

USER, GROUP, OTHER = 65534, 65533, 65532


def as_user(script, *paths, groups=(GROUP,)):
    """Run Python as a user without rights; return the errno it failed with, 0 for none."""
    guarded = f"import os, stat, sys\ntry:\n {script}\nexcept OSError as error:\n sys.exit(error.errno)"
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", guarded, *map(str, paths)],
        user=USER,
        group=groups[0],
        extra_groups=groups,
        umask=0o022,
        cwd="/",
        capture_output=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert not done.stderr, done.stderr.decode()
    return done.returncode


@contextmanager
def reachable(mount):
    """Let others walk to the mount: pytest's directories are root's alone."""
    above = mount.path.parent
    modes = {}
    while above != above.parent and not above.stat().st_mode & stat.S_IXOTH:
        modes[above] = stat.S_IMODE(above.stat().st_mode)
        above.chmod(modes[above] | stat.S_IXOTH)
        above = above.parent
    yield mount.path
    for path, mode in modes.items():
        path.chmod(mode)


@pytest.fixture
def shared(mount):
    """The mount's root, where everybody may make files."""
    with reachable(mount) as path:
        path.chmod(0o777)
        yield path


def bits(path):
    return stat.S_IMODE(path.lstat().st_mode)


def owners(path):
    found = path.lstat()
    return found.st_uid, found.st_gid


# Modes and owners


def test_what_a_user_makes_is_the_users_and_the_umask_counts_once(shared):
    assert as_user("open(sys.argv[1], 'w').close(); os.mkdir(sys.argv[2])", shared / "f", shared / "d") == 0
    assert as_user("os.symlink('t', sys.argv[1]); os.mkfifo(sys.argv[2])", shared / "l", shared / "p") == 0
    assert [bits(shared / name) for name in "fdlp"] == [0o644, 0o755, 0o777, 0o644]
    assert {owners(shared / name) for name in "fdlp"} == {(USER, GROUP)}


@pytest.mark.parametrize("mode", [0o7777, 0o4711, 0o2755, 0o1777, 0])
def test_all_twelve_bits_are_kept(mount, mode):
    for name in ("f", "d/"):
        mount.put(name, mode="33188")
        (mount.path / name).chmod(mode)
        assert bits(mount.path / name) == mode
        assert int(mount.ask("metadata", name)["mode"]) & 0o7777 == mode


def test_set_user_id_goes_when_somebody_else_writes(shared):
    for name, write in {
        "written": "os.write(os.open(sys.argv[1], os.O_WRONLY), b'x')",
        "truncated": "os.truncate(sys.argv[1], 1)",
        "emptied": "os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)",
    }.items():
        path = shared / name
        path.write_bytes(b"content")
        path.chmod(0o6777)
        assert bits(path) == 0o6777
        assert as_user(write, path) == 0
        assert bits(path) == 0o777, name
        path.chmod(0o6777)
        with path.open("r+b") as handle:  # root keeps them, as on a disk
            handle.write(b"y")
        assert bits(path) == 0o6777, name


def test_set_user_id_goes_when_the_owner_changes(shared):
    path = shared / "f"
    path.touch()
    path.chmod(0o6755)
    os.chown(path, USER, GROUP)
    assert (bits(path), owners(path)) == (0o755, (USER, GROUP))
    path.chmod(0o6755)
    assert as_user(f"os.chown(sys.argv[1], -1, {OTHER})", path, groups=(GROUP, OTHER)) == 0
    assert (bits(path), owners(path)) == (0o755, (USER, OTHER))
    (shared / "d").mkdir()
    (shared / "d").chmod(0o2755)
    os.chown(shared / "d", USER, GROUP)
    assert bits(shared / "d") == 0o2755


def test_only_owners_change_attributes(shared):
    path = shared / "f"
    path.touch()
    for script in ("os.chmod(sys.argv[1], 0o777)", f"os.chown(sys.argv[1], {USER}, {GROUP})"):
        assert as_user(script, path) == errno.EPERM
    assert as_user("os.utime(sys.argv[1], ns=(1, 1))", path) == errno.EPERM
    assert as_user("os.utime(sys.argv[1])", path) == errno.EACCES
    path.chmod(0o666)
    assert as_user("os.utime(sys.argv[1])", path) == 0
    assert as_user("os.utime(sys.argv[1], ns=(1, 1))", path) == errno.EPERM
    os.chown(path, USER, OTHER)
    assert as_user("os.chown(sys.argv[1], 0, -1)", path) == errno.EPERM
    # Set-group-id for a group that the owner is not in is left out without a word (POSIX).
    assert as_user("os.chmod(sys.argv[1], 0o2755)", path) == 0
    assert bits(path) == 0o755


def test_permissions_are_checked(shared):
    secret, closed = shared / "secret", shared / "closed"
    secret.write_bytes(b"x")
    secret.chmod(0o600)
    closed.mkdir()
    (closed / "f").touch()
    closed.chmod(0o700)
    assert as_user("open(sys.argv[1])", secret) == errno.EACCES
    assert as_user("os.stat(sys.argv[1])", closed / "f") == errno.EACCES
    assert as_user("os.listdir(sys.argv[1])", closed) == errno.EACCES
    closed.chmod(0o755)
    assert as_user("os.unlink(sys.argv[1])", closed / "f") == errno.EACCES
    assert as_user("os.mkdir(sys.argv[1])", closed / "d") == errno.EACCES


def test_in_a_sticky_directory_only_owners_remove(shared):
    folder = shared / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    (folder / "roots").touch()
    assert as_user("open(sys.argv[1], 'w').close()", folder / "users") == 0
    assert as_user("os.unlink(sys.argv[1])", folder / "roots") == errno.EPERM
    assert as_user("os.rename(sys.argv[1], sys.argv[2])", folder / "roots", folder / "x") == errno.EPERM
    assert as_user("os.rename(sys.argv[1], sys.argv[2])", folder / "users", folder / "roots") == errno.EPERM
    assert as_user("os.unlink(sys.argv[1])", folder / "users") == 0


def test_a_set_group_id_directory_gives_its_group(shared):
    folder = shared / "team"
    folder.mkdir()
    os.chown(folder, 0, OTHER)
    folder.chmod(0o2777)
    script = (
        "open(sys.argv[1] + '/f', 'w').close(); os.mkdir(sys.argv[1] + '/d'); os.mkfifo(sys.argv[1] + '/p')"
    )
    assert as_user(script, folder) == 0
    assert {owners(folder / name) for name in "fdp"} == {(USER, OTHER)}
    assert (bits(folder / "f"), bits(folder / "d")) == (0o644, 0o2755)


# Times


def test_times_now_omitted_and_to_the_nanosecond(mount):
    path = mount.path / "f"
    path.touch()
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    mount.shell("touch -a -d @77.000000005 f")  # UTIME_OMIT for the other
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (77_000_000_005, 1_234_567_890_123_456_789)
    before = path.stat()
    time.sleep(0.01)  # a tick of the kernel's clock for files
    mount.shell("touch -m f")  # UTIME_NOW
    assert path.stat().st_atime_ns == 77_000_000_005
    assert path.stat().st_mtime_ns > before.st_ctime_ns - 10_000_000
    assert path.stat().st_ctime_ns > before.st_ctime_ns


def test_ctime_and_the_directorys_times_follow_changes(mount):
    folder = mount.path / "d"
    folder.mkdir()

    def changed(act, path):
        before = path.stat()
        time.sleep(0.01)  # a tick of the kernel's clock for files
        act()
        after = path.stat()
        assert after.st_ctime_ns > before.st_ctime_ns
        return after.st_mtime_ns > before.st_mtime_ns

    f, g = folder / "f", folder / "g"
    assert changed(f.touch, folder)
    assert changed((folder / "sub").mkdir, folder)
    assert changed((folder / "sub").rmdir, folder)
    assert changed(lambda: (folder / "l").symlink_to("x"), folder)
    assert changed(lambda: f.rename(g), folder)
    assert changed(lambda: os.mkfifo(f), folder)
    assert changed(f.unlink, folder)
    assert not changed(lambda: g.chmod(0o600), g)
    assert not changed(lambda: os.chown(g, 1, 1), g)
    assert changed(lambda: os.truncate(g, 5), g)
    before = folder.stat()
    with pytest.raises(PermissionError):
        os.link(g, folder / "h")
    assert folder.stat() == before


# Nodes


def test_a_fifo_joins_programs_and_is_stored_as_s3fs_does(mount):
    mount.put("found", mode=str(stat.S_IFIFO | 0o644))
    path = mount.path / "p"
    os.mkfifo(path, 0o640)
    assert mount.shell("(echo through > p) & cat p; wait") == "through\n"
    assert mount.get("p") == b""
    assert mount.ask("metadata", "p")["mode"] == str(stat.S_IFIFO | 0o640)
    path.chmod(0o600)
    path.rename(mount.path / "q")
    assert mount.shell("stat -c '%F %a' q; ls -F").split() == ["fifo", "600", "found|", "q|"]
    assert stat.S_ISFIFO((mount.path / "found").stat().st_mode)
    assert set(mount.shell("find . -type p").split()) == {"./q", "./found"}
    mount.shell("rm q found")
    assert mount.ask("keys") == []


def test_a_socket_is_bound_and_found(mount, monkeypatch):
    monkeypatch.chdir(mount.path)  # a socket's path has room for 108 bytes
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("s")
        server.listen(1)

        def greet():
            with server.accept()[0] as connection:
                connection.sendall(b"hello")

        answer = threading.Thread(target=greet)
        answer.start()
        client.connect("s")
        assert client.recv(5) == b"hello"
        answer.join()
        with pytest.raises(OSError, match="in use"), socket.socket(socket.AF_UNIX) as second:
            second.bind("s")
    assert stat.S_ISSOCK(int(mount.ask("metadata", "s")["mode"]))
    (mount.path / "s").unlink()
    assert mount.ask("keys") == []


# Extended attributes


def test_extended_attributes_are_not_supported_unless_asked_for(mount):
    (mount.path / "f").touch()
    for work in (
        lambda: os.setxattr(mount.path / "f", "user.a", b"1"),
        lambda: os.getxattr(mount.path / "f", "user.a"),
        lambda: os.listxattr(mount.path / "f"),
        lambda: os.removexattr(mount.path / "f", "user.a"),
    ):
        with pytest.raises(OSError, match="not supported"):
            work()


@pytest.mark.parametrize("name", ["f", "d"])
def test_extended_attributes(with_xattr, name):
    path = with_xattr.path / name
    path.mkdir() if name == "d" else path.write_bytes(b"x")
    os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)
    with pytest.raises(OSError, match="No data"):
        os.setxattr(path, "user.b", b"2", os.XATTR_REPLACE)
    os.setxattr(path, "user.empty", b"")
    assert os.listxattr(path) == ["user.a", "user.empty"]
    assert (os.getxattr(path, "user.a"), os.getxattr(path, "user.empty")) == (b"3", b"")
    key = "d/" if name == "d" else "f"
    assert xattrs.decode(with_xattr.ask("metadata", key)["xattr"]) == {"user.a": "Mw==", "user.empty": ""}
    os.removexattr(path, "user.a")
    for work in (os.getxattr, os.removexattr):
        with pytest.raises(OSError, match="No data"):
            work(path, "user.a")
    with pytest.raises(OSError, match="No space"):
        os.setxattr(path, "user.large", bytes(2000))


def test_a_buffer_that_is_too_small_is_erange(with_xattr):
    path = with_xattr.path / "f"
    path.touch()
    os.setxattr(path, "user.a", b"12345")
    script = (
        "import ctypes, sys; c = ctypes.CDLL(None, use_errno=True); room = ctypes.create_string_buffer(3)\n"
        "for call, more in ((c.getxattr, (b'user.a',)), (c.listxattr, ())):\n"
        " found = call(sys.argv[1].encode(), *more, room, 3), ctypes.get_errno()\n"
        f" assert found == (-1, {errno.ERANGE}), found\n"
        "assert c.getxattr(sys.argv[1].encode(), b'user.a', None, 0) == 5\n"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True, timeout=LIMIT_SECONDS)


@pytest.mark.parametrize(
    "name", ["trusted.a", "security.a", "system.posix_acl_access", "system.posix_acl_default"]
)
def test_other_namespaces_are_not_supported(with_xattr, name):
    (with_xattr.path / "d").mkdir()
    # What an access control list looks like that the kernel lets through: version 2, owner, group, others.
    value = bytes.fromhex("02000000 0100 0700 ffffffff 0400 0500 ffffffff 2000 0500 ffffffff")
    with pytest.raises(OSError, match="not supported"):
        os.setxattr(with_xattr.path / "d", name, value)
    with pytest.raises(OSError, match=r"not supported|No data"):
        os.getxattr(with_xattr.path / "d", name)


def test_symlinks_and_fifos_have_none(with_xattr):
    (with_xattr.path / "l").symlink_to("x")
    os.mkfifo(with_xattr.path / "p")
    for name in ("l", "p"):
        with pytest.raises(PermissionError):
            os.setxattr(with_xattr.path / name, "user.a", b"1", follow_symlinks=False)


def test_copies_do_not_take_along_what_s3_says(with_xattr, tmp_path):
    with_xattr.put("f", b"x")
    os.setxattr(with_xattr.path / "f", "user.a", b"1")
    assert os.getxattr(with_xattr.path / "f", "user.s3.key") == b"f"
    assert len(os.getxattr(with_xattr.path / "f", "user.s3.etag")) == 32
    with_xattr.shell("cp -a f copy; rsync -aX f rsynced")
    for name in ("copy", "rsynced"):
        assert xattrs.decode(with_xattr.ask("metadata", name)["xattr"]) == {"user.a": "MQ=="}
    with pytest.raises(PermissionError):
        os.setxattr(with_xattr.path / "f", "user.s3.etag", b"1")


@pytest.mark.parametrize(("served", "changes"), [("mount", False), ("write_through", True)])
def test_truncating_by_name_to_the_size_that_a_file_has(request, served, changes):
    """The kernel decides it where it gathers writes; ftruncate(2) changes the time everywhere."""
    path = request.getfixturevalue(served).path / "f"
    path.write_bytes(b"abc")
    os.utime(path, ns=(1, 1))
    os.truncate(path, 3)
    assert (path.stat().st_mtime_ns != 1) == changes
    with path.open("r+b") as file:
        os.utime(path, ns=(1, 1))
        os.ftruncate(file.fileno(), 3)
        assert path.stat().st_mtime_ns != 1
