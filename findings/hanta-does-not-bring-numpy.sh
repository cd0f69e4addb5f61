#!/usr/bin/env bash
# What:    HanTa, the Hanover Tagger, declares no dependency and imports numpy. So it installs into an empty
#          environment, pip check is content, and no module of it can be imported.
# Why:     it is called pure Python, and works wherever something else has brought numpy: on the developer's
#          machine, not in the small image.
# Version: HanTa 1.2.1
# Seen:
#   required: nothing; pip check: No broken requirements found.
#   import: No module named 'numpy'
#   after pip install numpy: hiking is VVG, NN1, AJ0
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3.11 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check HanTa==1.2.1

look() {
    venv/bin/python - <<'PY'
from importlib.metadata import requires, version

print("HanTa", version("HanTa"), "requires:", requires("HanTa") or "nothing")
try:
    from HanTa.HanoverTagger import HanoverTagger
except ModuleNotFoundError as error:
    raise SystemExit(f"import: {error}")
print("hiking is", ", ".join(tag for tag, _ in HanoverTagger("morphmodel_en.pgz").tag_word("hiking")))
PY
}

echo "expected: what pip installs can be imported"
echo "pip check: $(venv/bin/pip --disable-pip-version-check check)"
if said=$(look 2>&1); then
    echo "changed: it can be imported: $said"
    exit 1
fi
echo "seen: $said"
case $said in *"No module named 'numpy'"*) ;; *) echo "changed: another reason"; exit 1 ;; esac
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.3.5
echo "seen, with numpy: $(look)"
