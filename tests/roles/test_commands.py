"""Commands that hand over secrets: bounded in time and output, killed as a whole, never quoted."""

import os
import select
import shlex
import sys

import pytest
import trio

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles import commands


def python(program):
    return shlex.join([sys.executable, "-c", program])


async def output_of(command, largest_bytes=100):
    with trio.fail_after(20):
        return await commands.output_of(command, option="mfa_process", largest_bytes=largest_bytes)


async def refusal(command):
    with pytest.raises(CredentialsError) as caught:
        await output_of(command)
    assert "secret" not in caught.value.message
    assert caught.value.message.startswith("The command of mfa_process (")
    return caught.value


async def test_what_it_prints_is_returned_without_white_space_around_it():
    assert await output_of("printf ' a b\\n\\n'") == "a b"


async def test_words_are_split_as_a_shell_does_but_there_is_no_shell():
    assert await output_of("echo 'a  b' $HOME ; x") == "a  b $HOME ; x"


@pytest.fixture
def typed_ahead():
    """Something waits on our own stdin."""
    ours, theirs = os.pipe()
    before = os.dup(0)
    os.dup2(ours, 0)
    os.write(theirs, b"typed")
    os.close(theirs)
    yield
    os.dup2(before, 0)
    os.close(before)
    os.close(ours)


@pytest.mark.usefixtures("typed_ahead")
async def test_it_has_no_input():
    assert await output_of(python("import sys; print(repr(sys.stdin.read()))")) == "''"


@pytest.mark.parametrize(
    ("command", "reason", "words"),
    [
        ("/no/such/secret-free/program", Reason.SESSION_MISSING, "cannot be run: No such file or directory"),
        (python("print('secret' * 1000)"), Reason.SESSION_MISSING, "printed more than 100 bytes"),
        (python("while True: print('secret' * 1000)"), Reason.SESSION_MISSING, "printed more than 100"),
        (python("print('secret'); raise SystemExit(3)"), Reason.UNREACHABLE, "ended with status 3"),
        (python("import os; os.kill(os.getpid(), 9)"), Reason.UNREACHABLE, "was ended by signal 9"),
        ("true", Reason.SESSION_MISSING, "printed nothing"),
        ("printf '\\377secret'", Reason.SESSION_MISSING, "not text"),
    ],
    ids=["missing", "too long", "flood", "failed", "killed", "silent", "binary"],
)
async def test_what_goes_wrong_is_named_and_nothing_it_printed_is_shown(command, reason, words):
    error = await refusal(command)
    assert error.reason is reason
    assert words in error.message


async def test_one_that_hangs_is_killed_with_what_it_started(monkeypatch, tmp_path):
    monkeypatch.setattr(commands, "_LIMIT_SECONDS", 1.0)
    ledger = tmp_path / "pid"
    error = await refusal(f"sh -c 'sleep 600 & echo $! >{ledger}; wait'")
    assert error.reason is Reason.UNREACHABLE
    assert "did not end within 1 s" in error.message
    try:
        process = os.pidfd_open(int(ledger.read_text()))
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], 5)[0]
    finally:
        os.close(process)
