"""The dashboards against Grafana's own schema, by the compiler of TypeScript.

Grafana publishes the types of dashboards and of the options of each kind of panel. A dashboard is
written down as a value of these types: a name that Grafana does not know, a value that it does not
have, or an option that it wants and does not get is an error. Wants npm, and a network the first
time.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.embedding.cache import cache_folder
from tests.dashboards.contents import Board, panels_of

_HERE = Path(__file__).parent
_PACKAGES = ("package.json", "package-lock.json")
_HEAD = """\
import { Dashboard } from "@grafana/schema/dist/types/raw/dashboard/x/types.gen";
// Enumerations are strings in JSON.
type Plain<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""
_PANEL = "@grafana/schema/dist/types/raw/composable/{kind}/panelcfg/x/types.gen"
# By kind of panel, whether its fields have options of its own.
_KINDS = {
    "stat": False,
    "timeseries": True,
    "state-timeline": True,
    "bargauge": False,
    "table": True,
}
# What Grafana writes and reads for Prometheus beside what its schema has.
_BESIDE = {"expr", "step", "titleFormat", "textFormat", "useValueForTime", "definition"}


class SchemaError(Exception):
    """The schema cannot be had."""


def problems(boards: Mapping[str, Board]) -> list[str]:
    """Say what of the dashboards is not as Grafana's schema has it.

    Raises
    ------
    SchemaError
        If npm is not there or fails.
    """
    folder = cache_folder() / "grafana-schema"
    _install(folder)
    (folder / "check.ts").write_text(typescript(boards), encoding="utf-8")
    command = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck"]
    command += ["--module", "commonjs", "--moduleResolution", "node", "--target", "es2020"]
    done = subprocess.run(
        [*command, "check.ts"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode and not done.stdout:
        raise SchemaError(f"the compiler says nothing but {done.stderr.strip()}")
    return done.stdout.splitlines()


def _install(folder: Path) -> None:
    wanted = [(_HERE / name).read_bytes() for name in _PACKAGES]
    if (folder / "node_modules").exists() and wanted == [
        (folder / name).read_bytes() for name in _PACKAGES
    ]:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in zip(_PACKAGES, wanted, strict=True):
        (folder / name).write_bytes(content)
    try:
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError as error:
        raise SchemaError("there is no npm, which --schema needs") from error
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder)
        raise SchemaError(f"npm cannot install Grafana's schema: {error.stderr}") from error


def typescript(boards: Mapping[str, Board]) -> str:
    """Write the dashboards as values of Grafana's types."""
    lines = [_HEAD]
    for kind in _KINDS:
        source = _PANEL.format(kind=kind.replace("-", ""))
        lines.append(f'import * as {_identifier(kind)} from "{source}";')
    for name, board in boards.items():
        lines.append(_constant(name, "Dashboard", _schematic(board)))
        for panel in panels_of(board):
            if panel["type"] == "row":
                continue
            kind = _identifier(panel["type"])
            lines.append(f"// {panel['title']}")
            constant = f"{name}_{panel['id']}"
            lines.append(_constant(constant, f"{kind}.Options", panel["options"]))
            custom = panel["fieldConfig"]["defaults"].get("custom", {})
            of = f"{kind}.FieldConfig" if _KINDS[panel["type"]] else "Record<string, never>"
            lines.append(_constant(f"{constant}_fields", of, custom))
    return "\n".join(lines) + "\n"


def _constant(name: str, of: str, value: Any) -> str:
    return f"export const {name}: Plain<{of}> = {json.dumps(value, indent=1)};"


def _identifier(kind: str) -> str:
    return kind.replace("-", "_")


def _schematic(board: Board) -> Board:
    """Leave out what is beside the schema."""
    board = copy.deepcopy(board)
    for each in (*board["annotations"]["list"], *board["templating"]["list"]):
        for name in _BESIDE & each.keys():
            del each[name]
    return board
