#!/usr/bin/env bash
# What:    OpenDP's make_cast_default from strings to booleans makes every non-empty string True, "false" and
#          "0" too. Its own cast the other way writes "false", so a round trip turns False into True. Casts to
#          numbers read the text.
# Why:     counts released with differential privacy are of such columns ("opted out": "false"). The noise is
#          right, the number below it is not, and nobody may look at the data to see it.
# Version: opendp 0.16.0
# Seen:
#   ['true', 'false', '0', 'no', ''] -> [True, True, True, True, False]
#   [True, False] -> ['true', 'false'] -> [True, True]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check opendp==0.16.0

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import opendp.prelude as dp

dp.enable_features("contrib")


def caster(source, target):
    return dp.t.make_cast_default(dp.vector_domain(dp.atom_domain(T=source)), dp.symmetric_distance(), TOA=target)


words = ["true", "false", "0", "no", ""]
read = caster(str, bool)(words)
written = caster(bool, str)([True, False])
back = caster(str, bool)(written)
numbers = caster(str, int)(["5", "-1", "no"])
print("opendp", version("opendp"))
print('expected: "false" is False, and what cannot be read is the default')
print("seen:", words, "->", read)
print("seen: [True, False] ->", written, "->", back)
print("seen: to int ['5', '-1', 'no'] ->", numbers)
if (read, back, numbers) != ([True, True, True, True, False], [True, True], [5, -1, 0]):
    sys.exit("changed: strings are cast to booleans by another rule")
PY
