# ruff: noqa: RUF001 - Chinese punctuation is meant
"""Finding what tells a person in texts: addresses, phones, numbers of cards and papers, names.

Numbers count where their form is sure: by checksums and dates (python-stdnum: Luhn, IBAN, Chinese
resident ids, US social security numbers) and by each country's plan of phone numbers
(phonenumbers, from Google's libphonenumber). Names are found by what stands beside them, as "my
name is" or a title; a bare name is not. How much of each kind is found is measured by
`benchmarks/personal.py`.

For texts that are shown, and for words that name segments: not for the way of an event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from models.text.tokens import MOST_DIGITS
from models.text.traditional import to_simplified
from models.text.word_classes import chinese_tag, is_chinese_word


class Kind(StrEnum):
    """What of a person was found; it stands in brackets where that was."""

    EMAIL = "email"
    LINK = "link"
    USER = "user"
    IBAN = "account"
    ID_NUMBER = "id number"
    CARD = "card"
    PHONE = "phone"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Found:
    """A part of a text, from one place up to another, and what it is."""

    start: int
    end: int
    kind: Kind


def mask(text: str) -> str:
    """Put a word in brackets in place of all that tells a person.

    Parameters
    ----------
    text
        As somebody wrote it.

    Returns
    -------
    str
        Where nothing was found, the text itself.
    """
    parts, done = [], 0
    for each in find_personal(text):
        parts += [text[done : each.start], f"[{each.kind.value}]"]
        done = each.end
    return "".join([*parts, text[done:]]) if parts else text


def find_personal(text: str) -> list[Found]:
    """Give the parts of a text that tell a person, in their order, none over another.

    Where two kinds fit one place, the one that is looked for first has it, numbers with a checksum
    before phones.
    """
    found: list[Found] = []
    for kind, find in _FINDERS:
        for start, end in find(text):
            if not any(start < each.end and each.start < end for each in found):
                found.append(Found(start, end, kind))
    return sorted(found, key=lambda each: each.start)


def is_personal_word(word: str) -> bool:
    """Tell whether a word, as texts are cut into, is a person's name or number.

    Names are told of Chinese words alone: those that jieba's dictionary has as people's, that
    begin with one of the hundred commonest family names, and go on with characters of given names
    alone, of three characters or more. The dictionary by itself has carrots and marathons as
    people.

    Parameters
    ----------
    word
        Case-folded.
    """
    if sum(map(str.isdigit, word)) > MOST_DIGITS:
        return True
    if not ("\u4e00" <= word[:1] <= "\u9fff" and _SHORTEST_NAME <= len(word) <= _LONGEST_NAME):
        return False
    simple = word.translate(to_simplified())
    family = next((each for each in _FAMILIES if simple.startswith(each)), None)
    if family is None or not _GIVEN_CHARACTERS.issuperset(simple[len(family) :]):
        return False
    return chinese_tag(simple) in _PEOPLE


# --- addresses ------------------------------------------------------------------------------------

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}+\s?(?:@|\[at\]|\(at\))\s?"
    r"(?:[a-z0-9-]{1,63}(?:\.|\s?\[dot\]\s?|\s?\(dot\)\s?)){1,4}[a-z]{2,24}(?![\w-])",
    re.IGNORECASE | re.ASCII,
)
# Whose path, or the part of it that follows one of these words, is a user.
_HOSTS = (
    r"(?:facebook|instagram|twitter|x|tiktok|github|gitlab|threads|weibo|twitch|pinterest|vk)\.com"
    r"|t\.me|vk\.com|space\.bilibili\.com|medium\.com"
)
_PATHS = r"(?:u|user|users|profile|profiles|people|in|member|members|author|seller)"
_LINK = re.compile(
    rf"(?:https?://)?(?:www\.)?(?:(?:{_HOSTS})/@?[\w.%-]{{2,64}}(?:/[\w.%/-]*)?"
    rf"|[\w.-]{{1,64}}\.[a-z]{{2,24}}(?:/[\w.%-]{{1,40}}){{0,3}}?/(?:{_PATHS}/|@|~)[\w.%-]{{2,64}}"
    r"(?:/[\w.%/-]*)?)(?![\w@])"
    r"|https?://[^\s/@]{1,64}:?[^\s/@]{0,64}@[^\s]{1,200}",
    re.IGNORECASE | re.ASCII,
)
_USER = re.compile(
    r"(?<![a-zA-Z0-9_.@/])@[\w·-]{2,40}|(?<![\w/])/?u/[\w-]{3,40}"
    r"|(?:微信号?|wechat(?:\s?id)?|wx|QQ)\s?[:：]?\s?(?P<id>[a-zA-Z0-9_-]{5,20})",
    re.IGNORECASE,
)


_AT = re.compile(r"@|[\[(]at[\])]", re.IGNORECASE)
_NAMES_USER = re.compile(r"@|u/|微信|wechat|wx|QQ", re.IGNORECASE)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if _AT.search(text):
        yield from (each.span() for each in _EMAIL.finditer(text))


def _links(text: str) -> Iterator[tuple[int, int]]:
    if "/" in text:
        yield from (each.span() for each in _LINK.finditer(text))


def _users(text: str) -> Iterator[tuple[int, int]]:
    if not _NAMES_USER.search(text):
        return
    for each in _USER.finditer(text):
        if each["id"] is None:
            yield each.span()
        elif any(letter.isdigit() for letter in each["id"]):
            yield each.span("id")


# --- numbers --------------------------------------------------------------------------------------

_DIGIT = re.compile(r"\d")
_LEAST_DIGITS = 6
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){10,30}(?![A-Za-z0-9])")
_SHORTEST_IBAN = 15
_CARD = re.compile(r"(?<![\d.])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\d])")
_RESIDENT = re.compile(r"(?<![\dA-Za-z])[1-9]\d{16}[\dXx](?![\dA-Za-z])")
_SSN = re.compile(r"(?<![\d-])\d{3}[- ]\d{2}[- ]\d{4}(?![\d-])")
# Nine digits are many things, but for the word before them.
_TOLD_SSN = re.compile(
    r"(?:\bSSN|social security)[^\d\n]{0,20}(\d{3}[- ]?\d{2}[- ]?\d{4})(?!\d)", re.IGNORECASE
)
_PASSPORT = re.compile(r"(?<![A-Za-z0-9])[EGDPS][A-Z]?\d{7,8}(?![A-Za-z0-9])")
_TOLD_NUMBER = re.compile(
    r"(?:passport|护照|護照|身份证|身分證|driver'?s? licen[cs]e|ID card)"
    r"(?:\s?(?:number|no\.?|num|号码?|號碼?))?\s?(?:is|was|:|：|#|是|为)?\s{0,2}"
    r"([A-Z]{0,3}\d{6,12}[A-Z]?)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PHONE_LIKE = re.compile(r"[+＋(（]{0,2}\d(?:[ ()./\u2010-\u2015-]{0,3}\d){6,20}")
_BESIDE_PHONE = 6
"""Characters beside a number that tell whether it is one of a phone."""
_COUNTRIES = ("US", "CN", "GB")
"""Whose numbers are known without a country's code before them: a text does not say where."""


