"""Say what is timed: each row names what lies in the bucket, a command, and the goals.

A time of one machine means nothing on another; only the ratio of two programs in one run does. A row more
is an entry in `WORKLOADS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bench import datasets, floor
from bench.datasets import MIB, SMALL_BYTES, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.floor import Floor

Measure = Literal["seconds", "cpu"]
# Those whose close means that S3 has the data, those that only promise it, and one that shows a folder.
DURABLE = frozenset({"s3fs", "goofys", "mount-s3"})
LATE = frozenset({"rclone", "geesefs"})
PASS_THROUGH = frozenset({"bindfs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Set what our `measure` may be, as a ratio to the best of `peers` (None: of all), by latency in ms."""

    ratios: Mapping[int, float]
    peers: frozenset[str] | None = None
    measure: Measure = "seconds"

    def counts(self, program: str) -> bool:
        """Return whether a program is one that we are compared with."""
        return self.peers is None or program in self.peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Describe one row.

    `command` is for sh, runs in the mounted directory and fails when what it sees is wrong; $LOCAL is the
    folder that `put_local` filled, $BENCH this package. Of the peers only `peers` take part. `first` runs
    before it, untimed, on the same mount, or with `remount` on one before with the same caches; with
    `keeps_pages` what the kernel has in its page cache stays there between the two. `after` names the row
    on whose mount, when that has been timed, this one is; `like` one that differs in our `options` only,
    with which it shares the peers' runs. With `writes` the data is put anew for each run,
    and `check` looks at the bucket afterwards: a program that lost data is not fast. What may come `late`
    has time for it until some time after a further mount. `gib` is what CPU seconds are divided by. `floor`
    gives the requests that any mount with the same promises has to wait for.
    """

    name: str
    title: str
    data: Dataset
    command: str
    goals: tuple[Goal, ...]
    peers: frozenset[str] = DURABLE | LATE
    first: str = ""
    remount: bool = False
    keeps_pages: bool = False
    after: str = ""
    like: str = ""
    writes: bool = False
    late: bool = False
    check: Callable[[Any], bool] = field(default=lambda _s3: True)
    options: str = ""
    gib: float | None = None
    counts_price: bool = True
    floor: Floor | None = None


Chain = list[Workload]


def _time(near: float, far: float, peers: frozenset[str] | None = None) -> tuple[Goal, ...]:
    return (Goal(ratios={0: near, 20: far}, peers=peers),)


def _cpu(ratio: float) -> tuple[Goal, ...]:
    peers = frozenset({"s3fs", "goofys", "geesefs", "mount-s3"})
    return (Goal(ratios={0: ratio}, peers=peers, measure="cpu"),)


def _holds(prefix: str, count: int, size_bytes: int) -> Callable[[Any], bool]:
    """Return a check: so many objects with a prefix, all of one size."""
    return lambda s3: list(datasets.sizes(s3, prefix).values()) == [size_bytes] * count


_READ = "dd if=large/read.bin of=/dev/null bs=1M status=none"
# Without the second and third time, what the busy disk refused would be left to the row itself.
_PASSED = "dd if=large/read.bin iflag=nocache count=0 status=none"
_READ_INTO_CACHE = f"for round in 1 2 3; do {_READ} && {_PASSED} || exit 1; done"
_FOUR = "seq 0 3 | xargs -P 4 -I{} dd if=quarters/{}.bin of=/dev/null bs=1M status=none"
_RANDOM = 'python3 -S "$BENCH/randomreads.py" large/read.bin 500'
_LS = "test $(ls -l thousand | wc -l) = 1001"
_FIND = "test $(find wide | wc -l) = 1051"
_DU = "du -s --apparent-size wide >/dev/null"
_GIT_STATUS = 'test "$(git --no-optional-locks -C clone status -b --porcelain)" = "## main"'
_CAT = f"test $(cat thousand/* | wc -c) = {1000 * SMALL_BYTES}"
_GREP = "grep -r nothing-like-it thousand; test $? = 1"
_GREP_TREE = "grep -r nothing-like-it wide; test $? = 1"
_CP_TREE = (
    'copy=$(mktemp -d "$LOCAL/XXXXXX"); cp -r wide "$copy" && '
    'test $(find "$copy" -size 1000c | wc -l) = 1000; status=$?; rm -r "$copy"; exit $status'
)
_WORKERS = (
    'cd thousand; test $(ls | shuf --random-source="$LOCAL/seed" | xargs -P 8 -n 125 cat | wc -c) '
    f"= {1000 * SMALL_BYTES}"
)
_SMALL_WRITES = "dd if=/dev/zero of=new/file bs=4k count=65536 conv=fsync status=none"
_MOUNTPOINT = frozenset({"mount-s3"})
_S3FS = frozenset({"s3fs"})

WORKLOADS = (
    Workload(
        name="read",
        title="read 1 GiB, cold",
        data=datasets.LARGE,
        command=_READ,
        goals=_time(0.9, 0.8) + _cpu(0.75),
        gib=1,
        floor=floor.four_parts,
    ),
    Workload(
        name="random1",
        title="500 random 4 KiB reads, one at a time",
        data=datasets.LARGE,
        command=f"{_RANDOM} 1",
        goals=_time(0.9, 1.0),
        counts_price=False,
    ),
    Workload(
        name="random16",
        title="500 random 4 KiB reads, 16 at once",
        data=datasets.LARGE,
        command=f"{_RANDOM} 16",
        goals=_time(0.9, 1.0),
        counts_price=False,
    ),
    Workload(
        name="disk-cache",
        title="1 GiB from the disk cache after a remount",
        data=datasets.LARGE,
        command=_READ,
        peers=PASS_THROUGH,
        first=_READ_INTO_CACHE,
        remount=True,
        keeps_pages=True,
        goals=_time(1.11, 1.11, PASS_THROUGH),
        options="cache_size=4G",
        gib=1,
        counts_price=False,
    ),
    Workload(
        name="disk-cache-dropped",
        title="… with the page cache dropped",
        data=datasets.LARGE,
        command=_READ,
        peers=PASS_THROUGH,
        first=_READ_INTO_CACHE,
        remount=True,
        goals=_time(1.11, 1.11, PASS_THROUGH),
        options="cache_size=4G",
        gib=1,
        counts_price=False,
    ),
    Workload(
        name="read4",
        title="read 4 × 256 MiB at once, cold",
        data=datasets.QUARTERS,
        command=_FOUR,
        goals=_time(0.9, 0.8) + _cpu(0.75),
        gib=1,
        floor=floor.four_parts,
    ),
    Workload(
        name="ls-listing",
        title="ls -l of 1,000, `metadata=listing`",
        data=datasets.THOUSAND,
        command=_LS,
        goals=_time(0.7, 1.1, _MOUNTPOINT),
        options="metadata=listing",
    ),
    Workload(
        name="ls-unseen",
        title="ls -l of 1,000, never seen",
        data=datasets.THOUSAND,
        command=_LS,
        like="ls-listing",
        goals=_time(0.7, 0.5, _S3FS),
        floor=floor.each("HEAD", floor.MANY),
    ),
    Workload(
        name="ls-seen",
        title="ls -l of 1,000, seen by the mount before",
        data=datasets.THOUSAND,
        command=_LS,
        first=_LS,
        remount=True,
        goals=_time(0.7, 1.1, _MOUNTPOINT),
    ),
    Workload(
        name="find",
        title="find over 50 × 20, cold",
        data=datasets.WIDE,
        command=_FIND,
        goals=_time(1.0, 0.8),
        floor=floor.each("HEAD", floor.MANY),
    ),
    Workload(
        name="du",
        title="du over 50 × 20, cold",
        data=datasets.WIDE,
        command=_DU,
        goals=_time(1.0, 0.8),
        floor=floor.each("HEAD", floor.MANY),
    ),
    Workload(
        name="git-status",
        title="git status of a clone of 2,000 files, cold",
        data=datasets.CLONE,
        command=_GIT_STATUS,
        goals=_time(1.0, 0.8),
        floor=floor.each("HEAD", floor.MANY),
    ),
    Workload(
        name="find-listing",
        title="find over 50 × 20, cold, `metadata=listing`",
        data=datasets.WIDE,
        command=_FIND,
        like="find",
        goals=_time(1.0, 0.8),
        options="metadata=listing",
    ),
    Workload(
        name="du-listing",
        title="du over 50 × 20, cold, `metadata=listing`",
        data=datasets.WIDE,
        command=_DU,
        like="du",
        goals=_time(1.0, 0.8),
        options="metadata=listing",
    ),
    Workload(
        name="git-status-listing",
        title="git status of a clone of 2,000 files, cold, `metadata=listing`",
        data=datasets.CLONE,
        command=_GIT_STATUS,
        like="git-status",
        goals=_time(1.0, 0.8),
        options="metadata=listing",
    ),
    Workload(
        name="cat",
        title="cat 1,000 × 4 KiB, cold",
        data=datasets.THOUSAND,
        command=_CAT,
        goals=_time(0.5, 0.06),
        floor=floor.each("GET", floor.MANY),
    ),
    Workload(
        name="cat-warm",
        title="… again, warm",
        data=datasets.THOUSAND,
        command=_CAT,
        after="cat",
        goals=_time(0.5, 0.5),
    ),
    Workload(
        name="grep",
        title="grep -r over 1,000 × 4 KiB, cold",
        data=datasets.THOUSAND,
        command=_GREP,
        goals=_time(0.5, 0.06),
        floor=floor.each("GET", floor.MANY),
    ),
    Workload(
        name="grep-warm",
        title="… again, warm",
        data=datasets.THOUSAND,
        command=_GREP,
        after="grep",
        goals=_time(0.5, 0.5),
    ),
    Workload(
        name="grep-tree",
        title="grep -r over 50 × 20 of 1,000 bytes, cold",
        data=datasets.WIDE,
        command=_GREP_TREE,
        goals=_time(0.5, 0.06),
        floor=floor.each("GET", floor.MANY),
    ),
    Workload(
        name="cp-tree",
        title="cp -r of 50 × 20 of 1,000 bytes out of the mount, cold",
        data=datasets.WIDE,
        command=_CP_TREE,
        goals=_time(0.5, 0.06),
        floor=floor.each("GET", floor.MANY),
    ),
    Workload(
        name="workers",
        title="8 workers read 1,000 × 4 KiB in random order, cold",
        data=datasets.THOUSAND,
        command=_WORKERS,
        goals=_time(0.5, 0.5),
        floor=floor.each("GET", floor.MANY),
    ),
    Workload(
        name="workers-warm",
        title="… again, warm",
        data=datasets.THOUSAND,
        command=_WORKERS,
        after="workers",
        goals=_time(0.5, 0.5),
    ),
    Workload(
        name="cp",
        title="cp of 200 small files, durable",
        data=datasets.EMPTY,
        command='cp -r "$LOCAL/small" new/small',
        check=_holds("new/small/", 200, SMALL_BYTES),
        goals=_time(0.6, 0.35, DURABLE),
        peers=DURABLE,
        writes=True,
        floor=floor.puts(200, "new/"),
    ),
    Workload(
        name="cp-writeback",
        title="cp of 200 small files, `writeback`",
        data=datasets.EMPTY,
        command='cp -r "$LOCAL/small" new/small',
        check=_holds("new/small/", 200, SMALL_BYTES),
        goals=_time(0.7, 1.0, LATE),
        peers=LATE,
        writes=True,
        late=True,
        options="writeback",
    ),
    Workload(
        name="tar",
        title="tar x of 500, durable",
        data=datasets.EMPTY,
        command='tar -xf "$LOCAL/tree.tar" -C new',
        check=_holds("new/tree/", 500, SMALL_BYTES),
        goals=_time(0.6, 0.55, DURABLE),
        peers=DURABLE,
        writes=True,
        floor=floor.puts(500, "new/"),
    ),
    Workload(
        name="tar-writeback",
        title="tar x of 500, `writeback`",
        data=datasets.EMPTY,
        command='tar -xf "$LOCAL/tree.tar" -C new',
        check=_holds("new/tree/", 500, SMALL_BYTES),
        goals=_time(1.0, 1.0, LATE),
        peers=LATE,
        writes=True,
        late=True,
        options="writeback",
    ),
    Workload(
        name="rm",
        title="rm -r of 200, durable",
        data=datasets.GONE,
        command="rm -r gone",
        check=_holds("gone/", 0, 0),
        goals=_time(0.6, 0.9, DURABLE),
        peers=DURABLE,
        writes=True,
        floor=floor.removals,
    ),
    Workload(
        name="rm-writeback",
        title="rm -r of 200, `writeback`",
        data=datasets.GONE,
        command="rm -r gone",
        check=_holds("gone/", 0, 0),
        goals=_time(1.0, 1.0, LATE),
        peers=LATE,
        writes=True,
        late=True,
        options="writeback",
        floor=floor.gathered_removals,
    ),
    Workload(
        name="mv-tree",
        title="mv of a directory of 200, durable",
        data=datasets.MOVED,
        command="mv moved/before moved/after",
        check=lambda s3: _holds("moved/before/", 0, 0)(s3) and _holds("moved/after/", 200, SMALL_BYTES)(s3),
        goals=_time(0.6, 0.15, DURABLE),
        peers=DURABLE,
        writes=True,
    ),
    Workload(
        name="write",
        title="write 512 MiB + fsync",
        data=datasets.EMPTY,
        command="dd if=/dev/zero of=new/file bs=1M count=512 conv=fsync status=none",
        check=_holds("new/file", 1, 512 * MIB),
        goals=_time(0.9, 0.9, DURABLE) + _cpu(0.8),
        peers=DURABLE,
        writes=True,
        gib=0.5,
    ),
    Workload(
        name="mv-file",
        title="mv of 512 MiB",
        data=datasets.BIG,
        command="mv big/before.bin big/after.bin",
        check=_holds("big/after.bin", 1, 512 * MIB),
        goals=_time(1.1, 0.9, DURABLE),
        peers=DURABLE,
        writes=True,
    ),
    Workload(
        name="small-writes",
        title="256 MiB in 4 KiB writes + fsync",
        data=datasets.EMPTY,
        command=_SMALL_WRITES,
        check=_holds("new/file", 1, 256 * MIB),
        goals=_time(0.8, 0.8, DURABLE),
        peers=DURABLE,
        writes=True,
    ),
    Workload(
        name="small-writes-xattr",
        title="… with `xattr`",
        data=datasets.EMPTY,
        command=_SMALL_WRITES,
        like="small-writes",
        check=_holds("new/file", 1, 256 * MIB),
        goals=_time(1.0, 1.0, DURABLE),
        peers=DURABLE,
        writes=True,
        options="xattr",
    ),
    Workload(
        name="append",
        title="append 1 KiB to 256 MiB",
        data=datasets.LOG,
        command='head -c 1024 "$LOCAL/seed" >> log/log.bin',
        check=_holds("log/log.bin", 1, 256 * MIB + 1024),
        goals=_time(0.3, 0.3, _S3FS),
        peers=DURABLE,
        writes=True,
        floor=floor.part_copy,
    ),
)


def grouped(chosen: Sequence[Workload]) -> list[list[Chain]]:
    """Return chains of rows that share their mounts, in groups of those that share the peers' runs.

    A row brings the one it comes after. Groups with the same data follow one another.
    """
    wanted = {workload.name for workload in chosen} | {workload.after for workload in chosen}
    chains: dict[str, Chain] = {}
    groups: dict[str, list[Chain]] = {}
    for workload in WORKLOADS:
        if workload.name not in wanted:
            continue
        if workload.after:
            chains[workload.after].append(workload)
            continue
        chains[workload.name] = [workload]
        groups.setdefault(workload.like or workload.name, []).append(chains[workload.name])
    prefixes = list(dict.fromkeys(chain[0].data.prefix for [chain, *_] in groups.values()))
    return sorted(groups.values(), key=lambda group: prefixes.index(group[0][0].data.prefix))
