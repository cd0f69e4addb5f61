"""`make test-dashboards`: every query of the dashboards and every rule on a real Prometheus.

Checks and tests the rules and KEDA's queries with promtool, starts a broker, intake, two workers, a
trainer and the audit, has a real Prometheus scrape them, sends a stream, and asks every query until
each has had data. Takes two to five minutes. Prometheus is the one on the PATH, else Debian's
package, which is fetched by apt-get into the user's cache and not installed. Exit code 0: all is as
it should be. 1: a rule or a metric is wrong, or a query has no data. 2: it could not be tried out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from consumer.tryout.broker import BrokerError
from consumer.tryout.demo.processes import ChildError
from tests.dashboards import schema
from tests.dashboards.contents import RULES, RULES_TEST, load_boards
from tests.dashboards.group import Group, GroupError
from tests.dashboards.judge import Finding, judge, missing
from tests.dashboards.may_be_empty import MAY_BE_EMPTY
from tests.dashboards.picture import draw
from tests.dashboards.scaling import promtool_tests
from tests.dashboards.schema import SchemaError
from tests.dashboards.server import Prometheus, PrometheusError
from tests.dashboards.tools import Tools, ToolsError, find_tools

_PATIENCE_SECONDS = 240.0
_PAUSE_SECONDS = 5


def check_rules(tools: Tools) -> bool:
    """Check and test the rules, and KEDA's queries; promtool itself says what is wrong."""
    with tempfile.NamedTemporaryFile("w", prefix="keda-", suffix=".yaml") as scaling:
        scaling.write(promtool_tests())
        scaling.flush()
        commands = (
            ["check", "rules", str(RULES)],
            ["test", "rules", str(RULES_TEST), scaling.name],
        )
        return all(
            subprocess.run([str(tools.promtool), *command], check=False).returncode == 0
            for command in commands
        )


def check_schema() -> bool:
    """Hold the dashboards against Grafana's schema."""
    boards = load_boards()
    found = schema.problems(boards)
    sys.stdout.writelines(f"{line}\n" for line in found)
    sys.stdout.write(f"{len(boards)} dashboards, {len(found)} lines of problems\n")
    return not found


def check_metrics(tools: Tools, targets: Mapping[str, Sequence[int]]) -> bool:
    """Hold the names and types of all metrics against Prometheus' conventions."""
    good = True
    for port in (port for ports in targets.values() for port in ports):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            metrics = answer.read()
        done = subprocess.run(
            [str(tools.promtool), "check", "metrics"],
            input=metrics,
            capture_output=True,
            check=False,
        )
        said = [
            line
            for line in (done.stdout + done.stderr).decode(errors="replace").splitlines()
            # The others are the client library's own.
            if line.startswith("segmenter_")
        ]
        if said:
            good = False
            sys.stdout.write("\n".join(f"METRIC: {line}" for line in said) + "\n")
    return good


def try_out(
    tools: Tools, folder: Path, patience: float = _PATIENCE_SECONDS, pictures: Path | None = None
) -> bool:
    """Run the group under Prometheus until every query has had data, or patience ends."""
    boards = load_boards()
    say = sys.stderr.write
    say(f"starting a broker and the group; logs in {folder}\n")
    with (
        Group(folder) as group,
        Prometheus(tools.prometheus, folder / "prometheus", RULES, group.targets) as prometheus,
    ):
        group.feed()
        deadline = time.monotonic() + patience
        while True:
            time.sleep(_PAUSE_SECONDS)
            group.check()
            findings = judge(prometheus, boards)
            wrong = missing(findings, MAY_BE_EMPTY)
            say(f"{len(findings) - len(wrong)} of {len(findings)} queries are as they should be\n")
            done = not wrong and (pictures is None or group.fed)
            if done or time.monotonic() > deadline:
                break
        good = check_metrics(tools, group.targets)
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            for name, board in boards.items():
                draw(prometheus, board, pictures / f"dashboard-{name}.png")
        down = prometheus.targets_down()
        alerts = [
            rule["name"]
            for rule in prometheus.rules()
            if rule.get("state", "inactive") != "inactive"
        ]
    sys.stdout.write(report(findings, wrong, down, alerts))
    return good and not wrong and not down


def report(
    findings: Sequence[Finding],
    wrong: Sequence[Finding],
    down: Sequence[str],
    alerts: Sequence[str],
) -> str:
    """Give all queries, then what is wrong."""
    width = max(len(finding.place) for finding in findings)
    lines = [f"{finding.place:{width}}  {finding.series:4} series" for finding in findings]
    lines += [f"may be empty: {place}: {why}" for place, why in MAY_BE_EMPTY.items()]
    lines += [f"alert that is pending or fires: {name}" for name in alerts]
    lines += [f"NOT SCRAPED: {target}" for target in down]
    for finding in wrong:
        what, why = ("ERROR", finding.error) if finding.error else ("NO DATA", finding.expr)
        lines.append(f"{what}: {finding.place}: {why}")
    lines.append(
        f"all {len(findings)} queries are as they should be"
        if not wrong
        else f"{len(wrong)} of {len(findings)} queries are wrong"
    )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="make test-dashboards", description=__doc__)
    parser.add_argument(
        "--prometheus", type=Path, metavar="FOLDER", help="where prometheus and promtool are"
    )
    parser.add_argument(
        "--rules-only", action="store_true", help="check and test the rules, start nothing"
    )
    parser.add_argument(
        "--schema",
        action="store_true",
        help="hold the dashboards against Grafana's schema (needs npm), start nothing",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=_PATIENCE_SECONDS,
        metavar="SECONDS",
        help="how long queries may have no data yet (default: %(default)g)",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="for pictures of the dashboards at the stream's end, dashboard-NAME.png",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for logs and data; kept")
    options = parser.parse_args(arguments)
    try:
        if options.schema:
            return 0 if check_schema() else 1
        tools = find_tools(options.prometheus)
        if not check_rules(tools):
            return 1
        if options.rules_only:
            return 0
        with ExitStack() as stack:
            folder = options.output or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="dashboards-"))
            )
            folder.mkdir(parents=True, exist_ok=True)
            good = try_out(tools, folder, options.patience, options.pictures)
            return 0 if good else 1
    except (BrokerError, ChildError, GroupError, PrometheusError, SchemaError, ToolsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
