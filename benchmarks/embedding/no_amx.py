"""Runs as if this CPU had no AMX, as servers before Sapphire Rapids do not.

A process has to ask Linux before it may use AMX's tiles (arch_prctl, ARCH_REQ_XCOMP_PERM). A
seccomp filter refuses that to this process and its children, and libraries fall back to AVX-512.
oneDNN, in PyTorch and OpenVINO, takes the same as a setting; both are set, since it may not ask.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

_ARCH_PRCTL = 158  # its number on x86-64
_REQUEST_PERMISSION = 0x1023  # ARCH_REQ_XCOMP_PERM
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_REFUSE, _ALLOW = 0x0005_0001, 0x7FFF_0000  # EPERM; go on

# Struct sock_filter: code, jump if true, jump if false, operand.
_PROGRAM = (
    (_LOAD, 0, 0, 0),  # the call's number
    (_JUMP_IF_EQUAL, 0, 3, _ARCH_PRCTL),
    (_LOAD, 0, 0, 16),  # its first argument, the lower half
    (_JUMP_IF_EQUAL, 0, 1, _REQUEST_PERMISSION),
    (_RETURN, 0, 0, _REFUSE),
    (_RETURN, 0, 0, _ALLOW),
)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def forbid_amx() -> None:
    """Refuse AMX to this process and all that it starts, for good.

    Raises
    ------
    OSError
        If the system does not let it.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise OSError("AMX can be refused on Linux on x86-64 only, where it is")
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"
    library = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _PROGRAM))
    program = _Program(len(_PROGRAM), ctypes.addressof(code))
    if (
        library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        or library.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program)) != 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp did not take the filter")
