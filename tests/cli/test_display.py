"""Facts are shown so that people can read them."""

import pytest

from s3rolefs.cli import display


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_spans(seconds, text):
    assert display.span(seconds) == text


def test_moments():
    assert display.moment(None) is None
    assert display.moment(1_700_000_000, now=1_699_999_940) == "2023-11-14 22:13:20 UTC (in 1 min 0 s)"
    assert display.moment(1_700_000_000, now=1_700_000_005) == "2023-11-14 22:13:20 UTC (5 s ago)"


def test_plain_lines_leave_out_what_is_unknown(capsys):
    display.show({"account": "1", "role": None, "source": "x"}, title="T")
    assert capsys.readouterr().out == "account: 1\nsource:  x\n"


def test_a_table_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    display.show({"source": "[bold]not markup[/bold]"}, title="Title")
    out = capsys.readouterr().out
    assert "Title" in out
    assert "[bold]not markup[/bold]" in out
