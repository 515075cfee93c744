"""One run in Weights & Biases, online or as a folder to sync later, that can never do harm to the training.

What W&B does today, and what follows (tried with 0.31):

- Offline it ignores ``resume``: each session makes a folder ``wandb/offline-run-DATE-ID`` of its own, and
  ``wandb sync`` uploads the folders of one id in the order of time. Their steps must not overlap, so each session
  numbers its rows from a multiple of SESSION_STEPS upwards. Nobody need look at that number: the clock gives the axes.
- Online without a connection, ``init`` fails only after its timeout, and the id stays in use until W&B's service is
  taken down. Then the run goes on offline.
- Its service is a process of its own. When that dies, every call raises, ``finish`` included.
"""

from __future__ import annotations

import html
import logging
import netrc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rl.config import Config

log = logging.getLogger(__name__)

SESSION_STEPS = 10_000_000  # more rows than any session logs
INIT_SECONDS = 20.0  # to reach the server
FLUSH_SECONDS = 2.0  # rows that a SIGKILL may cost in W&B's folder; metrics.jsonl has them all
FINISH_SECONDS = 60.0  # to upload what is left; the rest stays in the folder for `wandb sync`
# The axis that each group of metrics has at first; a user may choose any other part of the clock.
AXES = {"learner": "learner_steps", "eval": "learner_steps", "text": "learner_steps", "weights": "learner_steps"} | {
    "video": "learner_steps",
    "selfplay": "seconds",
    "experience": "seconds",
    "actors": "seconds",
    "nodes": "seconds",
}


class WandbRun:
    """Starts the run ``run_id``; every method returns, whatever happens to W&B, after at most one warning.

    In a sweep the agent chooses run and project, and W&B passes over ours: ``run_id`` is then the agent's.
    """

    def __init__(self, run_dir: Path, config: Config, run_id: str, resumed: bool):
        sessions = len(list((run_dir / "wandb").glob(f"*run-*-{run_id}*")))
        self._step = SESSION_STEPS * sessions
        self._run: Any = None
        self.run_id = run_id
        try:
            self._run = _start(run_dir, config, run_id, resumed)
            self.run_id = self._run.id
            for axis in ("env_steps", "games", "learner_steps", "evaluations", "seconds"):
                self._run.define_metric(axis)
            for group, axis in AXES.items():
                self._run.define_metric(f"{group}/*", step_metric=axis)
        except Exception as error:  # W&B raises anything from its own errors to ConnectionResetError and pydantic's
            self._give_up(error)

    def log(self, row: dict[str, float | int]) -> None:
        self._send(row)

    def text(self, name: str, text: str, axes: dict[str, float | int]) -> None:
        """Show a text in the panel ``text/<name>``, with a slider over the steps."""
        self._show(f"text/{name}", lambda wandb: wandb.Html(f"<pre>{html.escape(text)}</pre>", inject=False), axes)

    def video(self, name: str, path: Path, axes: dict[str, float | int]) -> None:
        """Show an mp4 file in the panel ``video/<name>``, with a slider over the steps."""
        self._show(f"video/{name}", lambda wandb: wandb.Video(str(path), format="mp4"), axes)

    def _show(self, key: str, make: Callable[[Any], Any], axes: dict[str, float | int]) -> None:
        if self._run is None:
            return
        try:
            import wandb

            shown = make(wandb)
        except Exception as error:  # it writes a temporary file and more
            self._give_up(error)
        else:
            self._send({**axes, key: shown})

    def close(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.finish()
        except Exception as error:
            self._give_up(error)

    def _send(self, data: dict[str, Any]) -> None:
        if self._run is None:
            return
        try:
            self._run.log(data, step=self._step, commit=True)  # a given step alone would hold the row back
        except Exception as error:
            self._give_up(error)
        self._step += 1

    def _give_up(self, error: Exception) -> None:
        log.warning(
            "Weights & Biases stopped (%s: %s); the run goes on, and metrics.jsonl holds everything",
            type(error).__name__,
            " ".join(str(error).split()),
        )
        self._run = None
        _take_down()


def _start(run_dir: Path, config: Config, run_id: str, resumed: bool) -> Any:
    import wandb

    wanted: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "init_timeout": INIT_SECONDS,
        "finish_timeout": FINISH_SECONDS,
        "save_code": False,
        "disable_code": True,
        "disable_git": True,
        "x_disable_stats": True,
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": FLUSH_SECONDS,
    }
    known = {key: value for key, value in wanted.items() if key in wandb.Settings.model_fields}
    settings = wandb.setup(wandb.Settings(silent=True)).settings  # WANDB_MODE and all else that W&B reads itself
    mode: str = settings.mode
    if mode in ("online", "run") and not logged_in(settings):
        mode = "offline"  # instead of a question in the terminal, or an error where there is none

    def init(mode: Any) -> Any:
        return wandb.init(
            project=config.wandb.project,
            name=config.wandb.name or run_dir.resolve().name,
            tags=list(config.wandb.tags) or None,
            config=config.model_dump(mode="json"),
            dir=str(run_dir),
            id=run_id,
            resume="allow" if resumed and mode != "offline" else None,
            mode=mode,
            reinit="create_new",  # leaves a W&B run of the caller's own alone
            settings=wandb.Settings(**known),
        )

    try:
        return init(mode)
    except wandb.errors.Error as error:
        if mode != "online":
            raise
        log.warning("Weights & Biases cannot be reached (%s); the run is recorded offline", type(error).__name__)
        _take_down()
        wandb.setup(wandb.Settings(silent=True))
        return init("offline")


def logged_in(settings: Any) -> bool:
    """Whether credentials are at hand, as W&B itself looks for them: its settings and environment, else netrc."""
    if settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    hosts = {urlsplit(settings.base_url).netloc, "api.wandb.ai"}  # the latter's keys serve W&B's newer address too
    # Environment: NETRC moves the file, for W&B as for curl.
    candidates = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in map(os.path.expanduser, candidates):
        try:
            found = netrc.netrc(path)
        except (OSError, netrc.NetrcParseError):
            continue  # absent or not readable: W&B too goes on without it
        return any(found.authenticators(host) for host in hosts)
    return False


def _take_down() -> None:
    """End W&B's service. A dead one would print a traceback when Python exits, a living one hold on to the id."""
    try:
        import wandb

        wandb.teardown(1)
    except Exception as error:
        log.debug("W&B's service did not go down cleanly: %r", error)
