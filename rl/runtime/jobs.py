"""Runs as jobs of a Ray cluster, from outside of it: sent, followed, looked at and stopped by Ray's Jobs API.

Reads: a configuration, this package's own code, the cluster's token. Writes: a job whose driver is ``fuseki train``.

The token goes along with every request, and a cluster that would have answered without one is refused: whoever reaches
its ports runs what he likes there. Nothing secret is sent: keys of W&B and of stores belong to the cluster's
environment, since a job's own environment is shown to everyone who may look at the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl.config import Config
from rl.runtime.packing import CODE, packed
from rl.storage import is_url

PORT = 8265  # of the dashboard, which serves the Jobs API
RUNS = "fuseki-runs"  # in the home of whoever runs Ray on the head: where runs go that are given no place
STOP_SECONDS = 120  # that a stopped run has for its last checkpoint; Ray's own default is 3
RETRY_SECONDS = 2.0
RETRIES = 60  # in a row, to follow a log whose connection broke
ENVIRONMENT = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # Ray prefers these to the address that it is given
TOKEN_HELP = "`umask 077; ray get-auth-token --generate` makes one, which every machine of the cluster and yours needs"


class ClusterError(ValueError):
    """The cluster cannot be used as it was asked for; the message is one sentence with the remedy."""


class ClusterLost(RuntimeError):
    """The cluster stopped answering; the message is one sentence."""


@dataclass(frozen=True)
class Job:
    """What is known of a job."""

    name: str
    status: str  # PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED
    run_dir: str  # as it was asked for; "" of a job that is none of ours
    config: str  # name of the configuration
    message: str
    started: float | None  # Unix time in seconds
    ended: float | None
    exit_code: int | None

    @property
    def over(self) -> bool:
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


def url_of(address: str) -> str:
    """The dashboard's URL of "head", "head:8265" or a URL. Raises ClusterError for what Ray calls an address else."""
    found = re.fullmatch(r"(?:(\w+)://)?([^/\s]+)/?", address)
    if found is None or found[1] not in (None, "http", "https") or found[2] == "auto":
        raise ClusterError(
            f"--address {address!r} must be the cluster's dashboard, such as http://head:{PORT} or, through a tunnel,"
            f" http://127.0.0.1:{PORT}"
        )
    scheme, host = found[1] or "http", found[2]
    with_port = re.search(r":\d+$", host) or scheme == "https"
    return f"{scheme}://{host}" if with_port else f"{scheme}://{host}:{PORT}"


def token() -> str:
    """The Ray token of this user, from where Ray itself takes it. Raises ClusterError when there is none."""
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return value
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        value = path.read_text().strip()
    except OSError as error:
        if not named and isinstance(error, FileNotFoundError):
            raise ClusterError(
                f"there is no Ray token: neither RAY_AUTH_TOKEN nor {str(path)!r}; {TOKEN_HELP}"
            ) from error
        raise ClusterError(f"cannot read the Ray token in {str(path)!r}: {error.strerror}") from error
    if not value:
        raise ClusterError(f"the Ray token in {str(path)!r} is empty; {TOKEN_HELP}")
    return value


