#!/usr/bin/env bash
# What:    a TenSEAL CKKS vector that is only an operand is changed: to bring two ciphertexts to one level, the
#          library switches the higher one down in place. A vector that was added to a deeper result cannot be
#          multiplied as often as before.
# Why:     in a sum of encrypted user profiles the same ciphertext is used in several formulas. Which of them
#          works depends on what was computed before, even when that result was thrown away.
# Version: tenseal 0.3.18
# Seen:
#   y*y*y before: [1.0, 1.0, 1.0]; (x*x)+y computed and dropped; y*y*y after: ValueError('scale out of bounds')
#   limbs of y: 3 before, 2 after
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tenseal==0.3.18

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import tenseal

context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
context.global_scale = 2**40
x = tenseal.ckks_vector(context, [1.0, 2.0, 3.0])
y = tenseal.ckks_vector(context, [1.0, 1.0, 1.0])


def limbs(vector):
    return vector.ciphertext()[0].coeff_modulus_size()


def cube(vector):
    other = vector.copy()
    try:
        return [round(value, 3) for value in (other * other * other).decrypt()]
    except ValueError as error:
        return repr(error)


print("tenseal", version("tenseal"))
print("expected: an addition leaves its operands as they were")
before, cubed_before = limbs(y), cube(y)
_ = (x * x) + y
after, cubed_after = limbs(y), cube(y)
print("seen: limbs of y", before, "->", after)
print("seen: y*y*y before", cubed_before, "after", cubed_after)
if after >= before or cubed_before != [1.0, 1.0, 1.0] or "scale out of bounds" not in cubed_after:
    sys.exit("changed: the operand of an addition keeps its level")
PY
