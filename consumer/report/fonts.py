"""Which characters the picture can draw with the fonts of this machine.

Matplotlib brings a font for Latin, Greek and Cyrillic, and the extras that draw bring one for
Chinese: the package zhplot holds Noto Sans SC, of which nothing but the file is used. For a missing
character matplotlib draws a box and warns. So labels in other scripts need a font that is
installed, or have to be replaced.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from matplotlib import font_manager

BASE = "DejaVu Sans"

# Noto Sans SC first, which is wanted on every machine: so pictures look the same. Then fonts that
# come with Linux distributions, macOS and Windows, for Chinese, Japanese and Korean.
CANDIDATES = (
    "Noto Sans SC",
    "Noto Sans CJK SC",
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
    "Noto Serif CJK SC",
    "AR PL UMing CN",
    "AR PL UKai CN",
    "Songti SC",
    "SimSun",
    "Microsoft JhengHei",
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
        self._missing = set("".join(texts)) - _characters(BASE)
        self.families = [BASE]
        families = list(CANDIDATES if candidates is None else candidates)
        if self._missing:
            know_brought()
        self._look(families)
        if self._missing and look_anew():
            self._look(families)

    def _look(self, families: Iterable[str]) -> None:
        """Take the families that are installed and have something of what is missing."""
        installed = {font.name for font in font_manager.fontManager.ttflist}
        for family in families:
            if self._missing and family in installed and self._missing & _characters(family):
                self.families.append(family)
                self._missing -= _characters(family)

    @property
    def note(self) -> str | None:
        """What to say below the picture where something cannot be written; else None."""
        if not any(unicodedata.category(each)[0] in "LN" for each in self._missing):
            return None
        return (
            "Words that no font of this machine can write are left out: install one, such as "
            "Noto Sans CJK (fonts-noto-cjk)"
        )

    def can_write(self, text: str) -> bool:
        """Whether every character of a text has a glyph."""
        return self._missing.isdisjoint(text)

    def writable(self, label: str) -> str:
        """Leave out the words of a label that cannot be written; maybe nothing is left."""
        return ", ".join(word for word in label.split(", ") if self.can_write(word))


@cache
def know_brought() -> bool:
    """Make the font of the extras known to matplotlib, and tell whether it is there."""
    spec = find_spec("zhplot")  # to import it would make it the font of all pictures
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        with suppress(OSError, RuntimeError, ValueError):
            font_manager.fontManager.addfont(Path(folder) / "fonts" / "NotoSansSC-Regular.ttf")
            return True
    return False


@cache
def look_anew() -> bool:
    """Look once for fonts that were installed since matplotlib made its list, which it keeps.

    Returns
    -------
    bool
        Whether there are any.
    """
    manager = font_manager.fontManager
    known = {font.fname for font in manager.ttflist}
    before = len(manager.ttflist)
    for path in font_manager.findSystemFonts():
        if path not in known:
            with suppress(OSError, RuntimeError, ValueError):  # no font that it can read
                manager.addfont(path)
    return len(manager.ttflist) > before


@cache
def _characters(family: str) -> frozenset[str]:
    """Every character that a font has a glyph for; none where it cannot be read."""
    try:
        path = font_manager.findfont(family, fallback_to_default=False)
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
