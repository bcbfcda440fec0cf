"""Which elementwise instructions share a loop.

An instruction joins the loop that made one of its operands, or that reads one of them, if both run over the same shape.
The loop then stands where its last instruction stood; that is right unless something else reads in between what the
loop makes. Loops that made the other operands are taken in, if nobody else reads what they make. What is read inside
of its loop only is never written to memory.
"""

from __future__ import annotations

from collections.abc import Callable

from ...program.program import Instruction, Program, Shape, Value

MOST = 48  # operands and results of a loop: each may need a pointer


class Group:
    """Instructions that share a loop; or a single one that is none."""

    def __init__(self, instruction: Instruction, shape: Shape | None) -> None:
        self.instructions = [instruction]
        self.shape = shape  # None: no loop
        self.made = set(instruction.outputs)
        self.given = set(instruction.values)
        self.readers: set[Group] = set()  # later groups
        self.viewed = False  # is there a view of what it makes?
        self.at = 0

    @property
    def fixed(self) -> bool:
        """It cannot move: what it makes is read before it would be there."""
        return self.viewed or bool(self.readers)

    def add(self, instruction: Instruction) -> None:
        self.instructions.append(instruction)
        self.made.update(instruction.outputs)
        self.given.update(v for v in instruction.values if v not in self.made)


class Fusion:
    """Groups in the making."""

    def __init__(self) -> None:
        self.order: dict[Group, None] = {}
        self.views: dict[Group | None, list[Group]] = {}  # of what a group makes; of inputs and constants
        self.maker: dict[Value, Group] = {}  # who makes a value, or what it is a view of
        self.users: dict[Value, Group] = {}  # the latest loop that reads a value
        self.small: Group | None = None  # the latest loop over one element: all that can share it
        self.count = 0

    def view(self, instruction: Instruction) -> None:
        """A view is there as soon as what it looks at."""
        base = self.maker.get(instruction.values[0])
        self.views.setdefault(base, []).append(Group(instruction, None))
        if base is not None:
            base.viewed = True
            self.maker.update(dict.fromkeys(instruction.outputs, base))

    def add(self, instruction: Instruction, shape: Shape | None) -> None:
        group = self.home(instruction, shape)
        if group is None:
            group = Group(instruction, shape)
            self.last(group)
        else:
            if any(m.at > group.at for m in self.makers(instruction, group)):
                self.last(group)
            group.add(instruction)
        for maker in self.makers(instruction, group):
            maker.readers.add(group)
        self.maker.update(dict.fromkeys(instruction.outputs, group))
        if shape is not None:
            self.users.update(dict.fromkeys(instruction.values, group))
            for other in {m for v in instruction.values if (m := self.maker.get(v)) is not None}:
                if other.shape == shape and other.at < group.at and not other.viewed and other.readers <= {group}:
                    self.take_in(group, other)
        if shape == ():
            self.small = group

    def last(self, group: Group) -> None:
        """A group stands behind all others."""
        self.order.pop(group, None)
        self.order[group] = None
        self.count += 1
        group.at = self.count

    def makers(self, instruction: Instruction, group: Group) -> list[Group]:
        """Other groups that an instruction needs."""
        return [self.maker[v] for v in instruction.values if v in self.maker and v not in group.made]

    def home(self, instruction: Instruction, shape: Shape | None) -> Group | None:
        """The loop that an instruction may join."""
        if shape is None:
            return None
        near = {self.maker.get(v) for v in instruction.values} | {self.users.get(v) for v in instruction.values}
        if shape == ():
            near.add(self.small)
        for group in sorted([g for g in near if g is not None and g.shape == shape], key=lambda g: -g.at):
            makers = self.makers(instruction, group)
            if group in makers:
                continue  # a view of what the loop makes
            if group.fixed and any(m.at > group.at for m in makers):
                continue
            if shape and len(group.made | group.given) >= MOST:
                continue
            return group
        return None

    def take_in(self, group: Group, other: Group) -> None:
        """An earlier loop becomes the first part of this one."""
        made, given = group.made | other.made, (group.given | other.given) - other.made
        if group.shape and len(made | given) > MOST:
            return
        group.instructions[:0] = other.instructions
        group.made, group.given = made, given
        del self.order[other]
        self.maker.update(dict.fromkeys(other.made, group))
        for v in other.given | other.made:
            if self.users.get(v) is other:
                self.users[v] = group
            if v in self.maker and v not in made:
                self.maker[v].readers.discard(other)
                self.maker[v].readers.add(group)


def fuse(program: Program, loops: Callable[[Instruction], bool], views: Callable[[Instruction], bool]) -> list[Group]:
    """The instructions in groups, in an order in which they can run."""
    fusion = Fusion()
    for instruction in program.instructions:
        if views(instruction):
            fusion.view(instruction)
        else:
            fusion.add(instruction, instruction.outputs[0].shape if loops(instruction) else None)
    made = [g for group in fusion.order for g in (group, *fusion.views.get(group, ()))]
    return [*fusion.views.get(None, ()), *made]


__all__ = ["Group", "fuse"]
