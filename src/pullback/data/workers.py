"""Worker processes: what runs in one, and the pool of them that the main process holds.

Each worker has one connection. Tasks go there, small messages come back (`shared.MESSAGE`); what is large lies in
shared memory. A worker's answers come in the order of its tasks.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import PACKAGE, PullbackError, fail
from .fetch import END, FromIterable, FromMap, known_index, listed
from .shared import MESSAGE, Reader, SharedFile, Status, Writer
from .streams import derived, seed_all

GRACE = 1.0  # seconds for workers to end by themselves
CHECK = 2.0  # seconds after which a silent worker is looked at: a process it left behind may hide its end
BATCH, EXHAUSTED, FAILED = "batch", "exhausted", "failed"  # kinds of answers


@dataclass
class WorkerInfo:
    """Which worker this is."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker, which one this is; in the main process, None."""
    return _info


# -- in the worker -----------------------------------------------------------------------------------------------------


class Abandoned(BaseException):
    """The main process does not want this batch any more."""


class Worker:
    """Makes the batches it is told to, until it is told to stop or nobody is there any more."""

    def __init__(self, connection: Any, file: SharedFile, fetch: FromMap | FromIterable, id: int) -> None:
        self.connection, self.status, self.writer = connection, file.status, Writer(file)
        self.fetch, self.id = fetch, id
        self.epoch, self.seed, self.made, self.skip = 0, 0, 0, 0
        self.parent = os.getppid()

    def run(self, init: Callable[[int], Any] | None, seed: int) -> None:
        broken = None
        seed_all(seed)
        try:
            if init is not None:
                init(self.id)
        except Exception as error:
            error.add_note("in worker_init_fn")
            broken = error
        self.status[Status.PLACE] = Status.IDLE
        while (task := self._next_task()) is not None:
            kind, epoch, *rest = task
            if epoch != self.status[Status.EPOCH]:
                continue
            if kind == "epoch":
                self._begin(epoch, *rest)
            else:
                number, index = rest
                self._answer(epoch, number, index, broken)

    def _next_task(self) -> Any:
        try:
            while not self.connection.poll(1.0):
                if os.getppid() != self.parent:
                    return None
            task, freed = self.connection.recv()
        except (EOFError, OSError):
            return None
        for offset in freed:
            self.writer.give_back(offset)
        return task

    def _begin(self, epoch: int, seed: int, made: int, state: Any) -> None:
        self.epoch, self.seed, self.made = epoch, seed, 0
        if isinstance(self.fetch, FromIterable):
            self.fetch.restart()
            if state is not None:
                self.fetch.load(state)
                self.made = made
            self.skip = made - self.made

    def _mark(self, place: int) -> None:
        self.status[Status.PLACE] = place
        if self.status[Status.EPOCH] != self.epoch:
            raise Abandoned

    def _answer(self, epoch: int, number: int, index: Any, broken: Exception | None) -> None:
        self.status[Status.BATCH] = number
        self.status[Status.PLACE] = 0
        try:
            if broken is not None:
                raise broken
            answer = self._make(number, index)
        except Abandoned:
            return
        except BaseException as error:
            answer = (FAILED, _portable(error, number, index), None)
        try:
            where = self.writer.write(answer)
        except Exception as error:
            error.add_note(f"batch {number} cannot be sent from the worker to the main process")
            where = self.writer.write((FAILED, _portable(error, number, index), None))
        self.status[Status.PLACE] = Status.IDLE
        self.connection.send_bytes(MESSAGE.pack(epoch, number, *where))

    def _make(self, number: int, index: Any) -> tuple[str, Any, Any]:
        fetch = self.fetch
        if isinstance(fetch, FromMap):
            seed_all(derived(self.seed, number))
            return BATCH, fetch(number, index, self._mark), None
        while self.skip and self._take() is not END:
            self.skip -= 1
        samples = self._take()
        if samples is END:
            return EXHAUSTED, None, None
        batch = fetch.finish(number, samples, self._mark)
        return BATCH, batch, fetch.state()

    def _take(self) -> Any:
        """The next samples of an iterable dataset, under the generators of this batch of this worker."""
        assert isinstance(self.fetch, FromIterable)
        seed_all(derived(self.seed, self.id, self.made))
        self.made += 1
        return self.fetch.take(self._mark)


