"""What the kernel is told when a mount begins: by messages made here, and by what it then does."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from s3rolefs.fuse.handshake import MAX_BACKGROUND, Handshake, improved
from s3rolefs.fuse.patience import Lowlevel

PARALLEL_DIROPS, WRITEBACK = 1 << 18, 1 << 16
REST = bytes(range(32))


def request(offered, *, opcode=26):
    head = struct.pack("=IIQQIIII", 104, opcode, 7, 0, 0, 0, 0, 0)
    return head + struct.pack("=IIII", 7, 40, 131072, offered) + bytes(48)


def reply(flags, *, background=0, congestion=0, error=0):
    body = struct.pack("=IIIIHH", 7, 31, 131072, flags, background, congestion) + REST
    return struct.pack("=IiQ", 16 + len(body), error, 7) + body


@pytest.fixture
def device():
    """Two ends: what the kernel holds, and what stands for the descriptor of a session."""
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with kernel, ours:
        yield kernel, ours.fileno()


def test_what_the_kernel_offers_is_taken():
    done = improved(request(PARALLEL_DIROPS | WRITEBACK), reply(WRITEBACK))
    assert done == reply(
        WRITEBACK | PARALLEL_DIROPS, background=MAX_BACKGROUND, congestion=MAX_BACKGROUND * 3 // 4
    )


def test_what_the_kernel_does_not_offer_is_not_asked_for():
    done = improved(request(WRITEBACK), reply(WRITEBACK, background=5, congestion=4))
    assert done == reply(WRITEBACK, background=5, congestion=4)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (request(PARALLEL_DIROPS, opcode=1), reply(0)),
        (request(PARALLEL_DIROPS), reply(0, error=-71)),
        (request(PARALLEL_DIROPS), reply(0)[:24]),
        (request(PARALLEL_DIROPS), reply(0) + b"more"),
        (b"", reply(0)),
    ],
)
def test_other_messages_pass_as_they_are(asked, said):
    assert improved(asked, said) == said


def test_only_the_first_request_and_its_answer_pass_through_our_hands(device):
    kernel, descriptor = device
    kernel.send(request(PARALLEL_DIROPS))
    handshake = Handshake()
    handshake.begin(descriptor)
    assert os.read(descriptor, 8192) == request(PARALLEL_DIROPS)
    assert not handshake.finish()
    os.write(descriptor, reply(0))
    assert handshake.finish()
    assert kernel.recv(8192)[28:32] == struct.pack("=I", PARALLEL_DIROPS)
    kernel.send(b"the next request")
    assert os.read(descriptor, 8192) == b"the next request"
    os.write(descriptor, b"its answer")
    assert kernel.recv(8192) == b"its answer"
    assert handshake.finish()


def test_a_mount_that_is_gone_before_it_begins_is_left_to_libfuse(device):
    _, descriptor = device
    os.set_blocking(descriptor, False)
    handshake = Handshake()
    handshake.begin(descriptor)
    assert handshake.finish()


def test_a_mount_that_goes_meanwhile_is_left_to_libfuse(device):
    kernel, descriptor = device
    kernel.send(request(PARALLEL_DIROPS))
    handshake = Handshake()
    handshake.begin(descriptor)
    os.read(descriptor, 8192)
    os.write(descriptor, reply(0))
    kernel.close()
    assert handshake.finish()
    with pytest.raises(BrokenPipeError):
        os.write(descriptor, b"more")


async def test_the_first_wait_is_the_handshakes(device):
    kernel, descriptor = device
    lowlevel = Lowlevel(Handshake())
    kernel.send(request(PARALLEL_DIROPS))
    await lowlevel.wait_readable(descriptor)
    assert os.read(descriptor, 8192) == request(PARALLEL_DIROPS)
    os.write(descriptor, reply(0))
    kernel.send(b"the next request")
    await lowlevel.wait_readable(descriptor)
    assert os.read(descriptor, 8192) == b"the next request"
    assert kernel.recv(8192)[28:32] == struct.pack("=I", PARALLEL_DIROPS)


def test_programs_look_names_of_one_directory_up_at_once(mount):
    for number in range(4):
        mount.put(f"d/f{number}")
    mount.shell("ls d")
    mount.ask("expect", 4)
    mount.shell("cd d; for number in 0 1 2 3; do stat f$number >/dev/null & done; wait")
    assert mount.ask("have_met")
