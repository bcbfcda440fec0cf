"""No PyTorch name that programs use is missing without a reason."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "surface.py"


def test_nothing_is_missing():
    spec = importlib.util.spec_from_file_location("surface", SCRIPT)
    surface = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(surface)
    names = [line.split()[1] for line in surface.NAMES.read_text().splitlines() if not line.startswith("#")]
    found = {name: surface.status(name) for name in names}
    assert [name for name, (what, _) in found.items() if what == "MISSING"] == []
    assert all(why for what, why in found.values() if what == "refused")
    assert found["torch.softmax"] == ("works", "")
    assert found["torch.fft.fft"][0] == "refused"
