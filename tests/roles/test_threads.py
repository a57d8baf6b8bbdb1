"""Blocking calls that never end cost no more threads than there are seats, and no caller's time."""

import threading

import pytest
import trio

from s3rolefs.errors import CredentialsError, Reason
from s3rolefs.roles.threads import Bench


async def test_calls_that_hang_are_given_up_and_bounded_in_number():
    bench, release, started = Bench(seats=2), threading.Event(), []

    def hang_blocking():
        started.append(threading.get_ident())
        release.wait(20)

    async def give_up():
        with pytest.raises(CredentialsError, match=r"The tool did not answer within 0\.1 s") as caught:
            await bench.run(hang_blocking, limit_seconds=0.1, what="The tool")
        assert caught.value.reason is Reason.UNREACHABLE

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(give_up)
        assert len(started) == 2
        release.set()
        assert await bench.run(lambda: 7, limit_seconds=5, what="The tool") == 7
