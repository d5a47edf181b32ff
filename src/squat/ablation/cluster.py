"""Workers on the nodes of a Ray cluster, which need not see the results folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import tempfile
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squat.ablation.execute import Outcome, run_job
from squat.ablation.grid import Job
from squat.ablation.records import Folder, plain
from squat.ablation.tools import Tools, about_data
from squat.kernels.sources import source_hash

if TYPE_CHECKING:
    from squat.train.config import DataConfig, RunConfig


class Cluster:
    """Runs jobs as Ray tasks. Ray starts none again: a run whose node dies comes back as lost, as from a process.

    Args:
        folder: the results folder, which only this process sees.
        tools: the functions to use.
        address: of the cluster; "auto" for that of this node, "local" for one of this machine.
        n_jobs: runs at a time; -1 for as many as there are processors.
        run: one of the runs; its threads are processors that Ray sets aside, its data must be on every node.

    Raises:
        ValueError: if Ray is missing or does not answer, or a node has another squat, other data or none.
    """

    def __init__(self, folder: Folder, tools: Tools, address: str, n_jobs: int, run: RunConfig) -> None:
        try:
            import ray
        except ImportError:
            remedy = "pip install 'squat-snn[cluster]'"
            raise ValueError(f"cluster={address!r}: Ray is not installed; {remedy}") from None
        self._ray, self._tools, self._n_jobs = ray, tools, n_jobs
        self.lost: tuple[type[BaseException], ...] = (ray.exceptions.RayError,)
        self._started: dict[Future[Outcome], Any] = {}
        self._threads, self._key = run.train.threads, _key(folder)
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, address)
        try:
            self._check_nodes(run.data)
        except BaseException:
            self.close()
            raise

    def capacity(self) -> int:
        """Number of runs at a time on the nodes that are there now.

        Raises:
            ChildProcessError: if no node is left that could take a run.
        """
        room = sum(int(node["Resources"]["CPU"]) // self._threads for node in self._nodes())
        if room == 0:
            needed = f"a node with {self._threads} processors (the threads of a run)"
            raise ChildProcessError(f"the cluster has not, or no longer, {needed}; add one and start again to continue")
        return room if self._n_jobs == -1 else min(room, self._n_jobs)

    def submit(self, job: Job, parent: bytes | None) -> Future[Outcome]:
        task = self._ray.remote(_run_on_node).options(num_cpus=self._threads, max_retries=0)
        reference = task.remote(job, self._key, self._tools, parent)
        self._started = {future: task for future, task in self._started.items() if not future.done()}
        future = reference.future()
        self._started[future] = reference
        return future

    def close(self) -> None:
        """Ends the runs that are in progress, and leaves the cluster if this joined it."""
        for future, reference in self._started.items():
            if not future.done():
                self._ray.cancel(reference, force=True)
        if self._ours:
            self._ray.shutdown()

    def _nodes(self) -> list[dict[str, Any]]:
        return [
            node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= self._threads
        ]

    def _check_nodes(self, data: DataConfig) -> None:
        """Refuse nodes whose results would be others, before any run; one that fails fast would also draw all runs."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        looks = []
        for node in self._nodes():
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = self._ray.remote(_look).options(num_cpus=0, max_retries=0, scheduling_strategy=place)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            looks.append((name, look.remote(self._tools, data)))
        source, contents = _look(self._tools, data)
        for name, reference in looks:
            try:
                found = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise ValueError(f"node {name}: {error.cause}; mend that, or leave the node out") from None
            except self._ray.exceptions.RayError:  # it went away
                continue
            if found[0] != source:
                remedy = "install the same version on all nodes"
                raise ValueError(f"node {name}: its squat has other code ({found[0]}, here {source}); {remedy}")
            if found[1] != contents:
                remedy = "copy the same files to all nodes"
                raise ValueError(f"node {name}: its data {data.name!r} have other sizes or labels; {remedy}")


def _connect(ray: Any, address: str) -> None:
    options: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody was asked
        options["include_dashboard"] = False
    try:
        ray.init(address=address, log_to_driver=False, logging_level="warning", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        remedy = "start one with `ray start --head`, or name another address"
        raise ValueError(f"cluster={address!r}: no Ray cluster answers there ({error}); {remedy}") from error


def _key(folder: Folder) -> str:
    """Names a results folder among others on any node; another for one that was made anew."""
    about = folder.config.stat()
    mark = f"{socket.gethostname()}/{folder.path}/{about.st_ino}/{about.st_mtime_ns}"
    return hashlib.sha256(mark.encode()).hexdigest()[:16]


def _look(tools: Tools, data: DataConfig) -> tuple[str, str]:
    """Hashes of squat's code, and of the sizes and test labels of the data, as they are where this runs."""
    about = json.dumps(plain(about_data(tools.load_data(data))))
    return source_hash(), hashlib.sha256(about.encode()).hexdigest()


def _run_on_node(job: Job, key: str, tools: Tools, parent: bytes | None) -> Outcome:
    """Runs a job in a folder of this node; a failure names the node."""
    folder = Folder(_scratch(key))
    outcome = run_job(job, folder, tools, parent)
    if outcome.network is not None:
        shutil.rmtree(folder.work(job.id), ignore_errors=True)
        return outcome
    error = f"on node {socket.gethostname()}: {outcome.record['error']}"
    return outcome._replace(record={**outcome.record, "error": error})


def _scratch(key: str) -> Path:
    """Where the runs of an ablation work on this node; one that is started again here goes on from its last epoch.

    Every start of a Ray node has a place of its own: a node that Ray takes for dead may still write.
    """
    import ray

    mine = Path(tempfile.gettempdir()) / f"squat-{os.getuid()}"
    mine.mkdir(mode=0o700, exist_ok=True)
    if mine.stat().st_uid != os.getuid():
        raise PermissionError(f"{mine}: belongs to another user; set TMPDIR for the nodes")
    return mine / f"{key}-{ray.get_runtime_context().get_node_id()[:16]}"
