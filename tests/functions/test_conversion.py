"""Tensors as other things: copies and pickles keep identity and sharing, NumPy shares memory."""

from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest

import pullback


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_identity_and_sharing_survive(twin):
    w = pullback.randn(3, 4, requires_grad=True)
    nest = {"a": w, "b": [w, w.detach()[1:, ::2]]}
    copied = twin(nest)
    assert copied["a"] is copied["b"][0]
    assert copied["a"].requires_grad
    assert pullback.equal(copied["a"], w)
    with pullback.no_grad():
        copied["a"].fill_(7.0)
    assert copied["b"][1].tolist() == [[7.0, 7.0], [7.0, 7.0]]
    assert (w != 7.0).all()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (3, 1)])
def test_pickles_keep_the_shape(shape):
    x = pullback.ones(shape)
    assert pickle.loads(pickle.dumps(x)).shape == x.shape


@pytest.mark.parametrize("name", ["relu", "abs", "relu_", "nn.functional.relu", "nn.functional.cross_entropy"])
def test_functions_can_be_pickled(name):
    function = operator.attrgetter(name)(pullback)
    assert pickle.loads(pickle.dumps(function)) is function


def test_a_computed_tensor_cannot_be_copied():
    y = pullback.ones(2, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match=r"graph leaves(.|\n)*test_conversion.py(.|\n)*detach"):
        copy.deepcopy(y)


def test_numpy_shares_memory_both_ways():
    array = np.zeros(3, np.float32)
    x = pullback.from_numpy(array)
    x[0] = 5.0
    array[1] = 6.0
    assert x.tolist() == [5.0, 6.0, 0.0]
    assert x.numpy() is array
    assert np.asarray(x) is array
    assert pullback.from_dlpack(array).tolist() == [5.0, 6.0, 0.0]
    with pytest.raises(RuntimeError, match="detach"):
        pullback.ones(1, requires_grad=True).numpy()


def test_resize_keeps_the_first_elements():
    x = pullback.arange(6.0)
    assert x.resize_(2, 2).tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert x.shape == (2, 2)
    assert x.storage().nbytes() == 16
    with pytest.raises(RuntimeError, match="require grad"):
        pullback.ones(2, requires_grad=True).resize_(3)


def test_types_are_known_by_their_own_objects():
    """NumPy makes new objects for the types of what it unpickles; ours are compared by identity."""
    x = pickle.loads(pickle.dumps(pullback.ones(2)))
    array = pickle.loads(pickle.dumps(np.ones(2, np.float32)))
    y = pullback.from_numpy(array)
    y += 1
    for z in (x, y, x + y, pullback.tensor(array), x * pullback.ones(())):
        assert z.numpy().dtype is pullback.float32.numpy
    assert array.tolist() == [2, 2]
