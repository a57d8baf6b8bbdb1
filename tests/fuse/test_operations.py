"""What programs see through a real kernel mount."""

import ctypes
import errno
import mmap
import os
import stat
import subprocess
import sys
import time

import pytest

from tests.bed.patience import wait_until
from tests.fuse.conftest import TTL_SECONDS

MIB = 1 << 20
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old, new, flags):
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


# How many PUTs ordinary things cost


def test_a_shell_redirection_is_one_put(mount):
    mount.shell("sh -c 'echo hi > f'")
    assert mount.get("f") == b"hi\n"
    assert mount.ask("counts")["put"] == 1


def test_touch_is_one_put(mount):
    mount.shell("touch f")
    wait_until(lambda: mount.ask("keys") == ["f"], 5)
    assert mount.ask("counts")["put"] == 1


def test_a_log_written_by_fifty_children_is_fifty_puts(mount):
    mount.shell('for n in $(seq 50); do sh -c "echo line $n"; done > log')
    assert mount.get("log").count(b"line") == 50
    assert mount.ask("counts")["put"] == 50


def test_a_copied_file_with_its_times_is_one_put_and_one_copy(mount, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    os.utime(source, ns=(10**18, 10**18 + 5))
    mount.shell(f"cp -p {source} f")
    assert (mount.path / "f").stat().st_mtime_ns == 10**18 + 5
    counts = mount.ask("counts")
    assert counts["put"] == 1
    assert counts.get("copy", 0) == 0


# Files


def test_append_and_read_back(mount):
    with (mount.path / "f").open("ab") as first, (mount.path / "f").open("ab") as second:
        for number in range(3):
            for handle in (first, second):
                handle.write(f"{number}".encode())
                handle.flush()
    assert (mount.path / "f").read_bytes() == mount.get("f") == b"001122"


def test_sparse_files_read_zeros(mount):
    with (mount.path / "f").open("wb+") as handle:
        handle.seek(3 * MIB)
        handle.write(b"end")
        handle.seek(MIB)
        assert handle.read(4) == b"\0\0\0\0"
    assert mount.get("f") == bytes(3 * MIB) + b"end"
    os.truncate(mount.path / "f", 4 * MIB)
    assert (mount.path / "f").read_bytes() == bytes(3 * MIB) + b"end" + bytes(MIB - 3)


def test_a_shared_mapping_is_stored_also_when_its_descriptor_was_closed_before(mount):
    mount.put("f", b"0" * 8192)
    descriptor = os.open(mount.path / "f", os.O_RDWR)
    mapping = mmap.mmap(descriptor, 8192)
    os.close(descriptor)
    mapping[5000:5004] = b"mmap"
    mapping.close()
    wait_until(lambda: mount.get("f")[5000:5004] == b"mmap", 5)
    assert mount.get("f") == b"0" * 5000 + b"mmap" + b"0" * 3188


def test_a_private_mapping_reads_and_changes_nothing(mount):
    mount.put("f", b"0" * 8192)
    with (mount.path / "f").open("rb") as handle:
        mapping = mmap.mmap(
            handle.fileno(), 8192, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    mapping[:4] = b"mine"
    mapping.close()
    assert mount.get("f") == b"0" * 8192


def test_an_unlinked_file_is_read_and_written_until_it_is_closed(mount):
    mount.put("f", b"a" * (2 * MIB))
    with (mount.path / "f").open("rb+") as handle:
        (mount.path / "f").unlink()
        assert mount.ask("keys") == []
        handle.seek(MIB)
        handle.write(b"b")
        handle.seek(0)
        assert handle.read() == b"a" * MIB + b"b" + b"a" * (MIB - 1)
        assert os.fstat(handle.fileno()).st_nlink == 0
    assert list(mount.path.iterdir()) == []


def test_a_rename_over_an_open_file(mount):
    mount.put("old", b"old content")
    mount.put("new", b"new")
    with (mount.path / "old").open("rb") as handle:
        (mount.path / "new").rename(mount.path / "old")
        assert handle.read() == b"old content"
    assert (mount.path / "old").read_bytes() == b"new"
    assert mount.ask("keys") == ["old"]


def test_rename_flags(mount):
    mount.put("a", b"a")
    mount.put("b", b"b")
    with pytest.raises(FileExistsError):
        renameat2(mount.path / "a", mount.path / "b", RENAME_NOREPLACE)
    with pytest.raises(OSError, match="Invalid argument"):
        renameat2(mount.path / "a", mount.path / "b", RENAME_EXCHANGE)
    renameat2(mount.path / "a", mount.path / "c", RENAME_NOREPLACE)
    assert mount.ask("keys") == ["b", "c"]


def test_exclusive_creation_of_what_is_there_fails_at_once(mount):
    mount.put("f")
    with pytest.raises(FileExistsError):
        (mount.path / "f").open("x")


def test_a_large_file_written_and_read_back(mount):
    mount.shell("head -c 40000000 /dev/urandom > f; sha256sum < f > sum; sha256sum < f | cmp - sum")
    assert len(mount.get("f")) == 40_000_000


def test_links(mount):
    (mount.path / "link").symlink_to("../target")
    assert (mount.path / "link").readlink().name == "target"
    assert mount.get("link") == b"../target"
    mount.put("f")
    with pytest.raises(PermissionError):
        os.link(mount.path / "f", mount.path / "hard")


def test_device_nodes_are_not_permitted(mount):
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        with pytest.raises(PermissionError):
            os.mknod(mount.path / "device", kind | 0o600, os.makedev(1, 3))
    os.mknod(mount.path / "f", stat.S_IFREG | 0o600)
    assert mount.ask("keys") == ["f"]


def test_what_is_not_supported_says_so(mount):
    with (mount.path / "f").open("wb") as handle:
        assert libc.fallocate(handle.fileno(), 0, ctypes.c_long(0), ctypes.c_long(10)) == -1
        assert ctypes.get_errno() == errno.ENOTSUP
        with pytest.raises(OSError, match="not supported"):
            os.setxattr(handle.fileno(), "user.x", b"y")
        with pytest.raises(OSError, match="not supported"):
            os.getxattr(handle.fileno(), "user.x")


def test_modes_owners_and_times_are_kept(mount):
    mount.put("f", b"x")
    (mount.path / "f").chmod(0o4711)
    os.chown(mount.path / "f", 5, 6)
    os.utime(mount.path / "f", ns=(5, 1_234_567_890_123_456_789))
    found = (mount.path / "f").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (
        0o711,
        5,
        6,
    )  # chown clears set-user-id
    assert (found.st_atime_ns, found.st_mtime_ns) == (5, 1_234_567_890_123_456_789)
    metadata = mount.ask("metadata", "f")
    assert (metadata["mode"], metadata["uid"], metadata["gid"]) == (str(0o100711), "5", "6")
    assert metadata["mtime"] == "1234567890.123456789"


@pytest.mark.parametrize("text", ["-1.5", "-0.000000001", "999999999999", "0"])
def test_times_of_all_ages(mount, text):
    mount.put("f", b"", mtime=text)
    assert mount.shell("stat -c %Y f").strip() == {"-1.5": "-2", "-0.000000001": "-1"}.get(text, text)


def test_statfs(mount):
    found = os.statvfs(mount.path)
    assert found.f_namemax == 255
    assert found.f_bavail > 0
    assert found.f_blocks * found.f_frsize >= 1 << 60
    assert mount.shell("df --output=source . | tail -1").strip() == "s3://memory"


# Directories


def test_ls_of_a_thousand_needs_no_head_and_the_second_ls_l_no_request(mount):
    for number in range(1000):
        mount.put(f"{number:04}")
    mount.ask("counts")
    assert len(mount.shell("ls -U | cat").split()) == 1000
    assert mount.ask("counts") == {"list_page": 1}
    first = mount.shell("ls -l")
    assert mount.ask("counts") == {"head": 1000}
    assert mount.shell("ls -l") == first
    assert mount.ask("counts") == {}
    assert len(mount.shell("find . -type f").split()) == 1000
    assert mount.ask("counts") == {}


def test_a_directory_lists_itself_and_the_one_above(mount):
    (mount.path / "d").mkdir()
    assert mount.shell("ls -a d").split() == [".", ".."]
    assert mount.shell("ls -ai d | head -1").split()[0] == str((mount.path / "d").stat().st_ino)
    assert mount.shell("ls -ai d | tail -1").split()[0] == str(mount.path.stat().st_ino)


def test_directories_are_made_moved_and_removed(mount):
    mount.put("implicit/f")
    mount.shell(
        "mkdir -p a/b/c; echo x > a/b/c/f; mv a z; rmdir z 2>/dev/null && exit 1; cat z/b/c/f; rm -r z"
    )
    assert mount.ask("keys") == ["implicit/f"]
    mount.shell("rm implicit/f; rmdir implicit")
    assert mount.ask("keys") == []


def test_rm_r_of_many_files_in_several_listings(mount):
    mount.shell("mkdir d; cd d; touch $(seq 1500)")
    assert len(mount.shell("ls d").split()) == 1500
    mount.shell("rm -r d")
    assert list(mount.path.iterdir()) == []
    assert mount.ask("keys") == []


def test_references_survive_listings_that_name_entries_without_attributes(short_lived):
    """Listing a known, outdated entry must not take its inode away from who holds it."""
    short_lived.put("d/")
    held = os.open(short_lived.path / "d", os.O_RDONLY)
    for _ in range(3):
        time.sleep(TTL_SECONDS * 1.1)
        assert [path.name for path in short_lived.path.iterdir()] == ["d"]
        assert os.fstat(held).st_ino
    os.close(held)


# The kernel's caches, and another client


def changed_elsewhere(mount, key, content):
    """Wait until the kernel may not believe any more what it knew of a key that somebody else replaces."""
    mount.put(key, content)
    time.sleep(TTL_SECONDS * 1.1)


@pytest.mark.parametrize("after", [b"BBBB", b"longer than before", b"b", b""])
def test_the_page_cache_never_shows_an_old_version_beyond_its_time(short_lived, after):
    path = short_lived.path / "f"
    short_lived.put("f", b"aaaa")
    with path.open("rb") as before:
        assert path.read_bytes() == b"aaaa"
        number = path.stat().st_ino
        changed_elsewhere(short_lived, "f", after)
        assert path.read_bytes() == after
        assert path.stat().st_size == len(after)
        assert path.stat().st_ino != number
        # Who had it open goes on with the version he opened, from what is cached.
        assert before.read() == b"aaaa"


def test_a_mapping_of_a_replaced_file_stays_what_it_was(short_lived):
    short_lived.put("f", b"a" * 4096)
    with (
        (short_lived.path / "f").open("rb") as handle,
        mmap.mmap(handle.fileno(), 4096, prot=mmap.PROT_READ) as mapping,
    ):
        assert mapping[:4] == b"aaaa"
        changed_elsewhere(short_lived, "f", b"b" * 4096)
        assert (short_lived.path / "f").read_bytes() == b"b" * 4096
        assert mapping[:] == b"a" * 4096


def test_a_file_removed_elsewhere_is_gone(short_lived):
    short_lived.put("f", b"x")
    assert (short_lived.path / "f").read_bytes() == b"x"
    short_lived.ask("delete", "f")
    time.sleep(TTL_SECONDS * 1.1)
    assert not (short_lived.path / "f").exists()
    assert list(short_lived.path.iterdir()) == []


def test_a_file_replaced_by_a_directory_and_back(short_lived):
    path = short_lived.path / "f"
    short_lived.put("f", b"x")
    assert path.read_bytes() == b"x"
    short_lived.ask("delete", "f")
    changed_elsewhere(short_lived, "f/below", b"y")
    assert (path / "below").read_bytes() == b"y"
    short_lived.ask("delete", "f/below")
    changed_elsewhere(short_lived, "f", b"z")
    assert path.read_bytes() == b"z"


def test_a_file_that_becomes_a_symlink_elsewhere(short_lived):
    short_lived.put("f", b"target")
    assert (short_lived.path / "f").read_bytes() == b"target"
    short_lived.put("f", b"target", mode=str(stat.S_IFLNK | 0o777))
    time.sleep(TTL_SECONDS * 2.2)  # same ETag, same second: told apart once the first answer is doubted
    assert str((short_lived.path / "f").readlink()) == "target"


def test_a_file_made_elsewhere_appears_when_absence_is_no_longer_believed(short_lived):
    assert not (short_lived.path / "f").exists()
    short_lived.put("f", b"x")
    wait_until((short_lived.path / "f").exists, TTL_SECONDS * 2.5)


def test_an_append_after_a_change_elsewhere_goes_behind_it(short_lived):
    short_lived.put("f", b"one\n")
    assert (short_lived.path / "f").read_bytes() == b"one\n"
    changed_elsewhere(short_lived, "f", b"one\ntwo\n")
    short_lived.shell("echo three >> f")
    assert short_lived.get("f") == b"one\ntwo\nthree\n"


def test_a_write_within_the_time_that_loses_to_somebody_elses_is_stale_at_close(write_through):
    write_through.put("f", b"one")
    handle = (write_through.path / "f").open("r+b", buffering=0)
    write_through.put("f", b"two")
    handle.write(b"X")
    with pytest.raises(OSError, match="Stale") as failure:
        handle.close()
    assert failure.value.errno == errno.ESTALE
    assert write_through.get("f") == b"two"
    assert (write_through.path / "f").read_bytes() == b"two"


@pytest.mark.parametrize("size", [1, 4096])
def test_a_gathered_write_that_loses_to_somebody_elses_is_stale_at_the_latest_at_close(mount, size):
    mount.put("f", b"one" * 4096)
    handle = os.open(mount.path / "f", os.O_RDWR)
    mount.put("f", b"two")
    failures = []
    # For a part of a page the kernel reads the rest, which nobody has any more.
    for work in (lambda: os.write(handle, b"X" * size), lambda: os.fsync(handle), lambda: os.close(handle)):
        try:
            work()
        except OSError as error:
            failures.append(error.errno)
    assert set(failures) == {errno.ESTALE}
    assert mount.get("f") == b"two"
    assert (mount.path / "f").read_bytes() == b"two"


def test_small_writes_arrive_together(mount):
    mount.shell("dd if=/dev/zero of=f bs=4k count=4096 conv=fsync status=none")
    assert mount.ask("writes") <= 64
    assert mount.get("f") == bytes(16 << 20)


def test_with_write_through_each_write_arrives_before_it_returns(write_through):
    with (write_through.path / "f").open("wb", buffering=0) as file:
        for number in range(10):
            file.write(b"line\n")
            assert write_through.ask("writes") == 1, number


def test_what_the_kernel_took_and_cannot_be_kept_is_told_by_fsync_and_close(mount):
    handle = os.open(mount.path / "f", os.O_CREAT | os.O_WRONLY)
    os.pwrite(handle, b"head", 0)
    os.pwrite(handle, b"x", 5 << 40)
    for work in (os.fsync, os.fsync, os.close):
        with pytest.raises(OSError, match="large") as failure:
            work(handle)
        assert failure.value.errno == errno.EFBIG
    assert mount.get("f").rstrip(b"\0") == b"head"  # the kernel hands over whole pages
    # It forgets the size that it believed in.
    handle = os.open(mount.path / "f", os.O_RDONLY)
    assert os.fstat(handle).st_size == len(mount.get("f"))
    os.close(handle)


def test_with_write_through_a_file_that_is_too_large_is_told_by_write(write_through):
    handle = os.open(write_through.path / "f", os.O_CREAT | os.O_WRONLY)
    with pytest.raises(OSError, match="large") as failure:
        os.pwrite(handle, b"x", 5 << 40)
    assert failure.value.errno == errno.EFBIG
    os.close(handle)


def test_direct_writes_are_seen_at_once_and_move_the_time(mount):
    path = mount.path / "f"
    path.write_bytes(b"before")
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    gathered = os.open(path, os.O_RDWR)
    before = path.stat().st_mtime_ns
    time.sleep(0.02)  # the kernel's clock of times is coarse
    os.pwrite(direct, b"direct", 0)
    assert path.stat().st_mtime_ns > before
    assert os.pread(gathered, 9, 0) == b"direct"
    os.pwrite(gathered, b"ga", 0)
    assert os.pread(direct, 9, 0) == b"garect"
    os.close(direct)
    os.close(gathered)
    assert mount.get("f") == b"garect"


def test_the_time_of_a_write_is_stored_without_a_copy_and_a_time_that_is_set_with_one(mount):
    path = mount.path / "f"
    path.write_bytes(b"content")
    shown = path.stat()
    assert mount.ask("counts").get("copy", 0) == 0
    kept = mount.ask("metadata", "f")
    assert kept["mtime"] == f"{shown.st_mtime_ns // 10**9}.{shown.st_mtime_ns % 10**9:09}"
    assert kept["ctime"] == f"{shown.st_ctime_ns // 10**9}.{shown.st_ctime_ns % 10**9:09}"
    mount.shell("touch -m -d @1000000000.5 f")
    assert mount.ask("counts")["copy"] == 1
    assert mount.ask("metadata", "f")["mtime"] == "1000000000.500000000"
    mount.shell("mv f g; sync g")  # moves its ctime, which the kernel tells with the mtime
    assert mount.ask("counts")["copy"] == 1
    assert (mount.path / "g").stat().st_mtime_ns == 1_000_000_000_500_000_000


def test_times_that_somebody_else_sets_are_seen(short_lived):
    path = short_lived.path / "f"
    path.write_bytes(b"content")
    kept = short_lived.ask("metadata", "f")
    short_lived.put("f", b"content", **{**kept, "mtime": "1000000000.000000000"})
    wait_until(lambda: path.stat().st_mtime == 1_000_000_000, 10)
    # An open file keeps what its descriptors say; the next opening shows the other times.
    with path.open("rb") as open_file:
        short_lived.put("f", b"content", **{**kept, "mtime": "1000000001.000000000"})
        time.sleep(1.5 * TTL_SECONDS)
        os.fstat(open_file.fileno())
        path.stat()
    wait_until(lambda: path.stat().st_mtime == 1_000_000_001, 10)
    assert path.read_bytes() == b"content"


def test_many_processes_at_once(mount):
    script = (
        "import sys; name = sys.argv[1]\nfor n in range(20):\n open(name + str(n), 'w').write(name * n)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, f"p{number}-"], cwd=mount.path) for number in range(4)
    ]
    assert [process.wait(30) for process in running] == [0] * 4
    assert len(list(mount.path.iterdir())) == 80
    assert mount.get("p3-19") == b"p3-" * 19


def test_whoever_finds_a_lock_taken_sees_it(mount):
    assert not (mount.path / "index.lock").exists()
    mount.put("index.lock", b"theirs")
    with pytest.raises(FileExistsError):
        (mount.path / "index.lock").open("x")
    # The kernel believed for a minute that there is none: it is told in the background.
    wait_until((mount.path / "index.lock").exists, 10)
    assert (mount.path / "index.lock").read_bytes() == b"theirs"
