"""Embedding and EmbeddingBag: learnt rows of a table, chosen by index."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, ShapeError, fail
from ..functions.creation import empty
from ..modes import no_grad
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class _Table(Module):
    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None
    max_norm: float | None
    norm_type: float
    scale_grad_by_freq: bool

    def _make(self, weight: Tensor | None, freeze: bool, sparse: bool, device: Any, dtype: Any) -> None:
        """The table, given or made, and padding_idx counted from its beginning."""
        rows, shape = self.num_embeddings, (self.num_embeddings, self.embedding_dim)
        if sparse:
            fail(ArgumentError, f"{type(self).__name__}: gradients are dense here", "leave sparse=True out")
        if self.padding_idx is not None:
            if not -rows <= self.padding_idx < rows:
                fail(ArgumentError, f"padding_idx {self.padding_idx} must be within num_embeddings={rows}")
            self.padding_idx %= rows
        if weight is not None and weight.shape != shape:
            fail(ShapeError, f"the table has shape {list(weight.shape)}, but should have {list(shape)}")
        self.sparse = sparse
        given = empty(shape, device=device, dtype=dtype) if weight is None else weight
        self.weight = Parameter(given, requires_grad=not freeze)
        if weight is None:
            self.reset_parameters()

    @no_grad()
    def reset_parameters(self) -> None:
        """N(0, 1), and 0 in the row of padding_idx."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight[self.padding_idx].zero_()


class Embedding(_Table):
    """weight[input]; the row padding_idx gets no gradient, max_norm shortens the rows that are used."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self._make(_weight, _freeze, sparse, device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An Embedding with these rows; `freeze` keeps them as they are."""
        rows, columns = _table_shape(embeddings)
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, freeze)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )

    def extra_repr(self) -> str:
        said = f"{self.num_embeddings}, {self.embedding_dim}"
        said += _if(self.padding_idx is not None, f", padding_idx={self.padding_idx}")
        said += _if(self.max_norm is not None, f", max_norm={self.max_norm}")
        said += _if(self.norm_type != 2, f", norm_type={self.norm_type}")
        return said + _if(self.scale_grad_by_freq, f", scale_grad_by_freq={self.scale_grad_by_freq}")


class EmbeddingBag(_Table):
    """The sum, mean or maximum of each bag of rows; a bag is a row of the input, or begins at one of the offsets."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.mode, self.include_last_offset = mode, include_last_offset
        self._make(_weight, False, sparse, device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """An EmbeddingBag with these rows; `freeze` keeps them as they are."""
        rows, columns = _table_shape(embeddings)
        bag = cls(
            rows, columns, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings,
            include_last_offset, padding_idx,
        )  # fmt: skip
        bag.weight.requires_grad = not freeze
        return bag

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
            self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        said = f"{self.num_embeddings}, {self.embedding_dim}"
        said += _if(self.max_norm is not None, f", max_norm={self.max_norm}")
        said += _if(self.norm_type != 2, f", norm_type={self.norm_type}")
        said += _if(self.scale_grad_by_freq, f", scale_grad_by_freq={self.scale_grad_by_freq}")
        return said + f", mode={self.mode!r}" + _if(self.padding_idx is not None, f", padding_idx={self.padding_idx}")


def _table_shape(embeddings: Tensor) -> tuple[int, ...]:
    if embeddings.ndim != 2:
        fail(ShapeError, f"embeddings should be 2-dimensional, but have shape {list(embeddings.shape)}")
    return tuple(embeddings.shape)


def _if(shown: bool, text: str) -> str:
    return text if shown else ""
