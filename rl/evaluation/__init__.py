"""How good is an agent? Read ``evaluate.py`` first.

``players.py`` (who can play), ``arena.py`` (matches), ``ratings.py`` (Elo over many matches), ``rollout_mcts.py`` (the
learning-free yardstick), ``solver.py`` and ``truth.py`` (perfect play, and positions with exact scores).
"""
