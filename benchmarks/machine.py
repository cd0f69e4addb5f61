"""What a measurement was made on, to be kept beside its figures."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import confluent_kafka

CPU_INFO = Path("/proc/cpuinfo")

_MATRIX_FLAGS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16", "sve"),
)


def facts() -> dict[str, str | int | float | None]:
    """Describe the machine and the versions that decide on speed."""
    # Wants an extra that the environments of some benchmarks do not have.
    from consumer.tryout.broker import KAFKA_VERSION  # noqa: PLC0415

    return {**_machine(), "librdkafka": confluent_kafka.libversion()[0], "kafka": KAFKA_VERSION}


def embedding_facts() -> dict[str, str | int | float | list[str] | None]:
    """Describe the machine to those who compare matrix products."""
    return {**_machine(), "cpu_flags": cpu_flags()}


def _machine() -> dict[str, str | int | float | None]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_flags(listing: Path = CPU_INFO) -> list[str]:
    """Name the CPU's instruction sets that decide on the speed of matrix products."""
    told = _told(listing)
    flags = told.get("flags", told.get("Features", "")).split()  # on x86, on Arm
    return [flag for flag in _MATRIX_FLAGS if flag in flags]


def _cpu() -> str:
    return _told(CPU_INFO).get("model name") or platform.processor() or platform.machine()


def _told(listing: Path) -> dict[str, str]:
    """Read what Linux tells of the first core; nothing elsewhere."""
    try:
        first, _, _ = listing.read_text(encoding="utf-8", errors="replace").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
