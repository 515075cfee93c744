"""Why an agent decides as it does, and where it can be led astray. Needs the extra ``insight`` (captum, scikit-learn).

Reads: agents, their runs' checkpoints, solver truth. Writes: numbers with intervals, and pictures.

* ``questions.py``     what is asked of a network: its inputs, the number to be explained, what counts as absent
* ``saliency.py``      which inputs matter: gradients, integrated gradients, occlusion
* ``faithfulness.py``  whether they do: what hiding the highest ranked changes, against hiding any others
* ``attention.py``     where transformer encoders look, each head of each layer, and through all layers
* ``positions.py``     positions that agents come to; ``concepts.py`` and ``go_concepts.py``: what is known of them
* ``probes.py``        at which depth and after how much training a concept can be read off, against control tasks
* ``perturbation.py``  return against the strength of noise, FGSM and PGD on observations
* ``symmetry.py``      whether mirrored and rotated positions get the same answer
* ``blunders.py``      positions in which search and solver truth disagree most
* ``exploiter.py``     the win rate of an adversary trained against the agent, by its compute
* ``intervals.py``     95 % intervals over games, whose positions are alike
* ``wording.py``       all of it as lines to read; ``drawing.py``: as pictures (matplotlib)
"""