def _has_digits(text: str) -> bool:
    return sum(1 for _ in _DIGIT.finditer(text)) >= _LEAST_DIGITS


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    if _has_digits(text):
        from stdnum import iban  # noqa: PLC0415 - for texts that are shown alone

        for each in _IBAN.finditer(text):
            start, end = each.span()
            # What follows in capitals may be of the next word.
            while end - start > _SHORTEST_IBAN and not iban.is_valid(text[start:end]):
                end -= 1
            end = start + len(text[start:end].rstrip(" -"))
            if iban.is_valid(text[start:end]):
                yield start, end


def _cards(text: str) -> Iterator[tuple[int, int]]:
    if _has_digits(text):
        from stdnum import luhn  # noqa: PLC0415 - likewise

        for each in _CARD.finditer(text):
            digits = re.sub(r"\D", "", each[0])
            if luhn.is_valid(digits) and len(set(digits)) > 1 and not _RESIDENT.match(each[0]):
                yield each.span()


def _id_numbers(text: str) -> Iterator[tuple[int, int]]:
    if not _has_digits(text):
        return
    from stdnum.us import ssn  # noqa: PLC0415

    for each in _RESIDENT.finditer(text):
        if _is_resident(each[0].upper()):
            yield each.span()
    for each in _SSN.finditer(text):
        if ssn.is_valid(re.sub(r"\D", "", each[0])):
            yield each.span()
    yield from (each.span(1) for each in _TOLD_SSN.finditer(text))
    yield from (each.span() for each in _PASSPORT.finditer(text))
    yield from (each.span(1) for each in _TOLD_NUMBER.finditer(text))


def _is_resident(number: str) -> bool:
    """Tell whether 18 digits are a Chinese resident's: by the date of birth and the checksum.

    Not by the list of counties, which change.
    """
    from stdnum.cn import ric  # noqa: PLC0415 - likewise
    from stdnum.exceptions import ValidationError  # noqa: PLC0415
    from stdnum.iso7064 import mod_11_2  # noqa: PLC0415

    try:
        ric.get_birth_date(number)
        mod_11_2.validate(number)
    except ValidationError:
        return False
    return True


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for like in _PHONE_LIKE.finditer(text):
        from phonenumbers import Leniency, PhoneNumberMatcher  # noqa: PLC0415 - likewise

        first = max(0, like.start() - _BESIDE_PHONE)
        around = text[first : like.end() + _BESIDE_PHONE]
        for country in _COUNTRIES[:1] if like[0][0] in "+＋" else _COUNTRIES:
            for each in PhoneNumberMatcher(around, country, leniency=Leniency.VALID):
                yield first + each.start, first + each.end


