r"""The texts of a batch, cleaned together: what `clean` gives for each, in a part of the time.

Most texts need little: some tags about which there is nothing to decide, and their white space put
right. To know that, and to do it, takes a few passes over the bytes of all texts at once, joined by
NUL. Where a text holds anything else (Markdown, BBCode, entities, URLs, letters outside of ASCII),
it is looked at alone: what is left of it without tags if that says enough, or all of it.
"""

from __future__ import annotations

import operator
import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.text import simple_html
from models.text.characters import is_plain, normalize
from models.text.clean import MAX_CHARS, clean, finished, may_hold_url
from models.text.markup import BLOCK_TAGS, GAPS, read_as_markdown
from models.text.short_words import LONGEST, Places, ShortWords, keys_at

FEW = 128
"""Texts up to which each is cleaned alone, which then takes less time."""

MOST_CHARS = 1_000_000
"""Characters of texts that are cleaned together.

Texts of nothing but brackets take a hundred bytes a character while they are looked at.
"""

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
_RAW = _table(_CONTROLS + _BEYOND_ASCII + b"\0\n`<>[&;")
_ODD = _is_any(_CONTROLS + b"`")
_ODD_BEGINNING = _is_any(b"\n &")
_IN_REFERENCE = _is_any(b"#" + string.ascii_letters.encode())
_BRACKET = _is_any(b"\0<>")
# The same for texts without tags. Other marks than these mean something beside others only:
_SHOWN = _table(b"\0`*_~]#>-:.&")
_TELLING = _is_any(b"`*_&")
# what stands behind them,
_BEHIND = ((ord("~"), _is_any(b"~")), (ord("]"), _is_any(b"(:")), (ord(":"), _is_any(b"/")))
# or where they begin a line.
_BEHIND_IN_FRONT = (
    (ord("#"), _is_any(b"# ")),
    (ord("-"), _is_any(b" ")),
    (ord(">"), _is_any(bytes(range(1, 256)))),
)
_BLANK = _is_any(b"\0\n ")

# Tags that need no parser, what they leave, and which of them show that a text is HTML.
_NAMES = tuple(sorted(GAPS, key=lambda name: (len(name), name)))
_NUMBERS = {name: number for number, name in enumerate(_NAMES)}
_SHORT_NAMES = ShortWords([name for name in _NAMES if len(name) <= LONGEST])
_GAPS = np.array([ord(GAPS[name].replace("\f", "\n") or "\0") for name in _NAMES], np.uint8)
_EVIDENT = np.array([name in BLOCK_TAGS for name in _NAMES])
_UNKNOWN = -1


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
    cleaned: list[str] = []
    group: list[str] = []
    left = MOST_CHARS
    for raw in raws:
        left -= len(raw)
        if left < 0:
            cleaned += _clean_group(group)
            group, left = [], MOST_CHARS - len(raw)
        group.append(raw)
    return cleaned + _clean_group(group)


def _clean_group(raws: Sequence[str]) -> list[str]:
    return _clean_together(raws) if len(raws) > FEW else [clean(raw) for raw in raws]


def _clean_together(raws: Sequence[str]) -> list[str]:
    sources = [_without_images(raw) if "<img" in raw else raw for raw in raws]
    data = b"\0%b\0" % "\0".join(sources).encode("utf-8", "surrogatepass")
    texts = _Joined(data, _RAW)
    if texts.owners[-1] != len(raws):  # one of them holds NUL
        return [clean(raw) for raw in raws]
    odd = _odd(texts, len(raws))
    foreign = np.zeros(len(raws), np.bool_)
    foreign[texts.owners[texts.marks >= _ASCII]] = True
    for row in np.flatnonzero(foreign).tolist():
        odd[row] |= not is_plain(raws[row])
    shown, tagged, odd = _without_tags(data, texts, odd)
    # An image alone does not show that a text is HTML; it may be all the same.
    odd |= ~tagged & np.array(list(map(operator.is_not, sources, raws)))
    untagged = _Joined(shown, _SHOWN)
    ends, _ = untagged.at(_NUL)
    cleaned, more = _collapsed(shown), _to_finish(untagged, len(raws))
    alone = odd | (more & ~tagged)
    for row in np.flatnonzero(more & ~alone).tolist():
        source = shown[ends[row] + 1 : ends[row + 1]].decode()
        try:
            text = read_as_markdown(simple_html.without_references(source))
        except simple_html.UnusualError:
            alone[row] = True
            continue
        if text != source or may_hold_url(text):
            cleaned[row] = finished(raws[row], text)
    for row in np.flatnonzero(alone).tolist():
        cleaned[row] = clean(raws[row])
    return cleaned


