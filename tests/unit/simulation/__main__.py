"""Replay a seed: `python -m tests.unit.simulation SEED [BUG]` prints the run, event by event."""

import sys

from tests.unit.simulation.planted import BUGS
from tests.unit.simulation.run import Plan, simulate

seed, *bug = sys.argv[1:]
plans = {"no ring is lost": Plan(reliable_rings=True), **BUGS}
outcome = simulate(int(seed), plans[bug[0]] if bug else Plan())
for line in outcome.trace:
    sys.stdout.write(f"{line}\n")
sys.stdout.write(f"{dict(sorted(outcome.counts.items()))}\n{outcome.violation!r}\n")
sys.stdout.write(f"{outcome.digest}\n")
