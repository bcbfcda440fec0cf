"""`pullback run`: PyTorch programs, unmodified."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).with_name("scripts")
SOURCE = str(Path(__file__).resolve().parents[2] / "src")
PULLBACK = ["-W", "ignore::FutureWarning", "-m", "pullback", "run"]


def python(*arguments: object, at: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, timeout=300, check=False)


def run(tmp_path: Path, code: str, *arguments: str, name: str = "script.py") -> subprocess.CompletedProcess[str]:
    (tmp_path / name).write_text(textwrap.dedent(code))
    return python(*PULLBACK, name, *arguments, at=tmp_path)


def test_torch_is_pullback(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import pickle
        import torch
        import torch.nn as nn
        import torch.nn.functional as F
        import torch.backends.cudnn as cudnn
        import torch.cuda.amp as amp
        from torch import Tensor, tensor
        from torch.autograd import Function
        from torch.autograd.functional import jacobian
        from torch.nn import Linear
        from torch.nn.modules.conv import Conv2d
        from torch.utils.checkpoint import checkpoint
        import pullback

        assert torch is pullback and nn is pullback.nn is torch.nn and F is nn.functional and amp is torch.cuda.amp
        assert cudnn is torch.backends.cudnn and Conv2d is nn.Conv2d
        assert Linear is pullback.nn.Linear and Function is pullback.autograd.Function
        assert pullback.nn.__spec__.name == "pullback.nn"
        x = pickle.loads(pickle.dumps(torch.ones(3)))
        assert isinstance(x, Tensor) and isinstance(x, pullback.Tensor)

        class Own(nn.Module):
            pass

        assert type(pickle.loads(pickle.dumps(Own()))) is Own
        print(x.sum().item())
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3.0\n", "")


def test_as_python_itself(tmp_path: Path) -> None:
    """Arguments, names, paths, exit codes and tracebacks."""
    (tmp_path / "beside.py").write_text("def fail(x):\n    return {}[x]\n")
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            import sys
            import beside
            print(sys.argv, sys.path[0], __name__, __file__, __spec__, __package__, __doc__)
            print(sys.modules["__main__"].sys)
            if sys.argv[1] == "exit":
                sys.exit(int(sys.argv[2]))
            if sys.argv[1] == "say":
                sys.exit("stopped")
            if sys.argv[1] == "return":
                assert __debug__
            else:
                beside.fail(sys.argv[1])
            """
        )
    )
    for arguments in (["exit", "3"], ["say"], ["return"], ["raise"]):
        path = script if arguments == ["raise"] else "script.py"
        ours, theirs = (python(*how, path, *arguments, at=tmp_path) for how in (PULLBACK, []))
        assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_what_does_not_run(tmp_path: Path) -> None:
    done = run(tmp_path, "x = = 1\n")
    assert done.returncode == 1 and "SyntaxError" in done.stderr and "pullback/cli" not in done.stderr
    done = python(*PULLBACK, "nowhere.py", at=tmp_path)
    assert done.returncode == 2 and "can't open file" in done.stderr
    assert python(*PULLBACK, "--fast", "script.py").returncode == 2
    assert "usage: pullback run SCRIPT.py" in python(*PULLBACK).stdout


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupted(tmp_path: Path) -> None:
    last = "import atexit\natexit.register(print, 'last')\n"
    done = run(tmp_path, last + "print('said', end=' ')\nraise KeyboardInterrupt")
    assert done.returncode == -signal.SIGINT and "KeyboardInterrupt" in done.stderr
    assert done.stdout == "said last\n"


