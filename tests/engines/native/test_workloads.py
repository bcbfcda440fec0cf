"""Nothing is left to NumPy in the steps that benchmarks measure, nor in a language model's."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.workloads import WORKLOADS

import pullback as torch
from pullback.engines.native.lower import lower
from pullback.engines.native.plan import Host, Plan
from pullback.lm.config import preset
from pullback.lm.model import LanguageModel
from pullback.nn.utils import clip_grad_norm_


def plan(step: Any, *batch: Any) -> Plan:
    """How a step would be run; nothing is."""
    return lower(torch.compile(step, engine="numpy").capture(*batch))


def all_native(found: Plan) -> None:
    assert [f"{i.op.name}, {i.line}: {why}" for i, why in found.report] == []
    assert not any(isinstance(step, Host) for step in found.steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads(name: str) -> None:
    workload = WORKLOADS[name](torch)
    all_native(plan(workload.run(torch), *workload.batch))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"dropout": 0.1, "qk_norm": True}, {"checkpointing": True}])
@pytest.mark.parametrize("packed", [False, True])
def test_a_language_model(options: dict[str, Any], packed: bool) -> None:
    """Training on whole windows, and on documents that share one."""
    model = LanguageModel(preset("tiny", num_hidden_layers=2, **options))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(tokens: Any, labels: Any, segments: Any) -> Any:
        optimizer.zero_grad()
        loss = model.loss(tokens, labels, segments)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    tokens = torch.randint(0, 2048, (2, 16))
    all_native(plan(step, tokens, tokens, torch.randint(0, 2, (2, 16)) if packed else None))


def test_what_numpy_runs_is_said() -> None:
    """The report is where one would look: it names an op that has no kernel, and the line."""
    found = plan(lambda x: torch.linalg.eigh(x @ x.t())[0].sum(), torch.randn(4, 4))
    assert [i.op.name for i, _ in found.report] == ["eigh"]
    assert "eigh(x @ x.t())" in found.report[0][0].line.text  # type: ignore[union-attr]
    assert [type(step) for step in found.steps].count(Host) == 1
