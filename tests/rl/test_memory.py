"""Updates reuse the memory of earlier ones instead of having the system clear new pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource")

# In a process of its own, whose memory nobody else has used.
UPDATES = """
import resource, statistics, sys, torch
from rl.learner.memory import keep_freed_memory

torch.set_num_threads(1)
assert sys.argv[1] == "plain" or keep_freed_memory()
weights, rows = torch.randn(512, 2048, requires_grad=True), torch.randn(1024, 512)
faults = []
for update in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    (rows @ weights).relu().square().mean().backward()
    weights.grad = None
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(statistics.median(faults[10:]))  # now and then the heap grows, or the system takes pages away
"""


def page_faults(how: str) -> float:
    """Of an update, in the median."""
    done = subprocess.run([sys.executable, "-c", UPDATES, how], check=True, capture_output=True, text=True)
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_kept() -> None:
    plain, kept = page_faults("plain"), page_faults("kept")
    assert plain > 500, "else there is nothing to be gained, and rl/learner/memory.py can go"
    assert kept < plain / 10
