"""System calls and requests to the kernel that Python 3.11 has no functions for. Linux only.

Every function raises OSError with the kernel's errno.

References
----------
unshare(2), setns(2), mount(2), netdevice(7), rtnetlink(7), and the kernel's networking/tuntap.rst.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MNT_DETACH = 2

TUN_DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x4004_54CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000  # packets alone, without four bytes of protocol before each
_IFF_UP = 0x1

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFDSTADDR = 0x8918
_SIOCSIFNETMASK = 0x891C

_RTM_SETLINK = 19
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_IFLA_MTU = 4
_IFLA_TXQLEN = 13

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags: int) -> None:
    """Put the calling thread into new namespaces of the given kinds."""
    _checked(_libc.unshare(flags))


def setns(file: int, kind: int) -> None:
    """Put the calling thread into the namespace that an open file of /proc/PID/ns stands for."""
    _checked(_libc.setns(file, kind))


def mount(
    source: str | None, target: str, kind: str | None, flags: int = 0, options: str = ""
) -> None:
    """Mount a file system, or change how a mount propagates."""
    _checked(
        _libc.mount(
            None if source is None else source.encode(),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            options.encode(),
        )
    )


def unmount(target: str) -> None:
    """Take a mount away at once; files on it that are open live until they are closed."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH))


def open_tun(name: str) -> tuple[int, str]:
    """Make a TUN device, which lives as long as the file that stands for it.

    Parameters
    ----------
    name
        Name of the device; the kernel puts the lowest free number in the place of `%d`.

    Returns
    -------
    int, str
        A file, never blocking, of which each read gives an IP packet that the namespace sent into
        the device, and each write is an IP packet that comes out of it; and the device's name.
    """
    file = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        answer = fcntl.ioctl(file, _TUNSETIFF, request)
    except OSError:
        os.close(file)
        raise
    return file, answer[:16].rstrip(b"\0").decode()


def set_address(name: str, address: str, peer: str | None = None) -> None:
    """Give a device of this network namespace an IPv4 address, as a single host.

    Parameters
    ----------
    name
        The device. With `:1` behind it, one more address for the same device.
    address
        Its address.
    peer
        The address at the other end of a point-to-point device; the route to it comes with it.
    """
    _ask(_SIOCSIFADDR, name, _sockaddr(address))
    if peer is not None:
        _ask(_SIOCSIFDSTADDR, name, _sockaddr(peer))
    _ask(_SIOCSIFNETMASK, name, _sockaddr("255.255.255.255"))


def set_sizes(name: str, mtu: int, queue: int) -> None:
    """Set the bytes of a device's largest IP packet, and how many packets may wait in it.

    By rtnetlink(7), since the ioctl for the queue is for the machine's root alone.
    """
    values = ((_IFLA_MTU, mtu), (_IFLA_TXQLEN, queue))
    attributes = b"".join(struct.pack("HHI", 8, kind, value) for kind, value in values)
    device = struct.pack("BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
    size = 16 + len(device) + len(attributes)
    header = struct.pack("IHHII", size, _RTM_SETLINK, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(header + device + attributes)
        (negative_errno,) = struct.unpack_from("i", kernel.recv(4096), 16)
    if negative_errno:
        raise OSError(-negative_errno, os.strerror(-negative_errno))


def bring_up(name: str) -> None:
    """Start a device of this network namespace."""
    (flags,) = struct.unpack_from("h", _ask(_SIOCGIFFLAGS, name), 16)
    _ask(_SIOCSIFFLAGS, name, struct.pack("h", flags | _IFF_UP))


def _ask(request: int, name: str, argument: bytes = b"") -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, request, struct.pack("16s24s", name.encode(), argument))


def _sockaddr(address: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
