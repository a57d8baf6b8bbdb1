"""Put into libfuse's answer to the kernel's first request (FUSE_INIT) what libfuse or pyfuse3 leave out.

libfuse 3.14 (Debian 12) wants FUSE_PARALLEL_DIROPS by default and forgets to say so: the kernel then lets one
program at a time look up a name in a directory, so that eight that read small files far away are as slow as
one. And pyfuse3 has no option for the number of background requests. For the length of that one request a
pair of sockets stands in the place of /dev/fuse. The layouts are those of linux/fuse.h.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

_INIT = 26
_PARALLEL_DIROPS = 1 << 18
# libfuse's 0 means the kernel's 12, which keep a wide line idle. Congestion is told at three quarters.
MAX_BACKGROUND = 128
_CONGESTION = MAX_BACKGROUND * 3 // 4

# fuse_in_header up to its opcode, of 40 bytes; then of fuse_init_in: major, minor, max_readahead, flags.
_REQUEST = struct.Struct("=II32x4I")
# fuse_out_header: length, error, unique; then of fuse_init_out: major, minor, max_readahead, flags,
# max_background, congestion_threshold.
_REPLY = struct.Struct("=IiQ4IHH")
# The kernel gives no request to whoever has room for less than its largest.
_ROOM_BYTES = (1 << 20) + 4096


def improved(request: bytes, reply: bytes) -> bytes:
    """Return the answer to FUSE_INIT with what is left out; any other pair of messages as it is."""
    if len(request) < _REQUEST.size or len(reply) < _REPLY.size:
        return reply
    _, opcode, _, _, _, offered = _REQUEST.unpack_from(request)
    length, error, unique, major, minor, readahead, flags, background, congestion = _REPLY.unpack_from(reply)
    if opcode != _INIT or error or length != len(reply):
        return reply
    head = _REPLY.pack(
        length,
        error,
        unique,
        major,
        minor,
        readahead,
        flags | (offered & _PARALLEL_DIROPS),
        background or MAX_BACKGROUND,
        congestion or _CONGESTION,
    )
    return head + reply[_REPLY.size :]


class Handshake:
    """Stand between the kernel and libfuse until FUSE_INIT is answered.

    `begin` when the request is there and libfuse has not read it; `finish` before each further wait, until it
    is over.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self._descriptor = -1
        self._device = -1
        self._request = b""
        self._ours: socket.socket | None = None

    def begin(self, descriptor: int) -> None:
        """Take the request from the kernel and let libfuse find it, unless the mount is gone already."""
        self.has_begun, self._descriptor = True, descriptor
        try:
            self._request = os.read(descriptor, _ROOM_BYTES)
        except OSError:
            return  # which libfuse meets, too
        self._device = os.dup(descriptor)
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            os.dup2(theirs.fileno(), descriptor, inheritable=False)
        self._ours.send(self._request)

    def finish(self) -> bool:
        """Pass libfuse's answer on, once there is one; return whether nothing stands between any more."""
        if self._ours is None:
            return True
        try:
            reply = self._ours.recv(_ROOM_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        with suppress(OSError):  # unmounted meanwhile, of which libfuse hears next
            os.write(self._device, improved(self._request, reply))
        os.dup2(self._device, self._descriptor, inheritable=False)
        os.close(self._device)
        self._ours.close()
        self._ours = None
        return True
