"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

import pullback as torch
from pullback import nn


class Named(nn.Module):
    """Adds its letter, so that the order of calls can be read."""

    def __init__(self, letter: str) -> None:
        super().__init__()
        self.letter = letter

    def forward(self, text: str) -> str:
        return text + self.letter

    def extra_repr(self) -> str:
        return self.letter


def sequence(letters: str) -> nn.Sequential:
    return nn.Sequential(*map(Named, letters))


def names(module: nn.Module) -> list[str]:
    return list(module._modules)


# -- Sequential --------------------------------------------------------------------------------------------------------


def test_sequential_calls_one_after_the_other() -> None:
    s = sequence("abc")
    assert s("") == "abc" and len(s) == 3 and names(s) == ["0", "1", "2"]
    assert s[0]("") == "a" and s[-1]("") == "c" and [m.letter for m in s] == ["a", "b", "c"]
    assert nn.Sequential()("x") == "x"


def test_sequential_changes() -> None:
    s = sequence("abc")
    assert s.append(Named("d")) is s and s.insert(1, Named("x")) is s and s.insert(-1, Named("y")) is s
    assert s("") == "axbcyd" and names(s) == list("012345")
    assert s.extend(sequence("ef"))("") == "axbcydef"
    assert s.pop(1).letter == "x" and s("") == "abcydef" and names(s) == list("0123456")
    assert s.pop(slice(3, None))("") == "ydef" and s("") == "abc"
    s[1] = Named("B")
    del s[0]
    assert s("") == "Bc" and names(s) == ["0", "1"]
    del s[-1:]
    assert s("") == "B"


def test_sequential_arithmetic() -> None:
    s = sequence("ab")
    assert (s + sequence("c"))("") == "abc" and (s * 2)("") == (2 * s)("") == "abab" and s("") == "ab"
    assert (s * 2)[2] is s[0]
    kept = s
    s += sequence("c")
    s *= 2
    assert kept is s and s("") == "abcabc" and names(s) == list("012345")
    s += s
    assert len(s) == 12


def test_sequential_of_names() -> None:
    s = nn.Sequential(OrderedDict(first=Named("a"), second=Named("b"), third=Named("c")))
    assert s("") == "abc" and s.second("") == "b" and names(s[1:]) == ["second", "third"]
    with pytest.raises(ValueError, match="add_module"):
        s.insert(0, Named("x"))
    assert s.append(Named("d"))("") == "abcd" and names(s)[-1] == "3"


def test_slices_share_their_modules() -> None:
    s = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    assert s[:1][0] is s[0] and isinstance(s[:1], nn.Sequential)


# -- ModuleList and ModuleDict -----------------------------------------------------------------------------------------


def test_module_list() -> None:
    m = nn.ModuleList(map(Named, "ab"))
    assert m.append(Named("c")) is m and m.extend([Named("d")]) is m and len(m) == 4
    m.insert(0, Named("x"))
    assert [c.letter for c in m] == list("xabcd") and names(m) == list("01234")
    assert [c.letter for c in m[1:3]] == ["a", "b"] and names(m[1:3]) == ["0", "1"]
    del m[0]
    assert (
        m.pop(-1).letter == "d"
        and [c.letter for c in m + nn.ModuleList(map(Named, "z"))] == list("abcz")
        and len(m) == 3
    )
    m += [Named("q")]
    m[0] = Named("A")
    assert [c.letter for c in m] == list("Abcq")
    with pytest.raises(NotImplementedError, match="ModuleList"):
        m("x")


def test_module_dict() -> None:
    m = nn.ModuleDict({"b": Named("b"), "a": Named("a")})
    m["c"] = Named("c")
    m.update([("d", Named("d")), ("b", Named("B"))])
    assert list(m) == list(m.keys()) == ["b", "a", "c", "d"] and len(m) == 4 and "a" in m and "z" not in m
    assert [c.letter for c in m.values()] == ["B", "a", "c", "d"] and dict(m.items())["a"] is m["a"] is m.a
    assert m.pop("c").letter == "c" and list(m) == ["b", "a", "d"]
    del m["d"]
    m.update(nn.ModuleDict({"e": Named("e")}))
    assert list(m) == ["b", "a", "e"]
    m.clear()
    assert len(m) == 0


def test_parameters_in_containers_are_found() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(1, 1, bias=False)])
            self.heads = nn.ModuleDict({"cat": nn.Linear(1, 1, bias=False)})
            self.scales = nn.ParameterList([torch.ones(2), nn.Parameter(torch.ones(3))])
            self.shifts = nn.ParameterDict({"x": torch.ones(4)})

    found = ["layers.0.weight", "heads.cat.weight", "scales.0", "scales.1", "shifts.x"]
    assert [name for name, _ in Model().named_parameters()] == found == list(Model().state_dict())


# -- ParameterList and ParameterDict -----------------------------------------------------------------------------------


def test_parameter_list() -> None:
    p = nn.ParameterList([torch.ones(2), 3])
    assert isinstance(p[0], nn.Parameter) and p[0].requires_grad and p[1] == 3 and len(p) == 2
    assert p.append(torch.zeros(1)) is p and p.extend([torch.zeros(2)]) is p
    p += [torch.zeros(3)]
    p[0] = torch.full((2,), 5.0)
    assert [t.numel() for t in p if t is not p[1]] == [2, 1, 2, 3] and p[-1] is p[4]
    assert len(p[1:3]) == 2 and p[1:3][1] is p[2] and isinstance(p[:1], nn.ParameterList)
    assert [name for name, _ in p.named_parameters()] == ["0", "2", "3", "4"]


