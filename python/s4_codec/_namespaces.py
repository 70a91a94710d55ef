"""The namespaces ``s4`` of Polars expressions and series."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

import polars as pl

from . import polars as s4
from ._arguments import DEFAULT_CODEC
from .s4_codec import Codec

if TYPE_CHECKING:
    from typing import SupportsIndex

    from polars._typing import IntoExpr, PolarsDataType

    from ._arguments import DictionaryLike

T = TypeVar("T", pl.Expr, pl.Series)


class S4Namespace(ABC, Generic[T]):
    """The functions of ``s4_codec.polars`` as methods, documented there."""

    #: The expression that the functions are called with.
    _expr: pl.Expr

    @abstractmethod
    def _result(self, expr: pl.Expr) -> T:
        """What a method returns for an expression over ``_expr``."""

    def compress(
        self,
        codec: Codec | str = DEFAULT_CODEC,
        *,
        level: SupportsIndex | None = None,
        payload_checksum: bool = False,
    ) -> T:
        """As ``s4_codec.polars.compress``."""
        return self._result(
            s4.compress(self._expr, codec, level=level, payload_checksum=payload_checksum)
        )

    def decompress(
        self,
        codec: Codec | str = DEFAULT_CODEC,
        *,
        dictionary: DictionaryLike | None = None,
        dtype: PolarsDataType = pl.Binary,
        on_error: Literal["raise", "null"] = "raise",
        max_size: SupportsIndex | None = None,
        row: IntoExpr | None = None,
    ) -> T:
        """As ``s4_codec.polars.decompress``; of a series, ``row`` is another series."""
        return self._result(
            s4.decompress(
                self._expr,
                codec,
                dictionary=dictionary,
                dtype=dtype,
                on_error=on_error,
                max_size=max_size,
                row=row,
            )
        )

    def encode(
        self,
        codec: Codec | str = DEFAULT_CODEC,
        *,
        level: SupportsIndex | None = None,
        fallback: bool = True,
    ) -> T:
        """As ``s4_codec.polars.encode``."""
        return self._result(s4.encode(self._expr, codec, level=level, fallback=fallback))

    def decode(
        self,
        *,
        dictionary: DictionaryLike | None = None,
        dtype: PolarsDataType = pl.Binary,
        on_error: Literal["raise", "null"] = "raise",
        max_size: SupportsIndex | None = None,
        row: IntoExpr | None = None,
        device: SupportsIndex | Literal["auto"] | None = None,
    ) -> T:
        """As ``s4_codec.polars.decode``; of a series, ``row`` is another series."""
        return self._result(
            s4.decode(
                self._expr,
                dictionary=dictionary,
                dtype=dtype,
                on_error=on_error,
                max_size=max_size,
                row=row,
                device=device,
            )
        )

    def verify(
        self,
        codec: Codec | str = DEFAULT_CODEC,
        *,
        dictionary: DictionaryLike | None = None,
        dtype: PolarsDataType = pl.Binary,
        max_size: SupportsIndex | None = None,
    ) -> T:
        """As ``s4_codec.polars.verify``."""
        return self._result(
            s4.verify(self._expr, codec, dictionary=dictionary, dtype=dtype, max_size=max_size)
        )

    def verify_frames(
        self,
        *,
        dictionary: DictionaryLike | None = None,
        dtype: PolarsDataType = pl.Binary,
        max_size: SupportsIndex | None = None,
        device: SupportsIndex | Literal["auto"] | None = None,
    ) -> T:
        """As ``s4_codec.polars.verify_frames``."""
        return self._result(
            s4.verify_frames(
                self._expr, dictionary=dictionary, dtype=dtype, max_size=max_size, device=device
            )
        )

    def frame_info(self, *, on_error: Literal["raise", "null"] = "raise") -> T:
        """As ``s4_codec.polars.frame_info``."""
        return self._result(s4.frame_info(self._expr, on_error=on_error))


@pl.api.register_expr_namespace("s4")
class ExprNamespace(S4Namespace[pl.Expr]):
    """``pl.col("body").s4``: the functions of ``s4_codec.polars`` as methods."""

    def __init__(self, expr: pl.Expr) -> None:
        self._expr = expr

    def _result(self, expr: pl.Expr) -> pl.Expr:
        return expr


@pl.api.register_series_namespace("s4")
class SeriesNamespace(S4Namespace[pl.Series]):
    """``series.s4``: the functions of ``s4_codec.polars``, evaluated at once."""

    def __init__(self, series: pl.Series) -> None:
        self._series = series
        # The series becomes a column and not a literal, because Polars copies the result of an
        # expression over a literal of one row.
        self._expr = pl.first()

    def _result(self, expr: pl.Expr) -> pl.Series:
        return self._series.to_frame().select(expr).to_series()

    def train_dictionary(self, size: SupportsIndex = 112_640) -> bytes:
        """As ``s4_codec.polars.train_dictionary``."""
        return s4.train_dictionary(self._series, size)


@overload
def on(column: str | pl.Expr) -> ExprNamespace: ...
@overload
def on(column: pl.Series) -> SeriesNamespace: ...
def on(column: str | pl.Expr | pl.Series) -> ExprNamespace | SeriesNamespace:
    """The methods of ``column.s4``, for type checkers, which know no registered namespaces.

    Parameters
    ----------
    column
        An expression, the name of a column, or a series.

    Returns
    -------
    ExprNamespace or SeriesNamespace
        ``s4.on(pl.col("body")).compress()`` is ``pl.col("body").s4.compress()``.

    Raises
    ------
    TypeError
        ``column`` is something else.
    """
    if isinstance(column, pl.Series):
        return SeriesNamespace(column)
    if isinstance(column, (str, pl.Expr)):
        return ExprNamespace(pl.col(column) if isinstance(column, str) else column)
    msg = f"column must be an expression, a name or a series, not {column!r}"
    raise TypeError(msg)
