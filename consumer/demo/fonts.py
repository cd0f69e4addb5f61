"""Which characters the picture can draw with the fonts of this machine.

Matplotlib brings a font for Latin, Greek and Cyrillic. For a missing character it draws a box and
warns. So labels in other scripts need a font that is installed, or have to be replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager

BASE = "DejaVu Sans"

# Fonts that come with Linux distributions, macOS and Windows, for Chinese, Japanese and Korean.
CANDIDATES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti TC",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
)


class Lettering:
    """The fonts for a set of texts, and what they cannot write.

    Parameters
    ----------
    texts
        All texts that will be drawn.
    candidates
        Families to look for where the base font lacks a character, the preferred first;
        `CANDIDATES` where not given.
    """

    def __init__(self, texts: Iterable[str], candidates: Iterable[str] | None = None) -> None:
        missing = set("".join(texts)) - _characters(BASE)
        self.families = [BASE]
        installed = {font.name for font in font_manager.fontManager.ttflist}
        for family in CANDIDATES if candidates is None else candidates:
            if missing and family in installed and missing & _characters(family):
                self.families.append(family)
                missing -= _characters(family)
        self._missing = missing

    def can_write(self, text: str) -> bool:
        """Whether every character of a text has a glyph."""
        return self._missing.isdisjoint(text)

    def writable(self, label: str) -> str:
        """Leave out the words of a label that cannot be written; maybe nothing is left."""
        return ", ".join(word for word in label.split(", ") if self.can_write(word))


@cache
def _characters(family: str) -> frozenset[str]:
    """Every character that a font has a glyph for; none where it cannot be read."""
    try:
        path = font_manager.findfont(family, fallback_to_default=False)
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
