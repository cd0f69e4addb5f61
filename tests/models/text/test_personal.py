# ruff: noqa: RUF001 - Chinese punctuation is meant
"""What tells a person in a text: found by form, checksum and what stands beside it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.personal import Kind, find_personal, is_personal_word, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Mail jo.doe+x@example.co.uk!", "Mail [email]!"),
        ("邮箱a_b@example.com，谢谢", "邮箱[email]，谢谢"),
        ("call +49 30 901820 or (202) 555-0143.", "call [phone] or [phone]."),
        ("手机13800138000打", "手机[phone]打"),
        ("card 4111 1111 1111 1111 ok", "card [card] ok"),
        ("card 4111 1111 1111 1112 ok", "card 4111 1111 1111 1112 ok"),
        ("IBAN DE89 3704 0044 0532 0130 00 THANKS", "IBAN [account] THANKS"),
        ("IBAN DE88 3704 0044 0532 0130 00 THANKS", "IBAN DE88 3704 0044 0532 0130 00 THANKS"),
        ("身份证11010519491231002X谢谢", "身份证[id number]谢谢"),
        ("编号110105194912310021谢谢", "编号110105194912310021谢谢"),
        ("编号110105194913310021谢谢", "编号110105194913310021谢谢"),
        ("SSN 078-05-1120", "SSN [id number]"),
        ("护照E12345678", "护照[id number]"),
        ("https://example.com/users/jdoe/x, so", "[link], so"),
        ("https://en.wikipedia.org/wiki/Beer", "https://en.wikipedia.org/wiki/Beer"),
        ("http://me:secret@example.com/x", "[link]"),
        ("@jane and u/reddit_user", "[user] and [user]"),
        ("My name is Karl Otto.", "My name is [name]."),
        ("我叫王小明，你好", "我叫[name]，你好"),
        ("我叫歐陽青，你好", "我叫[name]，你好"),
        ("张先生说得对", "[name]先生说得对"),
        ("我是高兴的，真的", "我是高兴的，真的"),
        ("On 2024-10-14 16:55:23 at 192.168.1.100", "On 2024-10-14 16:55:23 at 192.168.1.100"),
    ],
)
def test_what_is_masked_and_what_stays(text: str, masked: str) -> None:
    assert mask(text) == masked


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_parts_are_in_order_apart_and_within_the_text(text: str) -> None:
    found = find_personal(text)
    assert all(0 <= each.start < each.end <= len(text) for each in found)
    assert all(one.end <= two.start for one, two in pairwise(found))
    if not found:
        assert mask(text) is text


@given(st.integers(10**11, 10**14 - 1), st.sampled_from(["", " ", "-"]))
def test_a_number_is_a_card_just_where_luhn_says_so(digits: int, gap: str) -> None:
    base = f"4{digits}"
    doubled = [int(d) * (2 if n % 2 == 0 else 1) for n, d in enumerate(reversed(base))]
    check = -sum(d - 9 if d > 9 else d for d in doubled) % 10
    for last in range(10):
        number = f"{base}{last}"
        written = gap.join(number[n : n + 4] for n in range(0, len(number), 4))
        cards = [each for each in find_personal(f"no {written} .") if each.kind is Kind.CARD]
        assert bool(cards) == (last == check)


def test_numbers_and_names_of_people_are_no_words_of_a_segment() -> None:
    assert [word for word in ("e12345678", "王小明", "劉德華") if not is_personal_word(word)] == []
    stay = ("wh1000xm4", "rtx4090", "龙虾", "小米", "高兴", "程序员", "rose")
    # All of these are people in jieba's dictionary.
    stay += (
        "马拉松",
        "高尔夫",
        "胡萝卜",
        "金字塔",
        "苏打水",
        "夏令营",
        "丁香花",
        "许可证",
        "马克杯",
    )
    assert [word for word in stay if is_personal_word(word)] == []