# --- names ----------------------------------------------------------------------------------------

_CAPITAL = r"[A-ZÀ-Þ][\w'’-]+"
_FULL = rf"{_CAPITAL}(?: (?:[A-Z]\. )?{_CAPITAL}){{0,2}}"
_NAMED = re.compile(
    rf"\b(?:[Mm]y name(?: is|'s)|[Nn]ame:|I am called|[Cc]alled me|[Ss]igned,?|"
    rf"(?:[Kk]ind |[Bb]est |[Ww]arm )?[Rr]egards,|[Ss]incerely,|[Cc]heers,|[Yy]ours,)\s{{1,3}}"
    rf"(?P<own>{_FULL})"
    rf"|\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Madam)\b\.? (?P<titled>{_FULL})"
)
# The hundred commonest, which nearly nine in ten people have (Ministry of Public Security, 2020),
# with compound ones ahead.
_FAMILIES = (
    *("欧阳", "司马", "上官", "诸葛", "司徒", "东方", "夏侯", "皇甫", "尉迟", "公孙", "慕容"),
    *"王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁"
    "任卢姚沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严",
)
# Such as are in many given names. Not those that end as many words: 花 (flower), 石, 金, 银, 周.
_GIVEN_CHARACTERS = frozenset(
    "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂兰玲红梅琴燕萍玉华文建国志海波斌鹏飞辉健俊峰"
    "龙浩宇轩博晨阳晓雪婷欣怡佳琪雨涵梓萱子豪泽昊然思诗若瑶颖慧洁莹倩璐琳珊岚蕾薇菲雯嘉宁悦彤馨"
    "淑贞凤珍春云莲翠爱荣小大永德福祥贵生胜利民义仁礼信忠孝廉庆元光荣振兴东南西北新成立学才清正"
    "天宏伦凯旭亮威武雄良栋梁家安康乐长江昌盛发富世中少先心如意美香月星昕彦彬松柏林森毅恒坚诚"
    "达远航瑞祺麟骏鸿翔进锋铭钧锐鑫钰莉娥婉妍姗姝媛婧婕嫣芬芸芝苗茹菁蓉蕊薰冰冬秋夏晴晗晶景智哲"
)
_FAMILY = "(?:" + "|".join(_FAMILIES) + ")"
# No particles: what they follow is a word.
_GIVEN = r"(?:(?![的了是很在吗呢吧着过])[\u4e00-\u9fff]){1,2}"
_CHINESE_NAMED = re.compile(
    rf"(?:我叫|我是|名叫|叫做|姓名|署名|联系人|收件人|我的名字是)[:：是]?\s?(?P<own>{_FAMILY}{_GIVEN})"
    r"(?=[，。！？、；,.!?;\s]|$)"
    rf"|(?P<titled>{_FAMILY}(?:[\u4e00-\u9fff]{{1,2}}?)?)"
    r"(?=(?:先生|女士|小姐|老师|师傅|医生|教授|阿姨|大夫|同学))"
)
_PEOPLE = ("nr", "nrfg", "nrt")
_SHORTEST_NAME, _LONGEST_NAME = 3, 4
"""Of those of two characters many are words as well: 龙虾, lobster."""


def _names(text: str) -> Iterator[tuple[int, int]]:
    yield from _named(_NAMED, text)
    if text.isascii():
        return
    # One character stands for each, so places are those of the text.
    simple = text.translate(to_simplified())
    for start, end in _named(_CHINESE_NAMED, simple):
        # A family name that begins a common word is none: 高兴. What no dictionary has may be one.
        if (
            end - start == 1
            or chinese_tag(simple[start:end]) in _PEOPLE
            or (not is_chinese_word(simple[start:end]))
        ):
            yield start, end


def _named(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    for each in pattern.finditer(text):
        yield each.span("own" if each["own"] is not None else "titled")


_FINDERS: tuple[tuple[Kind, Callable[[str], Iterator[tuple[int, int]]]], ...] = (
    (Kind.LINK, _links),
    (Kind.EMAIL, _emails),
    (Kind.USER, _users),
    (Kind.IBAN, _ibans),
    (Kind.ID_NUMBER, _id_numbers),
    (Kind.CARD, _cards),
    (Kind.PHONE, _phones),
    (Kind.NAME, _names),
)
