"""Vega, Vega-Lite and Vega-Embed as one script that a page can hold.

The package vl-convert-python brings them. To bundle them takes it some seconds of computing, so
what comes of it is kept in the user's cache, by the versions that are in it.
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

from models.embedding.cache import cache_folder

_RIGHTS = """/*! Vega, Vega-Lite, Vega-Embed and Vega-Tooltip: Copyright University of Washington
Interactive Data Lab and the authors of Vega, BSD-3-Clause. D3: Copyright Mike Bostock, ISC. */"""


def vega_script(cache: Path | None = None) -> str:
    """Give the script, which makes `vegaEmbed` known; nothing in it ends a script element.

    Parameters
    ----------
    cache
        What keeps it once it is made; the user's cache if None.
    """
    kept = (cache or cache_folder()) / "vega" / f"{version('vl-convert-python')}.js"
    if not kept.exists():
        _keep(kept, _bundled())
    return kept.read_text(encoding="utf-8")


def _bundled() -> str:
    import vl_convert  # noqa: PLC0415 - 90 MB, and not needed once the script is made

    # Of "</script" and "<!--" a browser would make an end of the script, wherever they stand.
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    script = script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    # Its own names stay its own.
    return f"{_RIGHTS}\n(() => {{{script}\n}})();"


def _keep(path: Path, script: str) -> None:
    """Write it whole or not at all: another process may read it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(script)
    Path(name).replace(path)
