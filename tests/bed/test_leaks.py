"""What is there is found, however it is spelt; what is not, is not."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from tests.bed.leaks import leaks, shown_in_proc
from tests.bed.patience import wait_until

SECRET = "wJalr/XUtnFEMI+K7MDENG=bPxRfiCYEXAMPLEKEYabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    "spell",
    [
        str.encode,
        lambda text: quote_plus(text).encode(),
        lambda text: base64.b64encode(text.encode()),
        lambda text: base64.b64encode(f"u:{text}, and more".encode()),
        lambda text: base64.urlsafe_b64encode(f"key={text}".encode()),
        lambda text: text[:30].encode(),
        lambda text: text[-30:].encode(),
    ],
)
def test_every_spelling_is_found(spell):
    text = b"before " + spell(SECRET) + b" after"
    assert leaks({"key": SECRET}, {"log": text}) == ["key in log"]
    assert leaks({"other": SECRET[::-1]}, {"log": text}) == []


def test_a_code_is_found_as_a_word_only():
    assert leaks({"code": "481516"}, {"log": b"code=481516;"}) == ["code in log"]
    assert leaks({"code": "481516"}, {"maps": b"7f481516a000"}) == []


def test_what_proc_shows_of_a_child_is_seen():
    program = f"import subprocess, sys; subprocess.run(['sleep', '9']); '{SECRET}'"
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "TOKEN": SECRET[::-1]}, start_new_session=True
    ) as process:
        try:
            # It shows nothing for a moment, when the program begins to run.
            wait_until(Path(f"/proc/{process.pid}/environ").read_bytes, 10)
            found = " ".join(leaks({"a": SECRET, "b": SECRET[::-1]}, shown_in_proc(process.pid)))
            assert f"a in /proc/{process.pid}/cmdline" in found
            assert f"b in /proc/{process.pid}/environ" in found
        finally:
            os.killpg(process.pid, 9)