def _without_images(raw: str) -> str:
    """Do what `simple_html.read` does first, where nothing comes before that."""
    if "[/" in raw or "`" in raw or len(raw) > MAX_CHARS or normalize(raw) != raw:
        return raw
    try:
        return simple_html.without_images(raw)
    except simple_html.UnusualError:
        return raw


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
    # White space before the first element is in none; an entity may stand for some.
    starts = places[marks == _NUL][:-1] + 1
    odd |= tagged & _ODD_BEGINNING[texts.held[starts]]
    odd[_owners_of_cut_references(texts, places, marks)] = True
    opening = opening[~odd[owners[opening]]]
    if not len(opening):
        return data, tagged, odd
    begins, ends, owners = places[opening], places[opening + 1], owners[opening]
    numbers = _read_names(data, begins + 1, ends - begins - 1)
    odd[owners[numbers == _UNKNOWN]] = True
    shows = np.zeros(len(odd), np.bool_)
    shows[owners[_EVIDENT[numbers]]] = True
    odd |= tagged & ~shows
    gaps = _GAPS[numbers]
    first = texts.held[begins - 1] == _NUL
    gaps[first] = _NUL
    odd[owners[first & (texts.held[begins + 1] == _SLASH)]] = True

    held = texts.held.copy()
    lines, within = texts.at(_LINE)
    kept = np.flatnonzero((numbers == _NUMBERS["pre"]) | (numbers == _NUMBERS["/pre"]))
    if len(kept):
        # The last of these before a line's end, none where that is in another text.
        latest = np.searchsorted(begins[kept], lines) - 1
        tag = kept[latest]
        preformatted = (latest >= 0) & (owners[tag] == within) & (numbers[tag] == _NUMBERS["pre"])
        lines, within = lines[~preformatted], within[~preformatted]
    held[lines[tagged[within]]] = _SPACE
    held[begins] = gaps
    return held[_outside(begins + (gaps != _NUL), ends, len(held))].tobytes(), tagged, odd


def _owners_of_cut_references(texts: _Joined, places: Places, marks: Bytes) -> Places:
    """Give the texts in which a tag may stand amid a reference to a character.

    Parameters
    ----------
    texts
        All of them.
    places, marks
        Where brackets are, and which.
    """
    begins = np.flatnonzero(texts.marks == ord("&"))
    at = texts.places[begins]
    # What is in a tag goes with it.
    begins = begins[marks[np.searchsorted(places, at) - 1] != _LESS]
    behind = texts.held[texts.places[begins] + 1]
    ended = texts.marks[begins + 1] == ord(";")
    cut = (behind == _LESS) | (_IN_REFERENCE[behind] & ~ended)
    owners: Places = texts.owners[begins[cut]]
    return owners


def _read_names(data: bytes, begins: Places, lengths: Places) -> Places:
    """Give the numbers of tags, `_UNKNOWN` for those that only a parser can read.

    Parameters
    ----------
    data
        What they are in.
    begins, lengths
        Where they are, without brackets.
    """
    numbers = np.full(len(begins), _UNKNOWN)
    short = np.flatnonzero(lengths <= LONGEST)
    keys = keys_at(data + bytes(LONGEST), begins[short], lengths[short])
    found, known = _SHORT_NAMES.find(keys)
    numbers[short[found]] = known
    link = _NUMBERS["a"]
    for place in np.flatnonzero(numbers == _UNKNOWN).tolist():
        begin = int(begins[place])
        text = data[begin : begin + int(lengths[place])]
        if _is_link(text):
            numbers[place] = link
        elif (tag := simple_html.TAG.fullmatch(text.decode())) is not None:
            numbers[place] = _NUMBERS.get(tag[1], _UNKNOWN)
    return numbers


def _is_link(tag: bytes) -> bool:
    """Tell the commonest tag with attributes, in a third of the time that its pattern takes."""
    return tag.startswith(b'a href="') and tag.find(b'"', len(b'a href="')) == len(tag) - 1


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


def _to_finish(texts: _Joined, count: int) -> Flags:
    """Tell of which texts more may have to be done than to put their white space right."""
    held = texts.held
    found = np.zeros(count, np.bool_)
    found[texts.owners[_TELLING[texts.marks]]] = True
    for mark, behind in _BEHIND:
        places, owners = texts.at(mark)
        found[owners[behind[held[places + 1]]]] = True
    for mark, behind in _BEHIND_IN_FRONT:
        places, owners = texts.at(mark)
        fits = behind[held[places + 1]] & _BLANK[held[places - 1]]
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
