#!/usr/bin/env bash
# What:    a Unigram model of as many pieces as multilingual ones have (250,000, as XLM-R and E5) takes tokenizers
#          six times or more of the memory that sentencepiece takes with the very same pieces, which cuts texts alike. Its
#          tree of pieces has a hash map in every node, one node a byte; sentencepiece has one array for all.
# Why:     so a process that embeds by a small model in int8 holds more for its tokenizer than for its weights
#          (multilingual-e5-small's own pieces: 282 MB and 54 MB).
# Version: tokenizers 0.23.3, sentencepiece 0.2.1
# Seen:
#   249,214 pieces of five scripts: tokenizers 453 MB, sentencepiece 58 to 74 MB; 200 of 200 texts cut alike
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tokenizers==0.23.3 sentencepiece==0.2.1 protobuf==6.33.1

cat > pieces.py <<'PY'
"""Pieces of several scripts that share beginnings, as words do, with scores; and texts of them."""

import random

draw = random.Random(0)
scripts = [range(0x61, 0x7B), range(0x430, 0x450), range(0x905, 0x940), range(0x4E00, 0x5600), range(0xAC00, 0xB400)]
words: dict[str, None] = {}
while len(words) < 245_000:
    script = draw.choice(scripts)
    # Few of them, as most letters of a language are: so beginnings are shared.
    words["".join(chr(script[int(len(script) * draw.random() ** 2)]) for _ in range(draw.choice((2, 3, 4, 5, 6))))] = None
letters = {letter for word in words for letter in word}
PIECES = [("<unk>", 0.0), *((letter, -15.0) for letter in sorted(letters))]
PIECES += [(word, -8.0 - number / 50_000) for number, word in enumerate(words) if word not in letters]
TEXTS = ["".join(draw.choices(list(words), k=20)) for _ in range(200)]
PY

cat > one.py <<'PY'
import json
import re
import sys

from pieces import PIECES, TEXTS


def held() -> float:
    with open("/proc/self/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024


library = sys.argv[1]
if library == "tokenizers":
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram

    if sys.argv[2:] == ["make"]:
        Tokenizer(Unigram(PIECES, 0)).save("unigram.json")
        sys.exit()
    before = held()
    model = Tokenizer.from_file("unigram.json")
    ids = [model.encode(text, add_special_tokens=False).ids for text in TEXTS]
else:
    import sentencepiece

    if sys.argv[2:] == ["make"]:
        from sentencepiece import sentencepiece_model_pb2

        proto = sentencepiece_model_pb2.ModelProto()
        for number, (piece, score) in enumerate(PIECES):
            kind = proto.SentencePiece.UNKNOWN if number == 0 else proto.SentencePiece.NORMAL
            proto.pieces.add(piece=piece, score=score, type=kind)
        proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
        proto.trainer_spec.unk_id = 0
        proto.trainer_spec.bos_id = proto.trainer_spec.eos_id = proto.trainer_spec.pad_id = -1
        proto.normalizer_spec.name = "identity"
        proto.normalizer_spec.add_dummy_prefix = False
        with open("unigram.model", "wb") as file:
            file.write(proto.SerializeToString())
        sys.exit()
    before = held()
    model = sentencepiece.SentencePieceProcessor(model_file="unigram.model")
    ids = [model.encode(text) for text in TEXTS]
print(json.dumps({"MB": held() - before, "ids": ids}))
PY

for library in tokenizers sentencepiece; do
    venv/bin/python one.py "$library" make
    venv/bin/python one.py "$library" > "$library.json"
done

venv/bin/python - <<'PY'
import json
import sys
from importlib.metadata import version

print("tokenizers", version("tokenizers"), "sentencepiece", version("sentencepiece"))
print("expected: like memory for like pieces")
found = {}
for name in ("tokenizers", "sentencepiece"):
    with open(f"{name}.json") as file:
        found[name] = json.load(file)
one, other = found.values()
alike = sum(a == b for a, b in zip(one["ids"], other["ids"], strict=True))
print(f"seen: 249,214 pieces of five scripts: tokenizers {one['MB']:.0f} MB, sentencepiece {other['MB']:.0f} MB; "
      f"{alike} of {len(one['ids'])} texts cut alike")
if alike < 0.95 * len(one["ids"]):
    sys.exit("changed: they cut otherwise, so there is nothing to compare")
if one["MB"] < 3 * other["MB"]:
    sys.exit("changed: tokenizers takes less")
PY
