r"""The texts of a batch, cleaned together: what `clean` gives for each, in a part of the time.

Most texts need little: some tags about which there is nothing to decide, and their white space put
right. To know that, and to do it, takes a few passes over the bytes of all texts at once, joined by
NUL. A text that holds anything else (Markdown, BBCode, an entity, a URL, letters outside of ASCII)
is left to `models.text.clean`, alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.text import simple_html
from models.text.characters import without_plain_marks
from models.text.clean import MAX_CHARS, clean, finished
from models.text.markup import BLOCK_TAGS, GAPS, read_as_markdown
from models.text.short_words import LONGEST, Places, ShortWords, keys_at

FEW = 12
"""Texts up to which each is cleaned alone, which then takes less time."""

_MOST_TAGS = 9
"""Bytes of most tags, at most."""

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]

_NUL, _LINE, _SPACE, _LESS, _MORE, _SLASH = b"\0\n <>/"
_CONTROLS = bytes({*range(0x20), 0x7F} - {_NUL, _LINE})
_ASCII = 0x80
_BEYOND_ASCII = bytes(range(_ASCII, 0x100))


def _table(marks: bytes) -> bytes:
    """Give the table by which `bytes.translate` writes 1 for some bytes and 0 for all others."""
    return bytes(code in marks for code in range(256))


def _is_any(marks: bytes) -> Flags:
    """Give for each byte whether it is one of some."""
    return np.frombuffer(_table(marks), np.bool_)


# What is looked at in a text as it came, and which of it needs more than is done here.
_RAW = _table(_CONTROLS + _BEYOND_ASCII + b"\0\n`<>[&")
_ODD = _is_any(_CONTROLS + b"`&")
_BRACKET = _is_any(b"\0<>")
# The same for texts without tags. Other marks than these mean something beside others only:
_SHOWN = _table(b"\0`*_~]#>-:.")
_TELLING = _is_any(b"`*_")
# what stands behind them,
_BEHIND = ((b"~", b"~"), (b"]", b"(:"), (b":", b"/"))
# or where they begin a line.
_BEHIND_IN_FRONT = ((b"#", b"# "), (b"-", b" "), (b">", bytes(range(1, 256))))
_BLANK = _is_any(b"\0\n ")

# What tags leave, and which of them show that a text is HTML. Lines within `pre` are kept, which is
# not done here.
_GAP = {
    name: ord(gap.replace("\f", "\n") or "\0") for name, gap in GAPS.items() if "pre" not in name
}
_SHORT_NAMES = tuple(name for name in _GAP if len(name) <= LONGEST)
_NAMES = ShortWords(_SHORT_NAMES)
_GAPS = np.array([_GAP[name] for name in _SHORT_NAMES], np.uint8)
_EVIDENT = np.array([name in BLOCK_TAGS for name in _SHORT_NAMES])


class _Joined:
    """Texts joined by NUL, with one before the first and one behind the last.

    Attributes
    ----------
    held
        Their bytes.
    places, marks
        Where bytes are that were looked for, NUL among them, and which they are.
    owners
        The number of the text that each is in; of a NUL, the text behind it.
    """

    def __init__(self, data: bytes, table: bytes) -> None:
        self.held = np.frombuffer(data, np.uint8)
        self.places: Places = np.flatnonzero(np.frombuffer(data.translate(table), np.bool_))
        self.marks = self.held[self.places]
        self.owners: Places = np.cumsum(self.marks == _NUL) - 1

    def at(self, mark: int) -> tuple[Places, Places]:
        """Give the places of a mark, and the texts that they are in."""
        found = self.marks == mark
        return self.places[found], self.owners[found]


def clean_all(raws: Sequence[str]) -> list[str]:
    """Give `clean` of each.

    Raises
    ------
    LoneSurrogateError
        If one of the texts cannot be written as UTF-8.
    """
    joined = "\0".join(raws)
    if len(raws) <= FEW:
        return [clean(raw) for raw in raws]
    data = b"\0%b\0" % joined.encode("utf-8", "surrogatepass")
    texts = _Joined(data, _RAW)
    if texts.owners[-1] != len(raws):  # one of them holds NUL
        return [clean(raw) for raw in raws]
    odd = _odd(texts, len(raws))
    for row in np.unique(texts.owners[texts.marks >= _ASCII]).tolist():
        odd[row] |= not without_plain_marks(raws[row]).isascii()
    shown, tagged, odd = _without_tags(data, texts, odd)
    cleaned, more = _collapsed(shown), _to_finish(_Joined(shown, _SHOWN), len(raws))
    alone = odd | (more & ~tagged)
    for row in np.flatnonzero(alone).tolist():
        cleaned[row] = clean(raws[row])
    rows = np.flatnonzero(more & ~alone).tolist()
    if rows:
        read = shown.decode("utf-8", "surrogatepass").split("\0")
        for row in rows:
            cleaned[row] = finished(raws[row], read_as_markdown(read[row + 1]))
    return cleaned


def _odd(texts: _Joined, count: int) -> Flags:
    """Tell which texts hold more than is looked at here, for what stands in them but for tags."""
    odd = np.zeros(count, np.bool_)
    ends, _ = texts.at(_NUL)
    odd[np.diff(ends) > MAX_CHARS + 1] = True
    odd[texts.owners[_ODD[texts.marks]]] = True
    places, owners = texts.at(ord("["))
    odd[owners[texts.held[places + 1] == _SLASH]] = True
    return odd


def _without_tags(data: bytes, texts: _Joined, odd: Flags) -> tuple[bytes, Flags, Flags]:
    """Do as `simple_html.read` does.

    Returns
    -------
    tuple
        The texts, joined likewise; which of them had tags; and which of them are odd, these
        included that `simple_html.read` would not read so.
    """
    brackets = np.flatnonzero(_BRACKET[texts.marks])
    marks, owners, places = texts.marks[brackets], texts.owners[brackets], texts.places[brackets]
    opening = np.flatnonzero(marks == _LESS)
    tagged = np.zeros(len(odd), np.bool_)
    tagged[owners[opening]] = True
    odd = odd.copy()
    # A tag ends in its text, before the next begins.
    odd[owners[opening[marks[opening + 1] != _MORE]]] = True
    # White space before the first element is in none.
    starts = places[marks == _NUL][:-1] + 1
    odd |= tagged & (texts.held[starts] <= _SPACE)
    opening = opening[~odd[owners[opening]]]
    if not len(opening):
        return data, tagged, odd
    begins, ends, owners = places[opening], places[opening + 1], owners[opening]
    gaps, evident, known = _read_names(data, begins + 1, ends - begins - 1)
    odd[owners[~known]] = True
    shows = np.zeros(len(odd), np.bool_)
    shows[owners[evident]] = True
    odd |= tagged & ~shows
    first = texts.held[begins - 1] == _NUL
    gaps[first] = _NUL
    odd[owners[first & (texts.held[begins + 1] == _SLASH)]] = True

    held = texts.held.copy()
    lines, within = texts.at(_LINE)
    held[lines[tagged[within]]] = _SPACE
    held[begins] = gaps
    return held[_outside(begins + (gaps != _NUL), ends, len(held))].tobytes(), tagged, odd


def _outside(begins: Places, ends: Places, count: int) -> Flags:
    """Tell of so many bytes which are in none of some ranges, each with its last one."""
    outside = np.ones(count, np.bool_)
    for length in range(_MOST_TAGS):
        begins_then = begins + length
        outside[begins_then[begins_then <= ends]] = False
    longer = ends - begins >= _MOST_TAGS
    for begin, end in zip(begins[longer].tolist(), ends[longer].tolist(), strict=True):
        outside[begin : end + 1] = False
    return outside


def _read_names(data: bytes, begins: Places, lengths: Places) -> tuple[Bytes, Flags, Flags]:
    """Give of tags what they leave, whether they show that a text is HTML, and which are known."""
    gaps = np.zeros(len(begins), np.uint8)
    evident, known = np.zeros((2, len(begins)), np.bool_)
    short = np.flatnonzero(lengths <= LONGEST)
    keys = keys_at(data + bytes(LONGEST), begins[short], lengths[short])
    found, numbers = _NAMES.find(keys)
    found = short[found]
    gaps[found], evident[found], known[found] = _GAPS[numbers], _EVIDENT[numbers], True
    for place in np.flatnonzero(~known).tolist():
        begin = int(begins[place])
        tag = simple_html.TAG.fullmatch(data[begin : begin + int(lengths[place])].decode())
        if tag is not None and (name := tag[1]) in _GAP:
            gaps[place], evident[place], known[place] = _GAP[name], name in BLOCK_TAGS, True
    return gaps, evident, known


def _to_finish(texts: _Joined, count: int) -> Flags:
    """Tell of which texts more may have to be done than to put their white space right."""
    held = texts.held
    found = np.zeros(count, np.bool_)
    found[texts.owners[_TELLING[texts.marks]]] = True
    for (mark,), behind in _BEHIND:
        places, owners = texts.at(mark)
        found[owners[_is_any(behind)[held[places + 1]]]] = True
    for (mark,), behind in _BEHIND_IN_FRONT:
        places, owners = texts.at(mark)
        fits = _is_any(behind)[held[places + 1]] & _BLANK[held[places - 1]]
        # Between words there is one space.
        fits &= (held[places - 1] != _SPACE) | _BLANK[held[places - 2]]
        found[owners[fits]] = True
    places, owners = texts.at(ord("."))
    found[owners[held[places - 1] | 0x20 == ord("w")]] = True
    return found


def _collapsed(data: bytes) -> list[str]:
    r"""Do to joined texts as `collapse_whitespace` does to one.

    Of a run of white space one line feed stays if there is any, else one space, and nothing at
    either end of a text.
    """
    held = np.frombuffer(data, np.uint8)
    soft = held <= _SPACE
    # All of a run but its first.
    later = np.flatnonzero(soft[1:] & soft[:-1]) + 1
    new = np.diff(later, prepend=-1) != 1
    first, run = later[new] - 1, np.cumsum(new) - 1
    marks = held[later]
    ends, broken = held[first] == _NUL, np.zeros(len(first), np.bool_)
    ends[run[marks == _NUL]] = True
    broken[run[marks == _LINE]] = True
    held = held.copy()
    held[first[broken & ~ends]] = _LINE
    keep = np.ones(len(held), np.bool_)
    keep[later[marks != _NUL]] = False
    keep[first[ends & (held[first] != _NUL)]] = False
    return held[keep].tobytes()[1:-1].decode("utf-8", "surrogatepass").split("\0")
