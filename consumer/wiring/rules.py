"""`segmenter rules run`, wired from settings."""

from __future__ import annotations

from consumer.contract.errors import UsageError
from consumer.kafka.groups import rules_group
from consumer.kafka.topics import check_topics
from consumer.settings import Settings
from consumer.stages.rules.stage import RuleStage
from consumer.wiring.shell import ends_at_once, run
from models.rules.rule_set import RuleSet, RuleSetError


def rules_of(settings: Settings) -> RuleSet:
    """Give the rules that settings hold.

    Raises
    ------
    UsageError
        If one of them is none.
    """
    try:
        own = settings.rules
        return RuleSet.of(own.segments, own.longest_window, own.kept_events)
    except RuleSetError as error:
        raise UsageError(str(error)) from None


@ends_at_once
def run_rules(settings: Settings) -> None:
    """Follow users under rules until SIGTERM or SIGINT."""
    rules = rules_of(settings)
    asking = [rule.name for rule in rules.rules if rule.asks_words]
    if asking and settings.profile.words != "all":
        raise UsageError(
            f"rules.segments.{asking[0]} asks for words, which profiles have of all users only "
            "with profile.words = all"
        )
    check_topics(settings)
    stage = RuleStage(settings, rules)
    run(
        settings,
        stage,
        stage.figures,
        role="rules",
        group_id=rules_group(settings.kafka),
        facts=lambda: {"rules": len(rules.names)},
        command="rules run",
    )
