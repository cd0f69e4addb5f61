#!/usr/bin/env bash
# What:    encode_special_tokens=True makes the tokenizer read "[SEP]" in a text as plain characters. The
#          setting is lost by to_str, pickle and copy.deepcopy, without a word; truncation survives all three.
# Why:     a tokenizer that is configured once and sent to worker processes (pickle), or written next to the
#          model, gives other token ids, so other embeddings, than the one that was tested.
# Version: tokenizers 0.23.3
# Seen:
#   as set    [CLS] good [ sep ] bad [SEP]
#   to_str    [CLS] good [SEP] bad [SEP]
#   pickle    [CLS] good [SEP] bad [SEP]
#   deepcopy  [CLS] good [SEP] bad [SEP]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tokenizers==0.23.3

venv/bin/python - <<'PY'
import copy
import pickle
import sys
from importlib.metadata import version

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "[", "]", "sep"]
tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer()
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
tokenizer.add_special_tokens(words[:4])
tokenizer.enable_truncation(12)
tokenizer.encode_special_tokens = True

copies = {
    "as set": tokenizer,
    "to_str": Tokenizer.from_str(tokenizer.to_str()),
    "pickle": pickle.loads(pickle.dumps(tokenizer)),
    "deepcopy": copy.deepcopy(tokenizer),
}
print("tokenizers", version("tokenizers"))
print("expected: a copy gives the same tokens as the original")
seen = {}
for name, each in copies.items():
    seen[name] = each.encode("good [SEP] bad").tokens
    print(f"seen: {name:8}", *seen[name], "| truncation kept:", each.truncation is not None)
plain, special = "[CLS] good [ sep ] bad [SEP]".split(), "[CLS] good [SEP] bad [SEP]".split()
as_described = seen["as set"] == plain and all(seen[name] == special for name in ("to_str", "pickle", "deepcopy"))
if not (as_described and all(each.truncation is not None for each in copies.values())):
    sys.exit("changed: copies of the tokenizer keep the setting, or lose another one")
PY
