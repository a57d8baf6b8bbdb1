"""What keys hold cannot make lines of the log."""

import logging

from s3rolefs.mounting.journal import OneLine


def test_a_message_is_one_line_whatever_a_key_holds():
    record = logging.LogRecord("n", logging.WARNING, "f", 1, "%s: no", ("/a\nb\x1b[2J\x7f\x85ü",), None)
    assert OneLine("s3rolefs: %(message)s").format(record) == r"s3rolefs: /a\x0ab\x1b[2J\x7f\x85ü: no"
