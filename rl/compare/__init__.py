"""Ways of learning compared at equal compute: trained with several seeds each, measured, put side by side.

* ``plan.py``      what is compared: configurations, seeds, budget
* ``running.py``   trains what is not trained yet; everything can be stopped and goes on where it was
* ``measuring.py`` how strong each agent is that a run kept on its way, and the last ones against each other
* ``results.py``   one table and one JSON of it all; ``picture.py`` the curves
* ``scaling.py``   the fit of a study of sizes
"""

from rl.compare.plan import Contender, Plan, Wrong, make_plan
from rl.compare.results import compare

__all__ = ["Contender", "Plan", "Wrong", "compare", "make_plan"]
