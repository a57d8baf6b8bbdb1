"""A peer is stopped when longer could not change how a goal stands, and no sooner."""

import itertools
from dataclasses import replace

import pytest

from bench.measuring import LIMIT_SECONDS, Cell, patience_seconds
from bench.workloads import WORKLOADS, grouped
from tests.bench.test_results import cell

BY_NAME = {workload.name: workload for workload in WORKLOADS}


def patience(row, peer, *, latency_ms=20, **cells):
    return patience_seconds(BY_NAME[row], latency_ms, {peer: Cell(runs=[]), **cells}, peer)


def test_ours_and_whoever_comes_before_us_have_all_the_time():
    assert patience("find", "s3rolefs", s3fs=cell(1)) == LIMIT_SECONDS
    assert patience("find", "s3fs", s3rolefs=Cell(runs=[])) == LIMIT_SECONDS


def test_a_peer_is_stopped_at_twice_the_best_peer():
    assert patience("cat", "s3fs", s3rolefs=cell(2), geesefs=cell(4)) == pytest.approx(8)


def test_a_peer_is_stopped_when_our_goal_is_surely_reached():
    # The goal is 0.8.
    assert patience("find", "s3fs", s3rolefs=cell(8)) == pytest.approx(1.25 * 8 / 0.8)


def test_a_goal_of_a_few_hundredths_leaves_time_to_show_it():
    # The goal is 0.06: 1.25 * 2 / 0.06 = 41.7.
    assert patience("cat", "s3fs", s3rolefs=cell(2), goofys=cell(25)) == pytest.approx(1.25 * 2 / 0.06)


def test_the_peer_that_a_goal_names_is_not_stopped_for_another_that_is_quicker():
    assert patience("append", "s3fs", s3rolefs=cell(3), goofys=cell(1)) == pytest.approx(1.25 * 3 / 0.3)
    assert patience("append", "goofys", s3rolefs=cell(3), s3fs=cell(4)) == pytest.approx(8)


def test_whoever_is_comparable_in_price_is_measured():
    assert patience("find", "s3fs", s3rolefs=cell(10), geesefs=cell(1)) == pytest.approx(15)


def test_where_cpu_is_compared_nobody_is_stopped():
    assert patience("read", "s3fs", latency_ms=0, s3rolefs=cell(1), goofys=cell(1)) == LIMIT_SECONDS


def test_a_second_run_is_not_stopped():
    assert patience("find", "s3fs", s3fs=cell(3), s3rolefs=cell(1), geesefs=cell(1)) == LIMIT_SECONDS


def test_a_stopped_peer_is_a_bound_for_the_next():
    stopped = Cell(runs=[], failure="> 6.0 s", stopped_seconds=6.0)
    assert patience("find", "rclone", s3rolefs=cell(7), s3fs=stopped) == pytest.approx(1.25 * 7 / 0.8)
    assert patience("find", "rclone", s3rolefs=cell(7.9), s3fs=stopped) == pytest.approx(12)


def test_a_row_brings_the_one_it_comes_after():
    groups = grouped([BY_NAME["cat-warm"], BY_NAME["find"]])
    assert [[[row.name for row in chain] for chain in group] for group in groups] == [
        [["find"]],
        [["cat", "cat-warm"]],
    ]


def test_rows_that_differ_in_our_options_share_the_peers_runs_but_need_not_both_be_chosen():
    both = grouped([BY_NAME["small-writes"], BY_NAME["small-writes-xattr"]])
    assert [[chain[0].name for chain in group] for group in both] == [["small-writes", "small-writes-xattr"]]
    assert [len(group) for group in grouped([BY_NAME["small-writes-xattr"]])] == [1]


def test_rows_with_the_same_data_follow_one_another_and_none_is_lost():
    groups = grouped(WORKLOADS)
    prefixes = [group[0][0].data.prefix for group in groups]
    changes = [after for before, after in itertools.pairwise(prefixes) if before != after]
    assert len(set(prefixes)) == 1 + len(changes)
    assert sorted(row.name for group in groups for chain in group for row in chain) == sorted(BY_NAME)


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if w.after], ids=lambda workload: workload.name)
def test_rows_on_one_mount_have_the_same_data_and_peers(workload):
    before = BY_NAME[workload.after]
    assert (before.data, before.peers, before.options) == (workload.data, workload.peers, workload.options)
    assert not any((workload.first, workload.writes, before.writes))


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if w.like], ids=lambda workload: workload.name)
def test_rows_that_are_alike_differ_in_our_options_and_goals_only(workload):
    other = BY_NAME[workload.like]
    own = {"name": other.name, "title": other.title, "like": "", "check": other.check, "floor": other.floor}
    assert workload.options != other.options
    assert replace(workload, **own, options=other.options, goals=other.goals) == other
