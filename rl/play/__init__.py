"""One agent, several doors: ``terminal.py`` is a game in the terminal."""
