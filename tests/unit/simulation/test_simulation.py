"""Every client ends with exactly the history, despite crashes and faults.

`CHATCORE_SEEDS=N` runs N seeds instead of 100; one alone is replayed with
`python -m tests.unit.simulation SEED`.
"""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.repository import ROOT
from tests.support.soak import SOAK
from tests.unit.simulation.planted import BUGS
from tests.unit.simulation.run import Outcome, Plan, simulate

SEEDS = 100
AT_ONCE = 500
ALL = int(os.environ.get("CHATCORE_SEEDS", 20_000 if SOAK else SEEDS))
# Every planted bug must show within this many seeds. Most show in the first.
UNTIL_CAUGHT = 500

# The events that 100 seeds must have seen to prove anything.
HAPPENINGS = {
    "acknowledgements",
    "devices that lost everything",
    "followings asked again after a failure",
    "markers acknowledged",
    "messages rewritten",
    "policies cancelled",
    "policies failed",
    "refused: key_reused",
    "refused: simulated_refusal",
    "rewritten messages replayed",
    "renames acknowledged",
    "replays",
    "requests abandoned",
    "resets",
    "restarts",
    "rings late",
    "rings lost",
    "sends given up",
    "sends of unknown outcome",
    "steps of unknown outcome",
    "waits cancelled",
}


def explain(seed: int, outcome: Outcome, *arguments: str) -> str:
    command = " ".join(["python -m tests.unit.simulation", str(seed), *arguments])
    return "\n".join([*outcome.trace[-30:], repr(outcome.violation), f"Replay it: {command}"])


@pytest.mark.parametrize("first", range(0, ALL, AT_ONCE))
def test_every_client_ends_with_the_history(first: int) -> None:
    seeds = range(first, min(first + AT_ONCE, ALL))
    counts: Counter[str] = Counter()
    for seed in seeds:
        outcome = simulate(seed)
        assert outcome.violation is None, explain(seed, outcome)
        counts += outcome.counts
    if len(seeds) >= SEEDS:
        assert counts.keys() >= HAPPENINGS


def test_no_poll_is_needed_while_no_ring_is_lost() -> None:
    plan = Plan(reliable_rings=True)
    for seed in range(400 if SOAK else 20):
        outcome = simulate(seed, plan)
        assert outcome.violation is None, explain(seed, outcome, "'no ring is lost'")


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_caught(bug: str) -> None:
    assert any(simulate(seed, BUGS[bug]).violation for seed in range(UNTIL_CAUGHT))


def test_a_seed_replays_event_by_event() -> None:
    for seed in range(5):
        assert simulate(seed).trace == simulate(seed).trace
    assert simulate(1).trace != simulate(2).trace


def test_a_failing_seed_fails_again_in_the_same_way() -> None:
    plan = BUGS["cursor by time"]
    first, again = simulate(3, plan), simulate(3, plan)
    assert first.violation is not None
    assert repr(again.violation) == repr(first.violation)
    assert again.trace == first.trace


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_seed_replays_in_another_process(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.simulation", "7"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    outcome = simulate(7)
    *trace, _, _, digest = done.stdout.splitlines()
    assert trace == outcome.trace
    assert digest == outcome.digest