def test_module(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "train.py").write_text("import sys, torch\nprint(torch.__name__, __name__, __package__, sys.argv)\n")
    done = python(*PULLBACK, "-m", "package.train", "--lr", "1", at=tmp_path)
    assert done.stdout == f"pullback __main__ package {[str(package / 'train.py'), '--lr', '1']}\n"
    assert done.stderr == "" and python(*PULLBACK, "-m").returncode == 2


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import torch
        for _ in range(3):
            fast = hasattr(torch, "wonder")
        try:
            import torchvision
        except ImportError as error:
            print(error)
        try:
            from torch.nn import Wonder
        except ImportError:
            pass
        try:
            import torch.onnx.utils
        except ModuleNotFoundError as error:
            print(error.name)
        getattr(torch.zeros(1), "wonder", None)
        torch.fft.fft(torch.zeros(2))
        """,
    )
    assert done.returncode == 1
    assert done.stdout == "No module named 'torchvision': torchvision is not part of pullback\ntorch.onnx\n"
    traceback, _, report = done.stderr.partition("\n\npullback run: ")
    assert traceback.startswith("Traceback") and "AttributeError" in traceback
    assert report.splitlines() == [
        "missing from pullback",
        "  torch.fft  1 time, first at script.py:18  complex numbers are not supported yet; work on real and imaginary "
        "parts",
        "",
        "pullback run: looked for, and not in pullback",
        "  torch.wonder         3 times, first at script.py:4",
        "  torchvision          1 time, first at script.py:6  torchvision is not part of pullback",
        "  torch.nn.Wonder      1 time, first at script.py:10",
        "  torch.onnx           1 time, first at script.py:14  it belongs to a part of pullback that is still to come",
        "  torch.Tensor.wonder  1 time, first at script.py:17",
    ]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("from torch.nn import Wonder", "torch.nn.Wonder"),
        ("import torch.wonder", "torch.wonder"),
        ("import torchaudio", "torchaudio"),
        ("import torch\ndef f(x):\n    return x.wonder(1)\nf(torch.zeros(2))", "torch.Tensor.wonder"),
        (
            "import torch\ntry:\n    torch.wonder\nexcept AttributeError as e:\n    raise ValueError from e",
            "torch.wonder",
        ),
    ],
)
def test_what_stops_the_script_is_named(tmp_path: Path, code: str, name: str) -> None:
    done = run(tmp_path, code)
    assert done.returncode == 1
    assert f"pullback run: missing from pullback\n  {name}  1 time, first at script.py:" in done.stderr
    assert "looked for" not in done.stderr


def test_listed_at_sys_exit_too(tmp_path: Path) -> None:
    done = run(tmp_path, "import torch, sys\nhasattr(torch, 'wonder')\nsys.exit(5)")
    assert done.returncode == 5 and "looked for, and not in pullback\n  torch.wonder  1 time" in done.stderr


@pytest.mark.parametrize("method", ["spawn", "fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_processes_see_it_too(tmp_path: Path, method: str) -> None:
    if os.name == "nt" and method != "spawn":
        pytest.skip("spawn only")
    done = run(
        tmp_path,
        f"""
        import multiprocessing as mp
        import torch, torch.nn.functional as F

        def work(queue):
            import torch.nn
            queue.put((torch.__name__, F.relu is torch.nn.functional.relu, float(torch.ones(2).sum())))

        if __name__ == "__main__":
            context = mp.get_context({method!r})
            queue = context.Queue()
            process = context.Process(target=work, args=(queue,))
            process.start()
            print(queue.get(timeout=60))
            process.join()
        """,
    )
    assert (done.returncode, done.stdout) == (0, "('pullback', True, 2.0)\n"), done.stderr


def test_programs_it_starts_see_it_too(tmp_path: Path) -> None:
    code = """
        import subprocess, sys
        command = [sys.executable, "-c", "import torch.nn as nn, torch; print(nn.__name__, torch.nn is nn)"]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
        """
    assert run(tmp_path, code).stdout == "pullback.nn True\n"


# -- whole programs ----------------------------------------------------------------------------------------------------

PROGRAMS = sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem != "transfer")


def test_there_are_programs() -> None:
    assert len(PROGRAMS) == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    done = python(*PULLBACK, SCRIPTS / f"{name}.py")
    assert done.returncode == 0, done.stderr
    assert "pullback run:" not in done.stderr


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_ends_as_with_pytorch(name: str) -> None:
    pytest.importorskip("torch")
    ours, theirs = (python(*how, SCRIPTS / f"{name}.py") for how in (PULLBACK, ["-W", "ignore"]))
    assert theirs.returncode == 0, theirs.stderr
    assert ours.stdout.splitlines()[-2:] == theirs.stdout.splitlines()[-2:]


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("writer", ["pytorch", "pullback"])
def test_weights_go_over(tmp_path: Path, writer: str) -> None:
    """What either saves, pullback loads, and computes the same outputs, loss and gradients."""
    pytest.importorskip("torch")
    path, script = tmp_path / "weights.pt", SCRIPTS / "transfer.py"
    saved = python(*([] if writer == "pytorch" else PULLBACK), script, "save", path)
    loaded = python(*PULLBACK, script, "load", path)
    assert saved.returncode == loaded.returncode == 0, saved.stderr + loaded.stderr
    assert saved.stdout == loaded.stdout
