"""``python -m rl.cli`` is ``fuseki``, where the command is not installed but the code was sent along (``submit``)."""

from rl.cli import app

if __name__ == "__main__":
    app(prog_name="fuseki")
