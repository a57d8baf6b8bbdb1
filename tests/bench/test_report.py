"""What was measured over http and over https stands in sections of its own, and is read back as it was."""

import re

import pytest

from bench import record, report
from bench.measuring import Cell
from bench.programs import FLOOR
from bench.results import Row
from bench.workloads import WORKLOADS
from tests.bench.test_results import cell

FIND = next(workload for workload in WORKLOADS if workload.name == "find")


def row(**cells):
    return Row(workload=FIND, latency_ms=20, tls=False, cells=cells)


def https(known):
    return Row(workload=known.workload, latency_ms=known.latency_ms, tls=True, cells=known.cells)


def test_a_row_is_read_back_as_it_was(tmp_path):
    stopped = Cell(runs=[], failure="> 6.0 s", stopped_seconds=6.0)
    measured = row(s3rolefs=cell(1, 2, GET=3), s3fs=stopped, rclone=Cell(runs=[], failure="no"))
    record.remember(tmp_path / "known.json", measured)
    assert record.recall(tmp_path / "known.json", tls=False) == [measured]
    assert record.recall(tmp_path / "known.json", tls=True) == []


def test_http_and_https_are_kept_apart(tmp_path):
    near = row(s3rolefs=cell(1), s3fs=cell(2))
    far = https(row(s3rolefs=cell(3), s3fs=cell(4)))
    for measured in (near, far):
        record.remember(tmp_path / "known.json", measured)
    assert record.recall(tmp_path / "known.json", tls=False) == [near]
    assert record.recall(tmp_path / "known.json", tls=True) == [far]


def test_a_row_that_an_older_version_wrote_is_left_out(tmp_path):
    path = tmp_path / "known.json"
    record.remember(path, row(s3rolefs=cell(1)))
    path.write_text(path.read_text().replace("peak_rss_bytes", "memory"))
    assert record.recall(path, tls=False) == []


def test_the_section_says_its_protocol_its_seconds_and_its_peaks(tmp_path):
    measured = https(row(s3rolefs=cell(1), s3fs=cell(2)))
    text = report.section("About.", [measured], [tmp_path / "performance" / "seconds.svg"], tmp_path)
    assert text.startswith("## Over https\n\nAbout.")
    assert "![seconds](performance/seconds.svg)" in text
    assert "| find over 50 × 20, cold | 1.00 | 2.00 |  | 0.50 | ≤ 0.90 | reached |" in text
    assert re.search(r"Peak of resident MiB.*\| 20 \| 1 \| 1 \|", text, re.DOTALL)


def test_a_goal_below_the_floor_is_told_from_one_that_only_we_miss():
    alone = {"s3rolefs": cell(4, GET=1), "s3fs": cell(2, GET=1), FLOOR: cell(3, GET=1)}
    near = {"s3rolefs": cell(4, GET=1), "s3fs": cell(2, GET=1), FLOOR: cell(1, GET=1)}
    [(_, head, [first, second]), *_] = report.tables([row(**alone), row(**near)])
    assert head[1:5] == ["s3rolefs", "s3fs", FLOOR, "s3rolefs / best"]
    assert (first[3], first[-1]) == ("3.00", "floor 1.50")
    assert (second[3], second[-1]) == ("1.00", "**not reached**")
    text = report.score([row(**alone), row(**near)])
    assert text.startswith("2 goals are reached, 2 are not, 1 of them below")


def test_only_what_stands_between_the_marks_is_replaced(tmp_path):
    path = tmp_path / "document.md"
    path.write_text("a\n<!-- growth: begin -->\nold\n<!-- growth: end -->\nb\n")
    report.write(path, ["one", "two"], "growth")
    text = "a\n<!-- growth: begin -->\none\n\ntwo\n<!-- growth: end -->\nb\n"
    assert path.read_text() == text


def test_a_file_without_the_marks_is_left_as_it_is(tmp_path):
    path = tmp_path / "document.md"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="growth: begin"):
        report.write(path, ["one"], "growth")
    assert path.read_text() == "nothing"
