from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from tests.io.fakes import ADAPTER

from pullback.io.checkpoints import CheckpointError, Checkpoints, check_names


def state_of(step: int):
    return {"model": {"weight": np.arange(600.0) + step, "bias": np.full(3, step, np.float32)}, "note": {1: "é"}}


@pytest.fixture
def make(tmp_path):
    return lambda **kwargs: Checkpoints(tmp_path / "run", adapter=lambda: ADAPTER, **kwargs)


def test_what_was_saved_comes_back(make) -> None:
    checkpoints = make()
    path = checkpoints.save(7, state_of(7), 0.5)
    assert path.name == "step-00000007.safetensors"
    found = make().load()
    assert found["note"] == {1: "é"}
    assert np.array_equal(found["model"]["weight"], np.arange(600.0) + 7)
    assert make().metric(7) == 0.5
    assert "steps [7]" in repr(checkpoints)


def test_the_last_and_the_best_are_kept(make) -> None:
    checkpoints = make(keep=2)
    for step, metric in enumerate([0.9, 0.2, 0.5, float("nan"), None, 0.4], 1):
        checkpoints.save(step, {"step": step}, metric)
    assert checkpoints.steps() == [2, 5, 6]
    assert (checkpoints.latest(), checkpoints.best()) == (6, 2)
    assert make().load("best") == {"step": 2}
    assert make().load(5) == {"step": 5}
    assert make(mode="max").best() == 6
    checkpoints.rewind(5)
    assert checkpoints.steps() == [2, 5]


def test_of_equal_metrics_the_first_is_best(make) -> None:
    checkpoints = make(keep=9)
    for step in (1, 2, 3):
        checkpoints.save(step, {}, 0.5)
    assert checkpoints.best() == 1
    assert make(keep=9, mode="max").best() == 1


def test_a_damaged_metric_is_none(make) -> None:
    make().save(1, state_of(1), 0.5)
    path = make().path(1)
    path.write_bytes(path.read_bytes().replace(b'"0.5"', b'"x.5"'))
    assert make().metric(1) is None and make().best() is None
    make().save(2, state_of(2), 0.7)
    assert make().best() == 2


def test_nothing_there(make) -> None:
    checkpoints = make()
    assert checkpoints.steps() == []
    assert checkpoints.latest() is None and checkpoints.best() is None
    with pytest.raises(CheckpointError, match="it holds none at all"):
        checkpoints.load()
    checkpoints.save(1, {})
    with pytest.raises(CheckpointError, match=r"no checkpoint 'best'[\s\S]*those of steps \[1\]"):
        checkpoints.load("best")
    with pytest.raises(CheckpointError, match="no checkpoint 4"):
        checkpoints.load(4)


def test_time_does_not_run_backwards(make) -> None:
    checkpoints = make()
    checkpoints.save(5, {})
    with pytest.raises(CheckpointError, match=r"of step 5, which one of step 4 cannot follow[\s\S]*rewind\(4\)"):
        checkpoints.save(4, {})
    checkpoints.save(5, {"again": 1})
    assert checkpoints.load() == {"again": 1}


def test_settings_are_checked(make) -> None:
    with pytest.raises(CheckpointError, match="keep >= 1"):
        make(keep=0)
    with pytest.raises(CheckpointError, match="mode='min'"):
        make(mode="lowest")


def test_every_flipped_byte_is_found(make) -> None:
    path = make().save(3, state_of(3), 0.25)
    data = path.read_bytes()
    places = [*range(0, 2000, 7), *range(2000, len(data), 211), len(data) - 1]
    for place in places:
        for bit in (0, 5):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                make().load()
    path.write_bytes(data)
    make().load()


def test_the_damaged_tensor_is_named_and_the_last_good_one(make) -> None:
    checkpoints = make()
    for step in (1, 2, 3):
        checkpoints.save(step, state_of(step))
    for step in (2, 3):
        data = bytearray(checkpoints.path(step).read_bytes())
        data[-1] ^= 1  # the last byte of the narrowest array
        checkpoints.path(step).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"step-00000003[\s\S]*'model.bias'[\s\S]*of step 1: load\(1\)"):
        checkpoints.load()
    assert checkpoints.load(1)["note"] == {1: "é"}
    checkpoints.path(1).unlink()
    with pytest.raises(CheckpointError, match="no earlier one can be read either"):
        checkpoints.load()


@pytest.mark.parametrize("length", [0, 5, 100, 1500, -8, -1])
def test_a_truncated_file_is_refused(make, length: int) -> None:
    path = make().save(1, state_of(1))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="damaged checkpoint"):
        make().load()


def test_a_file_without_checksums_is_no_checkpoint(make) -> None:
    from pullback.io import files

    path = make().save(1, {})
    files.save({}, path, adapter=ADAPTER)
    with pytest.raises(CheckpointError, match="no checksums"):
        make().load()


def test_leftovers_of_a_killed_run_are_removed(make, tmp_path) -> None:
    make().save(1, {})
    leftover = tmp_path / "run" / ".0123456789abcdef.tmp"
    others = tmp_path / "run" / ".mine.tmp"
    for file in (leftover, others):
        file.write_bytes(b"half")
    assert make().load() == {}
    assert leftover.exists()  # a reader leaves alone what may be in the making
    make().save(2, {})
    assert not leftover.exists() and others.exists()


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_disk_full(make, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    checkpoints = make()
    checkpoints.save(1, state_of(1))
    before = checkpoints.path(1).read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if call == "write":
            from pullback.io import safetensors

            patch.setattr(safetensors, "struct", type("struct", (), {"pack": full}))
        else:
            patch.setattr(os, call, full)
        with pytest.raises(CheckpointError, match=r"No space left on device[\s\S]*intact: \[1\][\s\S]*make room"):
            checkpoints.save(2, state_of(2))
    assert os.listdir(checkpoints.folder) == ["step-00000001.safetensors"]
    assert checkpoints.path(1).read_bytes() == before
    checkpoints.save(2, state_of(2))
    assert checkpoints.steps() == [1, 2]


LIMITED = """
import resource, signal, sys, os
import numpy as np
from pullback.train import Checkpoints
from pullback.io.checkpoints import CheckpointError
checkpoints = Checkpoints(sys.argv[1])
checkpoints.save(1, {"weight": np.zeros(10)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(2, {"weight": np.zeros(100_000)})
except CheckpointError as error:
    print(error)
print(os.listdir(sys.argv[1]), checkpoints.load()["weight"].shape)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are Unix's")
def test_a_file_that_cannot_grow(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout and "intact: [1]" in done.stdout
    assert done.stdout.endswith("['step-00000001.safetensors'] (10,)\n")


def test_differing_names_are_told() -> None:
    saved = {"a": np.zeros((2, 3)), "b": np.zeros(2), "d": np.zeros(1, np.float32)}
    present = {"a": np.zeros((3, 3)), "c": np.zeros(2), "d": np.zeros(1)}
    with pytest.raises(CheckpointError) as caught:
        check_names(saved, present, "model")
    text = str(caught.value)
    assert "missing in the checkpoint: c float64 [2]" in text
    assert "only in the checkpoint: b float64 [2]" in text
    assert "a: float64 [2, 3] in the checkpoint, float64 [3, 3] here" in text
    assert "d: float32 [1] in the checkpoint, float64 [1] here" in text
    with pytest.raises(CheckpointError, match="and 5 more"):
        check_names({}, {str(i): 1 for i in range(15)}, "model")
    check_names(saved, saved, "model")
