"""Tree search as arrays: the room that turns a network's opinion into a better one. No torch here.

Read ``search.py`` (the interface), then ``tree.py`` (the arrays), ``roots.py`` (how a search begins), ``lane.py``
(simulate, expand, back up in one game's tree), ``nodes.py`` (its nodes, and what is proven of them), ``policies.py``
(Gumbel and PUCT choices) and ``kernels.py`` (the loops over games that Python calls); ``handles.py`` is how arrays get
into compiled code.
"""

from rl.search.search import Evaluate, Search
from rl.search.tree import Tree

__all__ = ["Evaluate", "Search", "Tree"]