def _portable(error: BaseException, number: int, index: Any) -> tuple[Exception, str]:
    """An error that survives pickling, and the traceback as text."""
    story = traceback.TracebackException.from_exception(error)
    story.stack[:] = [frame for frame in story.stack if not frame.filename.startswith(PACKAGE)] or story.stack
    story.__notes__ = None  # they travel with the error
    text = "".join(story.format())
    try:
        if isinstance(error, Exception) and type(pickle.loads(pickle.dumps(error))) is type(error):
            return error, text
    except Exception:
        pass  # its class is local, or wants other arguments than it keeps
    replaced = PullbackError(f"{type(error).__name__}: {error}")
    for note in getattr(error, "__notes__", [f"while making batch {number}"]):
        replaced.add_note(note)
    return replaced, text


def work(
    connection: Any, file: SharedFile, fetch: FromMap | FromIterable, info: WorkerInfo, init: Any, theirs: list[Any]
) -> None:
    """The worker process's main function."""
    global _info
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the main process, which ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in theirs:
        other.close()
    _info = info
    Worker(connection, file, fetch, info.id).run(init, info.seed)


# -- in the main process -----------------------------------------------------------------------------------------------


class Pool:
    """The workers of one loader."""

    def __init__(self, loader: Any, fetch: FromMap | FromIterable, seed: int) -> None:
        context = _context(loader.multiprocessing_context)
        self.timeout = loader.timeout
        self.epoch = 0
        self.tasks: list[dict[int, Any]] = [{} for _ in range(loader.num_workers)]  # what each has not answered yet
        self.members = Members()
        self.readers: list[Reader] = []
        self.close = weakref.finalize(self, self.members.stop, os.getpid())
        try:
            for id in range(loader.num_workers):
                info = WorkerInfo(id, loader.num_workers, (seed + id) % 2**63, loader.dataset)
                self._start(context, fetch, info, loader.worker_init_fn)
        except BaseException:
            self.close()
            raise

    def _start(self, context: Any, fetch: Any, info: WorkerInfo, init: Any) -> None:
        ours, theirs = context.Pipe()
        file = SharedFile()
        self.members.connections.append(ours)
        self.members.files.append(file)
        self.readers.append(Reader(file))
        file.status[Status.PLACE] = Status.STARTING
        forks = context.get_start_method() == "fork"
        others = list(self.members.connections) if forks else []
        process = context.Process(
            target=work,
            args=(theirs, file, fetch, info, init, others),
            daemon=True,
            name=f"DataLoader worker {info.id}",
        )
        try:
            _start_quietly(process, forks)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            error.add_note(
                "the dataset, collate_fn and worker_init_fn are pickled for a worker that is not forked; define them "
                "at the top level of a module, or use multiprocessing_context='fork'"
            )
            raise
        finally:
            theirs.close()
        self.members.processes.append(process)

    def begin(self, seed: int, made: Sequence[int], states: Sequence[Any]) -> None:
        """Start an epoch; what is left of another one is forgotten."""
        self.epoch += 1
        for worker, file in enumerate(self.members.files):
            self.tasks[worker].clear()
            file.status[Status.EPOCH] = self.epoch
            self._send(worker, ("epoch", self.epoch, seed, made[worker], states[worker]))

    def ask(self, worker: int, number: int, index: Any) -> None:
        """Have a batch made."""
        self.tasks[worker][number] = index
        self._send(worker, ("batch", self.epoch, number, index))

    def _send(self, worker: int, task: Any) -> None:
        sent = False
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.members.connections[worker].send((task, self.readers[worker].take_released()))
            sent = True
        if not sent:
            self._died(worker)

    def answer(self, workers: Sequence[int]) -> tuple[int, int, str, Any, Any]:
        """(worker, batch number, kind, batch or error, dataset's state): the first answer of any of these workers."""
        from multiprocessing.connection import wait

        deadline = time.monotonic() + self.timeout if self.timeout else None
        connections, processes = self.members.connections, self.members.processes
        while True:
            waited = {connections[w]: w for w in workers} | {processes[w].sentinel: w for w in workers}
            left = CHECK if deadline is None else min(CHECK, max(0.0, deadline - time.monotonic()))
            ready = wait(list(waited), left) or [processes[w].sentinel for w in workers if not processes[w].is_alive()]
            if not ready:
                if deadline is not None and time.monotonic() >= deadline:
                    self._late(workers)
                continue
            worker = waited[ready[0]]
            message = connections[worker].poll() and _received(connections[worker])
            if not message:
                self._died(worker)
            epoch, number, *where = MESSAGE.unpack(message)
            if epoch != self.epoch:
                self.readers[worker].released.append(where[0])
                continue
            kind, result, state = self.readers[worker].read(*where)
            if kind != FAILED:
                del self.tasks[worker][number]
            return worker, number, kind, result, state

    def _late(self, workers: Sequence[int]) -> NoReturn:
        fail(
            PullbackError,
            f"DataLoader timed out after {self.timeout} seconds: worker {workers[0]} is {self._doing(workers[0])}",
            "raise `timeout`, or look at why this takes so long",
        )

    def _doing(self, worker: int) -> str:
        """What the worker is at, as far as its status says."""
        _, number, place = (int(n) for n in self.members.files[worker].status)
        if place == Status.STARTING:
            return "starting"
        if place == Status.IDLE or number not in self.tasks[worker]:
            return "waiting for work"
        index = self.tasks[worker][number]
        if place == Status.COLLATING:
            return f"collating batch {number}: {listed(index)}"
        if index is None:
            return f"fetching sample {place} of its batch {number}"
        return f"fetching {known_index(index, place)} batch {number}: {listed(index)}"

    def _died(self, worker: int) -> NoReturn:
        process = self.members.processes[worker]
        process.join(GRACE)
        code = process.exitcode
        how = "exited unexpectedly"
        if code is not None:
            how += f" with code {code}" if code >= 0 else f", killed by {signal.Signals(-code).name}"
        memory = "; perhaps memory ran out: use fewer workers" if code == -9 else ""
        fail(
            PullbackError,
            f"DataLoader worker {worker} (pid {process.pid}) {how} while {self._doing(worker)}",
            f"num_workers=0 runs the same in this process, where it is easier to look into{memory}",
        )


