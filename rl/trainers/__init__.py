"""The learner's side of the cycle, whole: experience and learner together, where they share memory."""
