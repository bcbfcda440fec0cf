"""Which elementwise instructions share a loop.

An instruction joins the loop that made one of its operands, or that reads one of them, if both run over the same shape.
The loop then stands where its last instruction stood; that is right unless something else reads in between what the loop
makes. What is read inside of its loop only is never written to memory.
"""

from __future__ import annotations

from collections.abc import Callable

from ...program.program import Instruction, Program, Shape, Value

MOST = 32  # operands and results of a loop: each needs a pointer


class Group:
    """Instructions that share a loop; or a single one that is none."""

    def __init__(self, instruction: Instruction, shape: Shape | None) -> None:
        self.instructions = [instruction]
        self.shape = shape  # None: no loop
        self.made = set(instruction.outputs)
        self.given = set(instruction.values)
        self.read = False  # by a later group?
        self.at = 0

    def add(self, instruction: Instruction) -> None:
        self.instructions.append(instruction)
        self.made.update(instruction.outputs)
        self.given.update(v for v in instruction.values if v not in self.made)


def fuse(program: Program, loops: Callable[[Instruction], bool], views: Callable[[Instruction], bool]) -> list[Group]:
    """The instructions in groups, in an order in which they can run."""
    order: dict[Group, None] = {}
    maker: dict[Value, Group] = {}  # who makes a value, or what it is a view of
    users: dict[Value, Group] = {}  # the latest loop that reads a value
    count = 0
    for instruction in program.instructions:
        shape = instruction.outputs[0].shape if loops(instruction) else None
        group = home(instruction, shape, maker, users)
        if group is not None:
            makers = [maker[v] for v in instruction.values if v in maker and v not in group.made]
            if any(m.at > group.at for m in makers):  # it has to move behind them
                del order[group]
                order[group] = None
                count += 1
                group.at = count
            group.add(instruction)
        else:
            group = Group(instruction, shape)
            order[group] = None
            count += 1
            group.at = count
        for v in instruction.values:
            if v in maker and maker[v] is not group:
                maker[v].read = True
            if shape is not None:
                users[v] = group
        for v in instruction.outputs:
            maker[v] = maker[instruction.values[0]] if views(instruction) and instruction.values[0] in maker else group
            if maker[v] is not group:  # a view is made where it is needed, and reads what it looks at
                maker[v].read = True
    return list(order)


def home(
    instruction: Instruction, shape: Shape | None, maker: dict[Value, Group], users: dict[Value, Group]
) -> Group | None:
    """The loop that an instruction may join."""
    if shape is None:
        return None
    near = {
        id(g): g for v in instruction.values for g in (maker.get(v), users.get(v)) if g is not None and g.shape == shape
    }
    for group in sorted(near.values(), key=lambda g: -g.at):
        others = [maker[v] for v in instruction.values if v in maker and v not in group.made]
        if any(v in maker and maker[v] is group and v not in group.made for v in instruction.values):
            continue  # a view of what the loop makes
        if group.read and any(m.at > group.at for m in others):
            continue  # it cannot move: what it makes is read before the operands are there
        if len(group.made | group.given) >= MOST:
            continue
        return group
    return None
