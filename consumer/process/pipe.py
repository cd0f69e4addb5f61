"""Python objects from one process to another, through a socket.

Pickles of protocol 5 with their arrays out of band: an array is written from where it lies, and
read into where it stays. Nothing is shared: no /dev/shm, of which a pod has 64 MB, and nothing to
clean up after a process that was killed. Both ends are the same program; nobody else can reach
them.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_COUNT = struct.Struct("<Q")


def send(pipe: socket.socket, value: object) -> None:
    """Write an object.

    Raises
    ------
    OSError
        If nobody reads any more.
    """
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(content), *(each.raw() for each in buffers)]
    pipe.sendall(b"".join(_COUNT.pack(size) for size in (len(parts), *(x.nbytes for x in parts))))
    for part in parts:
        pipe.sendall(part)


def receive(pipe: socket.socket) -> Any:
    """Read an object.

    Raises
    ------
    EOFError
        If the other end is closed, or gone.
    OSError
        If the connection breaks.
    """
    (count,) = _COUNT.unpack(_read(pipe, _COUNT.size))
    head = _read(pipe, count * _COUNT.size)
    content, *buffers = [_read(pipe, size) for (size,) in _COUNT.iter_unpack(head)]
    return pickle.loads(content, buffers=buffers)  # noqa: S301 - of a process of our own


def _read(pipe: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        read = pipe.recv_into(rest, 0, socket.MSG_WAITALL)
        if not read:
            raise EOFError("the other end is closed")
        rest = rest[read:]
    return data