def _received(connection: Any) -> bytes:
    """The next message; empty if the other end is gone."""
    try:
        message: bytes = connection.recv_bytes()
        return message
    except (EOFError, ConnectionResetError):
        return b""


class Members:
    """What a pool must let go of in the end, apart from the pool itself."""

    def __init__(self) -> None:
        self.processes: list[Any] = []
        self.connections: list[Any] = []
        self.files: list[SharedFile] = []

    def stop(self, owner: int) -> None:
        """End the workers: by their leave, after a while without it."""
        if os.getpid() != owner:  # a fork of the process that has them
            return
        for file, connection in zip(self.files, self.connections, strict=True):
            file.status[Status.EPOCH] = Status.STOP
            if select.select([], [connection], [], 0)[1]:  # otherwise it has work, and will see the status
                with contextlib.suppress(OSError):
                    connection.send((None, []))
        deadline = time.monotonic() + GRACE
        for signal_them in (None, "terminate", "kill"):
            for process in self.processes:
                if signal_them and process.is_alive():
                    getattr(process, signal_them)()
                    deadline = time.monotonic() + GRACE
            for process in self.processes:
                process.join(max(0.0, deadline - time.monotonic()))
        for process in self.processes:
            process.close()
        for connection in self.connections:
            connection.close()
        for file in self.files:
            file.close()


def _context(given: Any) -> Any:
    """How processes are started: as the user says, else by fork on Linux, whatever this Python's default is.

    A fork starts at once, needs no copy of the dataset and no `if __name__ == "__main__"`, and has no need to pickle.
    """
    import multiprocessing

    if sys.platform == "win32":
        fail(PullbackError, "workers pass batches through memory in a way that Windows lacks", "use num_workers=0")
    if given is not None and not isinstance(given, str):
        return given
    chosen = given or multiprocessing.get_start_method(allow_none=True)
    if chosen is None and sys.platform == "linux":
        chosen = "fork"
    return multiprocessing.get_context(chosen)


def _start_quietly(process: Any, forks: bool) -> None:
    """Python and JAX warn when a process with several threads forks.

    Those of a BLAS hold none of Python's locks. JAX's are missing in a worker, where devices are refused therefore.
    """
    with warnings.catch_warnings():
        if forks:
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called.*JAX", RuntimeWarning)
        if forks and threading.active_count() == 1:
            warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        process.start()
