"""How good is an agent? Read ``evaluate.py`` first.

``players.py`` (who can play), ``arena.py`` (matches and their referee), ``game_files.py`` (their games as SGF),
``ratings.py`` (Elo over many matches), ``rollout_mcts.py`` (the learning-free yardstick), ``gtp_player.py`` and
``gtp_engine.py`` (other engines), ``solver.py`` and ``truth.py`` (perfect play, and positions with exact scores).
"""
