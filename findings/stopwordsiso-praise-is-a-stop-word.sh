#!/usr/bin/env bash
# What:    in stopwordsiso "good" is a stop word and "bad" is not, in English, Chinese, Spanish, French, Italian
#          and Russian alike. English has "not" and "never" on the list too.
# Why:     after the usual filter "a good phone" is "phone" and "a bad phone" is "bad phone": labels and bags of
#          words see complaints only, in every one of these languages, and "not good" leaves nothing at all.
# Version: stopwordsiso 0.7.1
# Seen (on the list / not on it):
#   en good/bad, zh 好/坏, es bueno/malo, fr bon/mauvais, it buono/cattivo, ru хорошо/плохо
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check stopwordsiso==0.7.1 setuptools==80.9.0

venv/bin/python -W ignore - <<'PY'
import sys
from importlib.metadata import version

import stopwordsiso

pairs = {
    "en": ("good", "bad"),
    "zh": ("好", "坏"),
    "es": ("bueno", "malo"),
    "fr": ("bon", "mauvais"),
    "it": ("buono", "cattivo"),
    "ru": ("хорошо", "плохо"),
}
print("stopwordsiso", version("stopwordsiso"))
print("expected: stop words say nothing about the product; or both verdicts are on the list, as in German")
seen = {}
for language, pair in pairs.items():
    seen[language] = tuple(word in stopwordsiso.stopwords(language) for word in pair)
    print("seen:", language, *(f"{word} {on}" for word, on in zip(pair, seen[language])))
german = [word in stopwordsiso.stopwords("de") for word in ("gut", "schlecht")]
english = [word for word in "not a good phone".split() if word not in stopwordsiso.stopwords("en")]
print("seen: de gut, schlecht", german, "| 'not a good phone' ->", english)
if set(seen.values()) != {(True, False)} or german != [True, True] or english != ["phone"]:
    sys.exit("changed: the lists hold other words")
PY
