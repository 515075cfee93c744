"""What holds for all tests: one thread for torch."""

import os
import sys

import pytest

# Small tensors gain nothing from a second thread, and on a busy machine its waiting costs a factor of ten. torch reads
# this when it is first imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _one_thread():
    """The same again before each test: an earlier one may have run code that takes more threads for this process."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
