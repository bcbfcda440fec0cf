"""Builds: beside each other, killed, without room, without a compiler; what is in the cache, and who may use it."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback
from pullback.cli import main
from pullback.engines.native.engine import builder
from pullback.errors import PullbackError

STEP = """
import os, warnings
import pullback
x = pullback.ones(3, 3)
step = pullback.compile(lambda x: x.exp().sum(), engine=os.environ.get("ENGINE") or None)
print(step(x).item(), step._engine)
"""
NINE_E = 24.464536


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own, and a folder for what has no room there."""
    monkeypatch.setenv("PULLBACK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(builder.tempfile, "tempdir", str(tmp_path / "tmp"))
    return builder.folder()


def environment(**more: str) -> dict[str, str]:
    known = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(pullback.__file__).parents[1])}
    known["PULLBACK_ENGINE"] = ""  # what tests say of steps that do not say
    return {k: v for k, v in {**known, **more}.items() if v != ""}


def run(code: str = STEP, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(**more))


def value(done: subprocess.CompletedProcess[str], engine: str = "native") -> None:
    assert done.returncode == 0, done.stderr
    number, who = done.stdout.split()
    assert abs(float(number) - NINE_E) < 1e-4 and who == engine


def unit(k: int = 1) -> Any:
    return builder.Unit("step", f'#include "pullback.h"\nKERNEL i64 number(void) {{ return {k}; }}\n')


def number(path: Path) -> int:
    library = ctypes.CDLL(str(path))
    library.number.restype = ctypes.c_int64
    return int(library.number())


# -- what is built -----------------------------------------------------------------------------------------------------


def test_only_what_is_called_is_built(place: Path) -> None:
    text = builder.unit_text("rows", ["pb_softmax_f32"])
    (path,) = builder.build([builder.Unit("rows", text, [builder.named("pb_softmax_f32", text, "rows")])])
    names = subprocess.run(["nm", "-D", str(path)], capture_output=True, text=True).stdout
    assert " T pb_softmax_f32" in names and names.count(" T ") == 1
    assert sorted(p.name.partition("-")[0] for p in place.iterdir()) == ["pb_softmax_f32", "rows", "rows"]
    assert builder.find(builder.named("pb_softmax_f32", text, "rows")).resolve() == path
    assert builder.entries() == [path]


def test_a_name_depends_on_all_that_a_build_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {builder.named("step", "text"), builder.named("step", "other text"), builder.named("rows", "text")}
    names.add(builder.named("step", '#include "pullback.h"'))
    with monkeypatch.context() as m:
        m.setattr(builder, "included", lambda name: "changed")
        builder.key.cache_clear()
        names.add(builder.named("step", '#include "pullback.h"'))
    builder.key.cache_clear()
    with monkeypatch.context() as m:
        m.setattr(builder, "FLAGS", (*builder.FLAGS, "-O1"))
        names.add(builder.named("step", "text"))
    with monkeypatch.context() as m:
        m.setenv("PULLBACK_DEBUG", "1")
        names.add(builder.named("step", "text"))
    assert len(names) == 7


def test_what_another_processor_has_built_is_not_loaded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder.build([unit()])
    file = builder.named("step", unit().text)
    assert builder.find(file) is not None
    monkeypatch.setattr(builder, "machine", lambda: "another processor")
    builder.environment.cache_clear()
    other = builder.named("step", unit().text)
    builder.environment.cache_clear()
    assert other != file and builder.find(other) is None


def test_headers_of_headers_count() -> None:
    assert "FMA_WIDTH" in builder.included("gemm.c") and "pb_barrier" in builder.included("rows.c")


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_two_processes_at_once(place: Path) -> None:
    more = {"PULLBACK_CACHE": str(place.parent), "ENGINE": "native"}
    some = [subprocess.Popen([sys.executable, "-c", STEP], stdout=subprocess.PIPE, env=environment(**more), text=True)
            for _ in range(3)]  # fmt: skip
    outs = [process.communicate()[0] for process in some]
    assert all(process.returncode == 0 for process in some) and len(set(outs)) == 1
    assert not list(place.glob(".building-*"))
    kinds = [path.name.rpartition("-")[0] for path in builder.entries()]
    assert sorted(kinds) == ["reductions", "runtime", "step"]
    before = {path: path.stat().st_ino for path in builder.entries()}
    value(run(**more))
    assert {path: path.stat().st_ino for path in builder.entries()} == before


