"""What makes a text look as if a person had typed it into a web form."""

from __future__ import annotations

import html
from random import Random

from consumer.tryout.demo.phrases import Language, pick

_CLEAN = 0.75
_TYPO = 0.04
_EMOJI = ("👍", "😀", "❤️", "🙄", "😡", "🎉")


def roughen(random: Random, text: str, language: Language) -> str:
    """Leave most texts as they are; give others markup, links, emoji or a slip of the finger."""
    if language is Language.ENGLISH and random.random() < _TYPO:
        text = _swap_letters(random, text)
    if random.random() < _CLEAN:
        return text
    number = 1000 + int(random.random() * 9000)
    first, _, rest = text.partition(" ")
    styles = (
        f"<p>{html.escape(text, quote=False)}</p>",
        f"<b>{html.escape(first, quote=False)}</b> {html.escape(rest, quote=False)}<br/>",
        f"{html.escape(text, quote=False)}&nbsp;&nbsp;<i>edited</i>",
        f"**{first}** {rest}",
        f"- {text}",
        f"{text} https://shop.example/r/{number}?ref=mail",
        f"{text} ([photo](https://img.shop.example/{number}.jpg))",
        f"{text} {pick(random, _EMOJI)}",
        f"{text.rstrip('.')}!!!",
        f"  {text}\n\n",
    )
    return pick(random, styles)


def _swap_letters(random: Random, text: str) -> str:
    """Swap two neighbouring characters, somewhere."""
    at = int(random.random() * max(1, len(text) - 2))
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
