#!/usr/bin/env bash
# What:    simplemma's English lemma of a contracted negation is the verb without it: didn't -> do, isn't -> be,
#          won't -> will. The written-out form and can't -> cannot keep theirs.
# Why:     lemmas are the usual step before TF-IDF labels or bags of words. "I didn't like it" and "I do like it"
#          become the same words, so complaints land with the praise. Spelling decides, not meaning.
# Version: simplemma 2.0.0
# Seen:
#   I didn't like it -> I do like it
#   It isn't good -> it be good
#   I won't buy again -> I will buy again
#   It is not good -> it be not good
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check simplemma==2.0.0

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import simplemma


def lemmas(text):
    return " ".join(simplemma.text_lemmatizer(text, lang="en"))


print("simplemma", version("simplemma"))
print("expected: a lemma keeps whether something was denied")
texts = ("I didn't like it", "I do like it", "It isn't good", "I won't buy again", "It is not good", "I can't tell")
seen = {text: lemmas(text) for text in texts}
for text, words in seen.items():
    print("seen:", text, "->", words)
if not (
    seen["I didn't like it"] == seen["I do like it"]
    and seen["It isn't good"] == "it be good"
    and seen["I won't buy again"] == "I will buy again"
    and "not" in seen["It is not good"]
    and "cannot" in seen["I can't tell"]
):
    sys.exit("changed: contracted negations have other lemmas")
PY
