"""A row is judged by its goals: run by run against the best peer that counts."""

import pytest

from bench.measuring import Cell, Run
from bench.programs import FLOOR
from bench.results import Row
from bench.server import Asked
from bench.workloads import WORKLOADS

READ = next(workload for workload in WORKLOADS if workload.name == "read")
APPEND = next(workload for workload in WORKLOADS if workload.name == "append")


def cell(*seconds, cpu=1.0, **kinds):
    asked = Asked(kinds=kinds)
    return Cell(runs=[Run(seconds=s, cpu=cpu, peak_rss_bytes=1 << 20, asked=asked) for s in seconds])


def verdicts(workload, *, tls=False, latency_ms=0, **cells):
    row = Row(workload=workload, latency_ms=latency_ms, tls=tls, cells=cells)
    return {verdict.measure: verdict for verdict in row.verdicts()}


def test_ratios_are_taken_run_by_run_against_the_fastest_peer():
    found = verdicts(READ, s3rolefs=cell(1, 2, 3), s3fs=cell(2, 2, 2), rclone=cell(4, 4, 4))["seconds"]
    assert (found.best, found.ratio, found.low, found.high) == ("s3fs", 1.0, 0.5, 1.5)
    assert found.reached is False


def test_a_goal_names_whose_cpu_counts():
    cells = {"s3rolefs": cell(1, cpu=0.7), "rclone": cell(1, cpu=0.1), "s3fs": cell(1, cpu=1.0)}
    found = verdicts(READ, **cells)["cpu"]
    assert found.best == "s3fs"
    assert found.reached is True


def test_a_goal_without_its_peer_is_not_judged():
    assert verdicts(APPEND, s3rolefs=cell(1), goofys=cell(2))["seconds"].reached is None


def test_a_peer_that_was_stopped_counts_with_the_time_it_had():
    stopped = Cell(runs=[], failure="> 10.0 s", stopped_seconds=10.0)
    found = verdicts(APPEND, s3rolefs=cell(1), s3fs=stopped)["seconds"]
    assert found.ratio == pytest.approx(0.1)
    assert found.at_most is True


def test_a_peer_that_was_stopped_is_not_the_best_beside_a_quicker_one():
    stopped = Cell(runs=[], failure="> 4.0 s", stopped_seconds=4.0)
    found = verdicts(READ, s3rolefs=cell(1), rclone=stopped, s3fs=cell(2))["seconds"]
    assert (found.best, found.ratio, found.at_most) == ("s3fs", 0.5, False)


def test_what_we_fail_is_never_reached():
    assert verdicts(READ, s3rolefs=Cell(runs=[], failure="no"), s3fs=cell(2))["seconds"].reached is False


@pytest.mark.parametrize(("tls", "limit"), [(False, 0.9), (True, 1.0)])
def test_https_has_an_allowance(tls, limit):
    assert verdicts(READ, tls=tls, s3rolefs=cell(1), s3fs=cell(1))["seconds"].limit == pytest.approx(limit)


def test_requests_are_priced_and_compared_with_those_that_are_quick_enough():
    cells = {"s3rolefs": cell(1, GET=10, LIST=1), "s3fs": cell(1.4, GET=20), "rclone": cell(2, GET=1)}
    found = verdicts(READ, **cells)["price"]
    assert found.best == "s3fs"
    assert found.ratio == pytest.approx(22 / 20)
    assert found.reached is True
    assert Asked(kinds={"DELETE": 5, "PUT": 1, "HEAD": 2}).price == 14


def test_the_floor_is_no_peer_but_says_what_can_be_reached():
    cells = {"s3rolefs": cell(3, GET=40), "s3fs": cell(2, 2, GET=20), FLOOR: cell(1.9, GET=10)}
    found = verdicts(READ, **cells)
    assert (found["seconds"].best, found["price"].best) == ("s3fs", "s3fs")
    assert found["seconds"].floor == pytest.approx(0.95)
    assert found["seconds"].reachable is False
    assert (found["price"].floor, found["price"].reachable) == (0.5, True)
    assert verdicts(READ, **cells | {FLOOR: cell(1.8)})["seconds"].reachable is True
    del cells[FLOOR]
    assert verdicts(READ, **cells)["seconds"].reachable is True


def test_requests_that_s3_refused_are_no_floor():
    refused = Cell(runs=[], failure="no")
    found = verdicts(READ, **{"s3rolefs": cell(3), "s3fs": cell(2), FLOOR: refused})
    assert (found["seconds"].floor, found["price"].floor) == (None, None)
