"""A page that shows a run, or several side by side: curves, where time went, ratings, games, settings.

``write_report`` makes one HTML file that needs nothing else. ``charts.py`` gives the curves (rl/curves.py says which,
for ``fuseki plot`` too), ``games.py`` the games that can be stepped through, ``ladder.py`` the ratings, ``settings.py``
what differs; ``static/`` holds the page's template, style and script, and uPlot (MIT), which draws the curves.
``workspace.py`` gives Weights & Biases the same layout.
"""

from rl.report.page import write_report

__all__ = ["write_report"]
