"""One TCP connection: what comes in goes to standard output, standard input goes out.

`python -m tests.faults.netcat HOST PORT`, for the far end of a wire. The caller sees what arrived
there, and makes something leave there, by pipes that no fault of the network touches.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

_CHUNK_BYTES = 1 << 16


def main(host: str, port: int) -> None:
    """Connect, and copy both ways until both have ended."""
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def outwards() -> None:
            while data := os.read(sys.stdin.fileno(), _CHUNK_BYTES):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=outwards, daemon=True).start()
        while data := connection.recv(_CHUNK_BYTES):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
