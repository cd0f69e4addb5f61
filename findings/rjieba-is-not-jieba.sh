#!/usr/bin/env bash
# What:    rjieba, the fast stand-in for jieba, differs from it in full mode: cut_all returns every single
#          character besides the words, and drops a Chinese character outside the 16-bit plane. The ordinary
#          cut keeps a date, a host name or "e-mail" whole where jieba cuts at the punctuation.
# Why:     an index or a label model built with one and asked with the other misses terms: surnames and place
#          names hold such characters, and reviews hold dates and addresses.
# Version: rjieba 0.2.2, jieba 0.42.1
# Seen:
#   full mode, the shop's name: jieba ['𠮷', '野', '家', '好吃'], rjieba ['野', '家', '好', '好吃', '吃']
#   full mode, 手机: jieba ['手机'], rjieba ['手', '手机', '机']
#   cut, 2024-05-01发货: jieba ['2024', '-', '05', '-', '01', '发货'], rjieba ['2024-05-01', '发货']
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check rjieba==0.2.2 jieba==0.42.1 setuptools==80.9.0

venv/bin/python -W ignore - <<'PY'
import sys
from importlib.metadata import version

import jieba
import rjieba

jieba.setLogLevel(60)
jieba.dt.tmp_dir = "."
shop = "\U00020bb7野家好吃"
print("rjieba", version("rjieba"), "jieba", version("jieba"))
print("expected: the same words from both, and no character lost")
seen = {
    "full mode, " + shop: (jieba.lcut(shop, cut_all=True), rjieba.cut_all(shop)),
    "full mode, 手机": (jieba.lcut("手机", cut_all=True), rjieba.cut_all("手机")),
    "cut, 2024-05-01发货": (jieba.lcut("2024-05-01发货"), rjieba.cut("2024-05-01发货")),
    "cut, e-mail很慢": (jieba.lcut("e-mail很慢"), rjieba.cut("e-mail很慢")),
    "cut, 电池不给力": (jieba.lcut("电池不给力"), rjieba.cut("电池不给力")),
}
for name, (slow, fast) in seen.items():
    print(f"seen: {name}: jieba {slow}, rjieba {fast}")
first, second, *rest = seen.values()
as_described = (
    shop[0] in first[0]
    and shop[0] not in first[1]
    and second == (["手机"], ["手", "手机", "机"])
    and [slow == fast for slow, fast in rest] == [False, False, True]
)
if not as_described:
    sys.exit("changed: rjieba and jieba differ in another way")
PY
