"""Worker processes: what comes out of them, and how they end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pullback as torch
from pullback.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info
from pullback.errors import PullbackError, ShapeError


class Numbers(Dataset):
    def __init__(self, n: int = 12) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> object:
        return index


class At(Numbers):
    """Does something at one index."""

    def __init__(self, index: int, action) -> None:
        super().__init__()
        self.index, self.action = index, action

    def __getitem__(self, index: int) -> object:
        if index == self.index:
            self.action()
        return index


def fail() -> None:
    raise ValueError("a bad sample")


def shared_files() -> list[str]:
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return [name for name in names if "pullback-data" in name]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    gc.collect()
    assert multiprocessing.active_children() == []
    assert shared_files() == []


def test_batches_come_in_order() -> None:
    x = torch.arange(40).reshape(20, 2)
    data = TensorDataset(x, torch.arange(20))
    loader = DataLoader(data, batch_size=3, num_workers=2)
    here, there = list(DataLoader(data, batch_size=3)), list(loader)
    assert [[part.tolist() for part in batch] for batch in there] == [[p.tolist() for p in batch] for batch in here]
    assert all(type(batch) is list for batch in there)


def test_the_consumer_owns_what_it_receives() -> None:
    data = TensorDataset(torch.arange(60).reshape(30, 2))
    kept = []
    for (batch,) in DataLoader(data, batch_size=2, num_workers=1):
        kept.append(batch)
        batch += 1000  # in memory that is the consumer's alone
    assert torch.cat(kept).tolist() == (data.tensors[0] + 1000).tolist()
    assert data.tensors[0][0].tolist() == [0, 1]


def test_blocks_are_used_again() -> None:
    loader = DataLoader(TensorDataset(torch.randn(400, 1000)), batch_size=4, num_workers=1)
    batches = iter(loader)
    for _ in range(100):
        (batch,) = next(batches)
    assert len(batches.pool.members.files[0].map) < 10 * batch.numel() * 4 * 2
    del batch, batches


def test_all_kinds_of_batches_arrive() -> None:
    class Mixed(Numbers):
        def __getitem__(self, index):
            return {
                "half": torch.full((2,), index, dtype=torch.bfloat16),
                "none": torch.zeros(0, 3),
                "number": torch.tensor(index),
                "text": "x" * index,
                "array": np.arange(3),
            }

    (batch, *_) = DataLoader(Mixed(), 2, num_workers=1)
    assert batch["half"].dtype == torch.bfloat16 and batch["half"].tolist() == [[0, 0], [1, 1]]
    assert batch["none"].shape == (2, 0, 3) and batch["number"].tolist() == [0, 1]
    assert batch["text"] == ["", "x"] and batch["array"].tolist() == [[0, 1, 2]] * 2


def test_whatever_a_collate_function_makes_arrives() -> None:
    x = torch.arange(10000)

    def collate(samples):
        t = torch.ones(2, requires_grad=True)
        return (t, x[2:4], x.reshape(100, 100)[:, 3], np.arange(6).reshape(2, 3).T, "text", {1, 2}, "y" * 200_000)

    t, view, column, array, text, numbers, long = next(
        iter(DataLoader(Numbers(), 2, num_workers=1, collate_fn=collate))
    )
    assert t.requires_grad and t.is_leaf and view.tolist() == [2, 3]
    assert view.untyped_storage().nbytes() == 16  # not all of x
    assert column.tolist() == list(range(3, 10000, 100)) and array.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert (text, numbers, len(long)) == ("text", {1, 2}, 200_000)


def test_what_cannot_be_sent_is_an_error() -> None:
    loader = DataLoader(Numbers(), 2, num_workers=1, collate_fn=lambda samples: lambda: samples)
    with pytest.raises(Exception, match=r"(?i)pickle") as caught:
        next(iter(loader))
    assert any("batch 0 cannot be sent" in note for note in caught.value.__notes__)


def test_large_batches_of_indices_and_long_texts_do_not_block() -> None:
    class Texts(Numbers):
        def __getitem__(self, index):
            return "abc" * 10

    loader = DataLoader(Texts(200_000), 50_000, num_workers=1, prefetch_factor=4)
    assert [len(batch) for batch in loader] == [50_000] * 4


def test_workers_know_which_they_are() -> None:
    class Which(IterableDataset):
        def __iter__(self):
            info = get_worker_info()
            assert info.dataset is self
            for k in range(2 if info.id else 3):
                yield 10 * info.id + k, info.num_workers, info.seed, torch.initial_seed()

    rows = [[int(v) for v in batch] for batch in DataLoader(Which(), None, num_workers=2)]
    assert [row[0] for row in rows] == [0, 10, 1, 11, 2]  # in turns, until one has no more
    assert {row[1] for row in rows} == {2} and len({row[2] for row in rows}) == 2


def test_worker_init_fn_runs_in_each_worker() -> None:
    started = []

    class Started(Numbers):
        def __getitem__(self, index):
            return started[0]

    def init(id: int) -> None:
        started.append((id, torch.initial_seed() == get_worker_info().seed))

    loader = DataLoader(Started(4), 1, num_workers=2, worker_init_fn=init)
    assert [(int(i), bool(seeded)) for i, seeded in loader] == [(0, True), (1, True), (0, True), (1, True)]


def test_a_bad_sample_is_named_with_its_traceback() -> None:
    with pytest.raises(ValueError, match="a bad sample") as caught:
        list(DataLoader(At(7, fail), 3, num_workers=2))
    where, story = caught.value.__notes__
    assert where == "while fetching dataset[7], sample 1 of batch 2"
    assert story.startswith("raised in DataLoader worker 0:") and "self.action()" in story


def test_after_an_error_the_pass_is_over() -> None:
    batches = iter(DataLoader(At(0, fail), 3, num_workers=1))
    with pytest.raises(ValueError, match="a bad sample"):
        next(batches)
    assert multiprocessing.active_children() == []
    with pytest.raises(PullbackError, match="ended with an error: ValueError"):
        next(batches)


def test_a_dead_worker_is_named_with_its_sample() -> None:
    with pytest.raises(
        PullbackError, match=r"worker 1 .* with code 3 while fetching dataset\[4\], sample 1 of batch 1"
    ):
        list(DataLoader(At(4, lambda: os._exit(3)), 3, num_workers=2))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker_is_named_with_its_sample(sign: signal.Signals) -> None:
    import faulthandler

    on = faulthandler.is_enabled()
    faulthandler.disable()  # the worker need not tell of it
    try:
        with pytest.raises(PullbackError, match=rf"killed by {sign.name} while fetching dataset\[2\]"):
            list(DataLoader(At(2, lambda: os.kill(os.getpid(), sign)), 3, num_workers=1))
    finally:
        if on:
            faulthandler.enable()


def test_a_worker_that_dies_and_leaves_a_process_behind_is_an_error() -> None:
    def leave() -> None:
        if os.fork() == 0:  # it holds what would tell of its parent's end
            time.sleep(8)
            os._exit(0)
        os._exit(3)

    began = time.monotonic()
    with pytest.raises(PullbackError, match=r"exited unexpectedly with code 3 while fetching dataset\[0\]"):
        list(DataLoader(At(0, leave), num_workers=1))
    assert time.monotonic() - began < 7


def test_a_worker_killed_from_outside_is_an_error() -> None:
    batches = iter(DataLoader(Numbers(100), 1, num_workers=2))
    next(batches)
    time.sleep(0.2)  # they have made what they were asked for
    for process in batches.pool.members.processes:
        process.kill()
        process.join()
    with pytest.raises(PullbackError, match="killed by SIGKILL while waiting for work"):
        for _ in batches:
            pass


def test_an_error_that_cannot_be_pickled_is_told_all_the_same() -> None:
    class Local(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    def action():
        raise Local("this", "that")

    with pytest.raises(PullbackError, match="Local: this and that") as caught:
        list(DataLoader(At(1, action), 3, num_workers=1))
    assert "dataset[1]" in caught.value.__notes__[0]


@pytest.mark.parametrize("action", [sys.exit, lambda: next(iter(()))])
def test_ways_out_that_are_no_errors_are_errors_here(action) -> None:
    with pytest.raises(PullbackError, match=r"SystemExit|StopIteration") as caught:
        list(DataLoader(At(1, action), 3, num_workers=1))
    assert "dataset[1]" in str(caught.value) + "".join(caught.value.__notes__)


def test_errors_in_collate_and_init() -> None:
    with pytest.raises(ShapeError) as caught:
        list(DataLoader([torch.zeros(n) for n in (1, 2)], 2, num_workers=1))
    assert caught.value.__notes__[0] == "while collating batch 0: dataset[0], dataset[1]"
    with pytest.raises(ValueError, match="a bad sample") as caught:
        list(DataLoader(Numbers(), 2, num_workers=1, worker_init_fn=lambda id: fail()))
    assert caught.value.__notes__[0] == "in worker_init_fn"


def test_one_who_breaks_out_leaves_nothing() -> None:
    for batch in DataLoader(Numbers(1000), 1, num_workers=2):
        if batch.item() == 3:
            break
    gc.collect()
    assert multiprocessing.active_children() == []


def test_breaking_out_does_not_wait_for_slow_samples() -> None:
    for _ in DataLoader(At(1, lambda: time.sleep(60)), 1, num_workers=2):
        break
    gc.collect()
    assert multiprocessing.active_children() == []


def test_timeout() -> None:
    loader = DataLoader(At(2, lambda: time.sleep(60)), 2, num_workers=1, timeout=0.3)
    with pytest.raises(
        PullbackError, match=r"timed out after 0.3 seconds: worker 0 is fetching dataset\[2\], sample 0"
    ):
        list(loader)


def test_persistent_workers_live_from_epoch_to_epoch() -> None:
    class Pid(Numbers):
        def __getitem__(self, index):
            return index, os.getpid()

    loader = DataLoader(Pid(), 2, num_workers=2, persistent_workers=True)
    epochs = [list(loader) for _ in range(2)]
    left = iter(loader)
    next(left)
    epochs.append(list(loader))
    current = iter(loader)
    with pytest.raises(PullbackError, match="a later pass"):
        next(left)
    epochs.append(list(current))
    assert len({int(pid) for epoch in epochs for _, pids in epoch for pid in pids}) == 2
    assert all([i.tolist() for i, _ in epoch] == [[k, k + 1] for k in range(0, 12, 2)] for epoch in epochs)
    del loader, left, current


def test_persistent_workers_are_replaced_after_an_error() -> None:
    loader = DataLoader(At(5, fail), 1, num_workers=2, persistent_workers=True)
    for _ in range(2):
        with pytest.raises(ValueError, match="a bad sample"):
            list(loader)
        assert multiprocessing.active_children() == []


def test_several_passes_at_a_time() -> None:
    loader = DataLoader(Numbers(4), 2, num_workers=1)
    pairs = [(a.tolist(), b.tolist()) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [([0, 1], [0, 1]), ([2, 3], [2, 3])]


def test_whoever_is_ready_comes_first_if_order_does_not_matter() -> None:
    loader = DataLoader(At(0, lambda: time.sleep(0.3)), 1, num_workers=2, in_order=False)
    seen = [batch.item() for batch in loader]
    assert sorted(seen) == list(range(12)) and seen[0] != 0


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_other_start_methods(context: str) -> None:
    loader = DataLoader(Numbers(), 5, num_workers=2, multiprocessing_context=context)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


@pytest.mark.slow
def test_what_cannot_be_pickled_says_what_to_do() -> None:
    loader = DataLoader(At(1, lambda: None), 5, num_workers=1, multiprocessing_context="spawn")
    with pytest.raises(Exception, match=r"(?i)pickle") as caught:
        next(iter(loader))
    assert "multiprocessing_context='fork'" in caught.value.__notes__[0]


@pytest.mark.slow
def test_other_memory_where_the_system_has_no_nameless_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    data = TensorDataset(torch.arange(20))
    loader = DataLoader(data, 4, num_workers=2)
    assert [x.tolist() for (x,) in loader] == [list(range(i, i + 4)) for i in range(0, 20, 4)]


SCRIPT = """
import os, sys, time
import pullback as torch
from pullback.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        time.sleep(0.01)
        return torch.zeros(1000)

batches = iter(DataLoader(Slow(), 2, num_workers=2))
next(batches)
print(*[p.pid for p in batches.pool.members.processes], flush=True)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int], within: float = 10.0) -> bool:
    end = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


# A shell that runs the tests in the background has made Ctrl-C ignored, and children inherit that.
HEEDS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def start(code: str) -> tuple[subprocess.Popen[str], list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HEEDS_CTRL_C + SCRIPT + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return process, [int(pid) for pid in process.stdout.readline().split()]


@pytest.mark.slow
def test_workers_end_with_the_program() -> None:
    process, pids = start("")
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "", "") and len(pids) == 2 and gone(pids)


@pytest.mark.slow
def test_workers_end_when_the_program_is_interrupted() -> None:
    process, pids = start("for _ in batches: pass")
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: everyone gets it
    _, errors = process.communicate(timeout=20)
    assert gone(pids) and errors.rstrip().endswith("KeyboardInterrupt") and errors.count("Traceback") == 1


@pytest.mark.slow
def test_workers_end_when_the_program_is_killed() -> None:
    process, pids = start("for _ in batches: pass")
    process.kill()
    process.communicate(timeout=20)
    assert len(pids) == 2 and gone(pids)
