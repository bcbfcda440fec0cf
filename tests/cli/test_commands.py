"""The command line itself, and `pullback doctor`."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

import pullback
from pullback.cli import COMMANDS, doctor, main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"pullback {pullback.__version__}\n"


def test_every_command_is_listed_and_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for name, what in COMMANDS.items():
        assert f"{name} " in out and what in out
        assert callable(import_module(f"pullback.cli.{name}").main)


@pytest.mark.parametrize("arguments", [[], ["dance"]])
def test_mistakes(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


def test_commands_are_imported_when_asked_for() -> None:
    code = "import sys, pullback.cli; assert not any(name in sys.modules for name in ('pullback.cli.doctor', 'runpy'))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("versions", "cpu", "memory", "blas", "compiler", "devices", "engines", np.__version__, "eager"):
        assert word in out
    assert "None" not in out and "[" not in out.replace("pullback[", "")  # values, not their repr


def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["pullback"] == pullback.__version__ and found["versions"]["numpy"] == np.__version__
    assert found["devices"] == ["cpu"] and found["engines"]["numpy"].startswith("runs")
    assert found["cpu"]["features"] == doctor.cpu()["features"]


def test_doctor_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    report = doctor.report()
    assert report["compiler"] == {"path": None, "version": None} and "none" in doctor.as_text(report)
