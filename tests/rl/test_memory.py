"""Updates reuse the memory of earlier ones instead of having the system clear new pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource")

# In a process of its own, whose memory nobody else has used.
UPDATES = """
import resource, sys, torch
from rl.learner.memory import keep_freed_memory

torch.set_num_threads(1)
assert sys.argv[1] == "plain" or keep_freed_memory()
weights, rows = torch.randn(512, 2048, requires_grad=True), torch.randn(1024, 512)
for update in range(30):
    if update == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    (rows @ weights).relu().square().mean().backward()
    weights.grad = None
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", UPDATES, how], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.slow  # what glibc keeps by itself changes from run to run
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_kept() -> None:
    plain, kept = page_faults("plain"), page_faults("kept")
    assert plain > 10_000, "else there is nothing to be gained, and rl/learner/memory.py can go"
    assert kept < plain / 2  # the heap grows late at times
