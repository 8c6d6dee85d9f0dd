"""Replay seeds: `python -m tests.unit.simulation SEED [BUG]` prints the run, event by event."""

import sys

from tests.unit.simulation.planted import BUGS
from tests.unit.simulation.run import Plan, simulate

seed, *bug = sys.argv[1:]
outcome = simulate(int(seed), BUGS[bug[0]] if bug else Plan())
for line in outcome.trace:
    sys.stdout.write(f"{line}\n")
sys.stdout.write(f"{dict(sorted(outcome.counts.items()))}\n{outcome.violation!r}\n")
sys.stdout.write(f"{outcome.digest}\n")