def test_parameter_dict() -> None:
    p = nn.ParameterDict({"b": torch.ones(2), "a": 3})
    assert list(p) == ["a", "b"]  # a plain dict is sorted
    assert list(nn.ParameterDict(OrderedDict(b=1, a=2))) == ["b", "a"] and list(reversed(p)) == ["b", "a"]
    assert isinstance(p["b"], nn.Parameter) and p["a"] == 3 and "a" in p and len(p) == 2
    assert p.get("z") is None and p.get("z", 1) == 1 and p.get("a") == 3
    assert p.setdefault("c", torch.ones(1)) is p["c"] and p.setdefault("a", 7) == 3
    assert list(p | {"z": 1}) == ["a", "b", "c", "z"] and list({"z": 1} | p) == ["z", "a", "b", "c"]
    p |= {"y": 2}
    assert p.popitem() == ("y", 2) and p.pop("a") == 3 and list(p.keys()) == ["b", "c"]
    assert [v is p[k] for k, v in p.items()] == [True, True] and next(iter(p.values())) is p["b"]
    twin = p.copy()
    assert twin["b"] is p["b"] and twin is not p
    assert dict(p.fromkeys(["k", "l"], 1).items()) == {"k": 1, "l": 1}
    del p["b"]
    p.clear()
    assert len(p) == 0 and list(p.parameters()) == []
    with pytest.raises(KeyError):
        p["b"]


# -- reprs, and what is refused ----------------------------------------------------------------------------------------

REPRS = {
    "Sequential": "nn.Sequential(nn.Linear(1, 2), nn.Sequential(nn.Identity()), nn.Sequential())",
    "ModuleList": "nn.ModuleList([nn.Identity()] * 3 + [nn.Linear(1, 1), nn.Identity(), nn.Identity()])",
    "nested": "nn.ModuleList([nn.Sequential(nn.Identity())] * 2)",
    "empty": "nn.ModuleList()",
    "ModuleDict": "nn.ModuleDict({'b': nn.Identity(), 'a': nn.ModuleDict()})",
    "ParameterList": "nn.ParameterList([torch.ones(2, 3), 4, torch.ones(())])",
    "one": "nn.ParameterList([torch.ones(1)])",
    "ParameterDict": "nn.ParameterDict({'b': torch.ones(2).double(), 'a': 'text'})",
}


def test_reprs() -> None:
    assert repr(eval(REPRS["ModuleList"])).splitlines() == [
        "ModuleList(",
        "  (0-2): 3 x Identity()",
        "  (3): Linear(in_features=1, out_features=1, bias=True)",
        "  (4-5): 2 x Identity()",
        ")",
    ]
    assert repr(eval(REPRS["ParameterDict"])).splitlines() == [
        "ParameterDict(",
        "    (a): Object of type: str",
        "    (b): Parameter containing: [torch.DoubleTensor of size 2]",
        ")",
    ]


@pytest.mark.parity
@pytest.mark.parametrize("make", REPRS.values(), ids=REPRS)
def test_reprs_are_pytorchs(make: str) -> None:
    theirs = pytest.importorskip("torch")
    assert repr(eval(make)) == repr(eval(make, {"torch": theirs, "nn": theirs.nn}))


def test_numbered_names_are_no_attributes_to_look_at() -> None:
    for container in (sequence("a"), nn.ModuleList([nn.Identity()]), nn.ParameterList([torch.ones(1)])):
        assert "0" not in dir(container) and "append" in dir(container)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no module": (lambda: nn.Sequential(3), TypeError, "int"),
    "index": (lambda: sequence("a")[1], IndexError, "index 1 is out of range for 1"),
    "name": (lambda: sequence("a")["0"], TypeError, "str"),
    "sum": (lambda: sequence("a") + 3, ValueError, "not int"),
    "product": (lambda: sequence("a") * "a", TypeError, "not by str"),
    "none": (lambda: sequence("a") * 0, ValueError, "0 times"),
    "insert": (lambda: sequence("a").insert(2, Named("b")), IndexError, "index 2"),
    "insert what": (lambda: sequence("a").insert(0, 3), TypeError, "int is not a Module"),
    "list": (lambda: nn.ModuleList(3), TypeError, "not by int"),
    "dict": (lambda: nn.ModuleDict(3), TypeError, "not int"),
    "dot": (lambda: nn.ModuleDict({"a.b": Named("a")}), KeyError, "dot"),
    "taken": (lambda: nn.ModuleDict({"keys": Named("a")}), KeyError, "already exists"),
    "tensor": (lambda: nn.ParameterList(torch.ones(2)), TypeError, "Tensor"),
    "key": (lambda: nn.ParameterDict([(1, torch.ones(2))]), TypeError, "strings, not int"),
    "taken key": (lambda: nn.ParameterDict({"keys": torch.ones(2)}), KeyError, "already exists"),
    "call": (lambda: nn.ParameterList()(), RuntimeError, "cannot be called"),
    "call dict": (lambda: nn.ParameterDict()(), RuntimeError, "cannot be called"),
}


@pytest.mark.parametrize(("call", "kind", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call: Callable[[], Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        call()
