#!/usr/bin/env bash
# What:    fastjsonschema (drafts 4, 6 and 7) compiles a schema that says it is of draft 2020-12, as draft 7:
#          dependentRequired and unevaluatedProperties are skipped, and a valid tuple (prefixItems with
#          items: false) is refused. Nothing tells.
# Why:     it is taken for speed in stream consumers, where the contract (AsyncAPI 3, CloudEvents data) is in
#          2020-12. The fast check then lets through what the contract forbids and refuses what it allows.
# Version: fastjsonschema 2.22.3, against jsonschema 4.26.0
# Seen (valid by fastjsonschema, by jsonschema):
#   {'segment': 1} True False (dependentRequired), {'extra': 1} True False (unevaluatedProperties),
#   {'pair': ['a']} False True (prefixItems)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fastjsonschema==2.22.3 jsonschema==4.26.0

venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import fastjsonschema
import jsonschema

schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "properties": {
        "segment": {"type": "integer"},
        "distance": {"type": "number"},
        "pair": {"prefixItems": [{"type": "string"}], "items": False},
    },
    "dependentRequired": {"segment": ["distance"]},
    "unevaluatedProperties": False,
}
reference = jsonschema.validators.validator_for(schema)(schema)
fast = fastjsonschema.compile(schema)


def accepts(document):
    try:
        fast(document)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True


print("fastjsonschema", version("fastjsonschema"), "jsonschema", version("jsonschema"))
print("expected: a draft that is not supported is refused when the schema is compiled")
documents = ({"segment": 1, "distance": 0.5}, {"segment": 1}, {"extra": 1}, {"pair": ["a"]})
seen = [(accepts(document), reference.is_valid(document)) for document in documents]
for document, (quick, right) in zip(documents, seen):
    print(f"seen: {document} valid by fastjsonschema {quick}, by jsonschema {right}")
if seen != [(True, True), (True, False), (True, False), (False, True)]:
    sys.exit("changed: the schema is read as another draft")
PY