class Cluster:
    """A running cluster, seen from outside. Every method raises ClusterError or ClusterLost, in one sentence."""

    def __init__(self, address: str):
        """Raises ClusterError where nobody answers, the token is wrong, or the cluster asks for none."""
        self.url = url_of(address)
        self._headers = {"Authorization": f"Bearer {token()}"}
        if not all(map(importlib.util.find_spec, ("requests", "aiohttp", "aiohttp_cors"))):
            raise ClusterError("Ray's Jobs API needs more of Ray than is installed: pip install 'fuseki[cluster]'")
        from ray.job_submission import JobSubmissionClient

        for chatty in ("dashboard_sdk", "job.sdk"):
            logging.getLogger(f"ray.dashboard.modules.{chatty}").setLevel(logging.WARNING)
        self._check_locked()
        with _without(*ENVIRONMENT), self._speaking():
            self._client = JobSubmissionClient(self.url, headers=self._headers)

    def _check_locked(self) -> None:
        """Raises ClusterError unless a request without a token is refused."""
        import requests

        with self._speaking():
            answer = requests.get(f"{self.url}/api/jobs/", timeout=20)
        if answer.status_code == 200:
            raise ClusterError(
                f"the cluster at {self.url} takes jobs from anybody, without a token, so nothing is sent there: start"
                " Ray with RAY_AUTH_MODE=token on each of its machines (cluster/README.md)"
            )
        if answer.status_code not in (401, 403):
            raise ClusterError(f"what answers at {self.url} is no Ray dashboard (HTTP status {answer.status_code})")

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        import requests
        from ray.exceptions import AuthenticationError
        from ray.util.state.exception import RayStateApiException

        try:
            yield
        except (requests.exceptions.RequestException, ConnectionError) as error:
            raise ClusterError(
                f"no Ray dashboard answers at {self.url}; it listens on the head's port {PORT}, by default on its"
                f" loopback alone, to which `ssh -L {PORT}:127.0.0.1:{PORT} HEAD` makes a tunnel"
            ) from error
        except AuthenticationError as error:
            raise ClusterError(
                f"the cluster at {self.url} refuses your Ray token: it is not the cluster's own"
            ) from error
        except (RuntimeError, RayStateApiException) as error:  # an HTTP status of 500, say
            raise ClusterError(f"the cluster at {self.url} is in trouble itself: {_first_line(error)}") from error

    def submit(self, config: Config, name: str, run_dir: str | None, resume: bool) -> Job:
        """Send a run, its code included. ``run_dir``: a URL, or an absolute path as all machines see it.

        Without one the run goes to ~/fuseki-runs/NAME of the machine where the driver runs, and its learner with it.
        """
        if run_dir is not None and not is_url(run_dir) and not run_dir.startswith("/"):
            raise ClusterError(
                f"--run-dir {run_dir!r} must be a URL such as s3://bucket/run, or an absolute path on a disk that every"
                " machine of the cluster sees: a job has no folder of its own that lasts"
            )
        where = shlex.quote(run_dir) if run_dir is not None else f'"$HOME"/{RUNS}/{shlex.quote(name)}'
        command = f"exec python -m rl.cli train run.yaml --run-dir {where}" + (" --resume" if resume else "")
        with packed(config) as sent, self._speaking():
            try:
                self._client.submit_job(
                    entrypoint=" ".join([command, *map(shlex.quote, sent.words)]),
                    submission_id=name,
                    runtime_env={
                        "working_dir": str(sent.folder),
                        "py_modules": [str(sent.code / package) for package in CODE],
                        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), "PYTHONUNBUFFERED": "1"},
                    },
                    metadata={"run_dir": run_dir or f"~/{RUNS}/{name}", "config": name.rsplit("-", 3)[0]},
                )
            except RuntimeError as error:
                raise ClusterError(f"the cluster at {self.url} did not take the job: {_first_line(error)}") from error
        return self.job(name)

    def job(self, name: str) -> Job:
        with self._speaking():
            try:
                return _job(self._client.get_job_info(name))
            except RuntimeError as error:
                if "404" not in str(error):
                    raise
                raise ClusterError(f"the cluster at {self.url} knows no job {name!r}{self._known()}") from error

    def jobs(self) -> list[Job]:
        """Newest first."""
        with self._speaking():
            found = [_job(details) for details in self._client.list_jobs() if details.submission_id]
        return sorted(found, key=lambda job: -(job.started or 0.0))

    def nodes(self) -> list[dict[str, Any]]:
        """Living nodes as Ray's state API tells of them: node_ip, is_head_node, resources_total, ..."""
        return [node for node in self._state("nodes") if node["state"] == "ALIVE"]

    def actors(self) -> list[dict[str, Any]]:
        """Living Ray actors: class_name, node_id, pid, ..."""
        return [actor for actor in self._state("actors") if actor["state"] == "ALIVE"]

    def _state(self, what: str) -> list[dict[str, Any]]:
        from ray.util.state import StateApiClient
        from ray.util.state.common import ListApiOptions, StateResource

        with _without(*ENVIRONMENT), self._speaking():
            client = StateApiClient(self.url, headers={"Content-Type": "application/json", **self._headers})
            found = client.list(StateResource(what), ListApiOptions(limit=10_000), raise_on_missing_output=False)
        return [{field: getattr(entry, field, None) for field in entry.list_columns()} for entry in found]

    def log(self, name: str) -> str:
        """The whole log of a job so far."""
        with self._speaking():
            return str(self._client.get_job_logs(name))

    def follow(self, name: str, say: Callable[[str], object]) -> Job:
        """Pass on a job's log as it grows, until the job is over. Raises ClusterLost when nobody answers for long."""
        said, failures = 0, 0
        while True:
            try:
                said = asyncio.run(self._tail(name, said, say))
                job = self.job(name)
                if job.over:
                    if rest := self.log(name)[said:]:  # what came between the last look and the end
                        say(rest)
                    return job
            except ClusterError as error:
                failures += 1
                if failures > RETRIES:
                    raise ClusterLost(f"{error}; the job {name} may go on without us") from error
            else:
                failures = 0
            time.sleep(RETRY_SECONDS)

    async def _tail(self, name: str, skip: int, say: Callable[[str], object]) -> int:
        """Pass on what is new of the log, until the connection ends; ``skip`` and what is returned count characters."""
        import aiohttp

        seen = 0
        try:
            async for text in self._client.tail_job_logs(name):
                seen += len(text)
                if seen > skip:
                    say(text[-(seen - skip) :])
                    skip = seen
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: closed without a farewell
            logging.getLogger(__name__).info("the log of %s broke off: %s", name, error)
        return skip

    def stop(self, name: str) -> Job:
        """End a job, which first saves a checkpoint; returns when it has. A job that is over stays as it is."""
        if (job := self.job(name)).over:
            return job
        with self._speaking():
            self._client.stop_job(name)
        deadline = time.monotonic() + STOP_SECONDS + 30
        while not (job := self.job(name)).over and time.monotonic() < deadline:
            time.sleep(0.5)
        return job

    def _known(self) -> str:
        names = [job.name for job in self.jobs()][:5]
        return f"; its newest are {', '.join(names)}" if names else ", nor any other"


def _job(details: Any) -> Job:
    metadata = details.metadata or {}
    return Job(
        name=details.submission_id,
        status=str(getattr(details.status, "value", details.status)),
        run_dir=metadata.get("run_dir", ""),
        config=metadata.get("config", ""),
        message=_first_line(details.message or ""),
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        exit_code=details.driver_exit_code,
    )


def new_name(config: Path) -> str:
    """A job's name, also its run's: of the configuration, the time, and something that no other has."""
    stem = re.sub(r"[^\w.-]+", "-", config.stem)
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """Within the block these environment variables are not set."""
    held = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(held)


def _first_line(text: object) -> str:
    return " ".join(str(text).strip().split("\n", 1)[0].split())
