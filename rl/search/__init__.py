"""Tree search as arrays: the room that turns a network's opinion into a better one. No torch here.

Read ``search.py`` (the interface), then ``tree.py`` (the arrays), ``kernels.py`` (simulate, expand, back up)
and ``policies.py`` (Gumbel and PUCT choices).
"""

from rl.search.search import Evaluate, Search
from rl.search.tree import Tree

__all__ = ["Evaluate", "Search", "Tree"]