def test_a_build_that_is_killed(place: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow-cc"
    slow.write_text('#!/bin/sh\ncase "$*" in *--version*) echo slow; exit;; esac\nsleep 60\n')
    slow.chmod(0o755)
    more = {"PULLBACK_CACHE": str(place.parent), "ENGINE": "native"}
    killed = subprocess.Popen(
        [sys.executable, "-c", STEP], env=environment(CC=str(slow), **more), start_new_session=True
    )
    while not list(place.glob(".building-*/*")):
        assert killed.poll() is None
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    value(run(**more))
    left = list(place.glob(".building-*"))  # it may be at work still, for all that others know
    for folder in left:
        os.utime(folder, (0, 0))
    builder.trim()
    assert left and not any(folder.exists() for folder in left) and len(builder.entries()) == 3


def test_a_cache_that_cannot_be_written_to(place: Path, tmp_path: Path) -> None:
    place.parent.write_text("no folder")
    (path,) = builder.build([unit(3)])
    assert path.parent == builder.spare() and number(path) == 3
    assert builder.find(path.name) == path
    assert (builder.spare().stat().st_mode & 0o77) == 0


def test_what_others_may_write_to_is_not_used(place: Path) -> None:
    place.parent.write_text("no folder")
    builder.spare().mkdir()
    builder.spare().chmod(0o777)
    with pytest.raises(PullbackError, match="PULLBACK_CACHE"):
        builder.build([unit()])


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULLBACK_CACHE", "/some/folder")
    assert builder.folder() == Path("/some/folder/native")
    monkeypatch.delenv("PULLBACK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert builder.folder() == Path("/caches/pullback/native")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert builder.folder() == Path("/home/somebody/.cache/pullback/native")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert builder.folder() == builder.spare()


def full(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    """These folders have no room any more."""
    write = Path.write_text

    def refuse(self: Path, text: str, *args: Any) -> int:
        if any(place in self.parents for place in places):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text, *args)

    monkeypatch.setattr(Path, "write_text", refuse)


def test_a_full_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch, place)
    (path,) = builder.build([unit(4)])
    assert path.parent == builder.spare() and number(path) == 4
    assert not list(place.glob(".building-*"))


def test_a_compiler_without_room(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "cc"
    script.write_text('#!/bin/sh\necho "fatal error: error writing to x.s: No space left on device" >&2\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.setattr(builder, "compiler", lambda: (str(script),))
    with pytest.raises(PullbackError, match=r"(?s)cannot be kept in .*/tmp/.*make room"):
        builder.build([unit()])


def test_no_room_anywhere_loses_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULLBACK_ENGINE", raising=False)
    layer = pullback.nn.Linear(2, 2)
    optimizer = pullback.optim.SGD(layer.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (layer(x) ** 2).sum() * 1.7320508  # a step that no other test has built
        loss.backward()
        optimizer.step()
        return loss

    compiled, x = pullback.compile(step, engine="native"), pullback.ones(1, 2)
    assert builder.available()
    before = [p.detach().numpy().copy() for p in layer.parameters()]
    with monkeypatch.context() as m:
        full(m, place, builder.spare())
        with pytest.raises(PullbackError, match="make room there, or name another folder"):
            compiled(x)
        with pytest.warns(UserWarning, match="is run by NumPy, which is slower, as it could not be built"):
            pullback.compile(lambda x: (x * 2.2360679).sum())(x)
    assert all((p.detach().numpy() == q).all() for p, q in zip(layer.parameters(), before, strict=True))
    compiled(x)
    assert all((p.detach().numpy() != q).any() for p, q in zip(layer.parameters(), before, strict=True))


def test_a_damaged_library_is_built_again(place: Path) -> None:
    more = {"PULLBACK_CACHE": str(place.parent), "ENGINE": "native"}
    value(run(**more))
    for path in builder.entries():
        path.write_bytes(path.read_bytes()[:100])
    value(run(**more))
    assert all(path.stat().st_size > 100 for path in builder.entries())


def test_a_library_may_go_between_finding_and_loading(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = unit(5).text
    builder.build([unit(5)])
    build = builder.build

    def cleared(units: Any) -> Any:  # another process clears the cache just now
        made = build(units)
        if not units:
            builder.clear()
        return made

    monkeypatch.setattr(builder, "build", cleared)
    library = builder.load({}, text)
    assert library is not None and library.number() == 5


# -- compilers ---------------------------------------------------------------------------------------------------------


def test_a_compiler_that_is_not_there(place: Path) -> None:
    done = run(CC="no-such-compiler", PULLBACK_CACHE=str(place.parent))
    value(done)
    assert done.stderr.count("there is no no-such-compiler, which CC names") == 1


@pytest.mark.parametrize("cc", ["true", "false", "cat"])
def test_what_is_no_compiler(place: Path, cc: str) -> None:
    done = run(CC=cc, PULLBACK_CACHE=str(place.parent))
    value(done, "numpy")
    assert f"{cc} does not compile" in done.stderr and done.stderr.count("compiled steps are run by NumPy") == 1
    done = run(CC=cc, PULLBACK_CACHE=str(place.parent), ENGINE="native")
    assert done.returncode == 1 and f"PullbackError: {cc} does not compile" in done.stderr
    assert "use another compiler" in done.stderr


def test_no_compiler_at_all(place: Path) -> None:
    code = f"""
from pullback.engines.native.engine import builder
builder.find_spec = lambda name: None
{STEP}
pullback.compile(lambda x: x + 1)(x)
"""
    done = run(code, PATH="/nowhere", CC="", PULLBACK_CACHE=str(place.parent))
    value(done, "numpy")
    assert done.stderr.count("needs a C compiler, and there is none on this machine") == 1
    done = run(code, PATH="/nowhere", CC="", ENGINE="native", PULLBACK_CACHE=str(place.parent))
    assert done.returncode == 1 and "needs a C compiler" in done.stderr


def test_which_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULLBACK_ENGINE", raising=False)
    x = pullback.ones(2)
    assert pullback.compile(lambda x: x + 1)._engine == "native"
    for name in ("numpy", "native"):
        monkeypatch.setenv("PULLBACK_ENGINE", name)
        step = pullback.compile(lambda x: x + 1)
        assert step(x).tolist() == [2, 2] and step._engine == name
        assert pullback.compile(lambda x: x, engine="numpy")._engine == "numpy"
    monkeypatch.setenv("PULLBACK_ENGINE", "abacus")
    with pytest.raises(PullbackError, match="no engine 'abacus'"):
        pullback.compile(lambda x: x + 1)(x)
    with pytest.raises(PullbackError, match="the native engine computes on the CPU"):
        pullback.compile(lambda x: x, engine="native", device="xla")


EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
MAIN = """
#include "pullback.h"
#include <stdio.h>
void pb_matmul_f32(T *, float *, const float *, const float *, const float *, i64, i64, i64, i64, i64, i64, i64, i64,
                   i64, i64, i64, i64, i64, i64, i64, i64);
void pb_softmax_f32(T *, float *, const float *, i64, i64);
i64 pb_run(void (*)(T *, char **, const i64 *), char **, const i64 *, i64, i64 *);
float a[4096], b[4096], c[4096], d[4096];
static void step(T *t, char **p, const i64 *n) {
    pb_matmul_f32(t, c, a, b, NULL, 1, 1, 64, 64, 64, 0, 0, 64, 0, 0, 64, 1, 0, 0, 64, 1);
    sync(t);
    pb_softmax_f32(t, d, c, 64, 64);
    sync(t);
}
int main(void) {
    i64 index, fault;
    double error = 0, total = 0;
    for (int i = 0; i < 4096; i++) a[i] = i % 7 * .1f, b[i] = i % 5 * .1f;
    fault = pb_run(step, NULL, NULL, 2, &index);
    for (int i = 0; i < 4096; i++) {
        double sum = 0;
        for (int p = 0; p < 64; p++) sum += (double)a[i / 64 * 64 + p] * b[p * 64 + i % 64];
        error = fmax(error, fabs(sum - c[i])), total += d[i];
    }
    printf("%d %d %d\\n", (int)fault, error < 1e-5, fabs(total - 64) < 1e-4);
}
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ziglang") is None, reason="ziglang is not installed")
def test_zig(place: Path, tmp_path: Path) -> None:
    """It compiles for this processor and for another, which is run if there is an emulator."""
    zig = [sys.executable, "-m", "ziglang", "cc"]
    value(run(CC=" ".join(zig), PULLBACK_CACHE=str(place.parent), ENGINE="native"))
    other = [*zig, "-target", "aarch64-linux-musl", *(f for f in builder.FLAGS if f != "-shared"), "-O1",
             "-fno-sanitize=undefined", "-I", str(builder.SOURCES)]  # fmt: skip
    for source in builder.SOURCES.glob("*.c"):
        subprocess.run([*other, "-c", "-o", str(tmp_path / f"{source.stem}.o"), str(source)], check=True)
    (tmp_path / "main.c").write_text(MAIN)
    objects = [str(tmp_path / f"{name}.o") for name in ("runtime", "gemm", "rows")]
    subprocess.run([*other, "-static", "-o", str(tmp_path / "main"), str(tmp_path / "main.c"), *objects], check=True)
    if EMULATOR is not None:
        done = subprocess.run([EMULATOR, str(tmp_path / "main")], capture_output=True, text=True, check=True)
        assert done.stdout == "-1 1 1\n"


# -- the cache ---------------------------------------------------------------------------------------------------------


def test_the_cache_is_bounded(place: Path) -> None:
    paths = builder.build([unit(k) for k in range(4)])
    text = builder.unit_text("rows", ["pb_softmax_f32"])
    link = builder.named("pb_softmax_f32", text, "rows")
    (rows,) = builder.build([builder.Unit("rows", text, [link])])
    for age, path in enumerate([*paths, rows]):
        os.utime(path, (1e9 - age, 1e9 - age))
    builder.touch(paths[3])
    size = sum(p.stat().st_size for p in place.glob("step-*"))
    assert builder.trim(limit=size) == size
    assert builder.find(link) is None and not (place / link).is_symlink() and set(builder.entries()) == set(paths)
    builder.trim(limit=size // 4)
    assert builder.entries() == [paths[3]]
    assert builder.clear() == 1 and not list(place.iterdir())


def test_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert "libraries  0\n" in capsys.readouterr().out
    builder.build([unit(1), unit(2)])
    assert main(["cache"]) == 0
    out = capsys.readouterr().out
    assert str(place) in out and "libraries  2: 2 step" in out and "MiB of at most 512 MiB" in out
    assert main(["cache", "--json"]) == 0
    assert '"libraries": 2' in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0 and not list(place.iterdir())
    assert "2 libraries cleared" in capsys.readouterr().out


def test_all_the_cores_build(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, most, make = [0], [0], builder.make

    def counted(*given: Any) -> Any:
        seen[0] += 1
        most[0] = max(most[0], seen[0])
        time.sleep(0.05)
        made = make(*given)
        seen[0] -= 1
        return made

    monkeypatch.setattr(builder, "make", counted)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    builder.build([unit(k) for k in range(6)])
    assert most[0] == 3 and np.array([number(p) for p in builder.entries()]).sum() == 15
