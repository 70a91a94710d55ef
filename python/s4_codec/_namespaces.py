"""The namespaces ``s4`` of Polars expressions and series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import polars as pl

from . import polars as s4
from .s4_codec import Codec, CpuZstd, CpuZstdDict

if TYPE_CHECKING:
    from typing import SupportsIndex

    from polars._typing import IntoExpr, PolarsDataType
    from typing_extensions import Buffer


@pl.api.register_expr_namespace("s4")
class ExprNamespace:
    """``pl.col("body").s4``: the functions of ``s4_codec.polars`` as methods."""

    def __init__(self, expr: pl.Expr) -> None:
        self._expr = expr

    def compress(self, codec: Codec | str = CpuZstd()) -> pl.Expr:
        """``s4_codec.polars.compress`` of this expression, and documented there."""
        return s4.compress(self._expr, codec)

    def decompress(
        self,
        codec: Codec | str = CpuZstd(),
        *,
        dtype: PolarsDataType = pl.Binary,
        on_error: Literal["raise", "null"] = "raise",
        max_size: SupportsIndex | None = None,
        row: IntoExpr | None = None,
    ) -> pl.Expr:
        """``s4_codec.polars.decompress`` of this expression, and documented there."""
        return s4.decompress(
            self._expr, codec, dtype=dtype, on_error=on_error, max_size=max_size, row=row
        )

    def encode(self, codec: Codec | str = CpuZstd()) -> pl.Expr:
        """``s4_codec.polars.encode`` of this expression, and documented there."""
        return s4.encode(self._expr, codec)

    def decode(
        self,
        *,
        dictionary: Buffer | CpuZstdDict | None = None,
        dtype: PolarsDataType = pl.Binary,
        on_error: Literal["raise", "null"] = "raise",
        max_size: SupportsIndex | None = None,
        row: IntoExpr | None = None,
        device: SupportsIndex | Literal["auto"] | None = None,
    ) -> pl.Expr:
        """``s4_codec.polars.decode`` of this expression, and documented there."""
        return s4.decode(
            self._expr,
            dictionary=dictionary,
            dtype=dtype,
            on_error=on_error,
            max_size=max_size,
            row=row,
            device=device,
        )

    def verify(
        self,
        codec: Codec | str = CpuZstd(),
        *,
        dtype: PolarsDataType = pl.Binary,
        max_size: SupportsIndex | None = None,
    ) -> pl.Expr:
        """``s4_codec.polars.verify`` of this expression, and documented there."""
        return s4.verify(self._expr, codec, dtype=dtype, max_size=max_size)

    def verify_frames(
        self,
        *,
        dictionary: Buffer | CpuZstdDict | None = None,
        dtype: PolarsDataType = pl.Binary,
        max_size: SupportsIndex | None = None,
        device: SupportsIndex | Literal["auto"] | None = None,
    ) -> pl.Expr:
        """``s4_codec.polars.verify_frames`` of this expression, and documented there."""
        return s4.verify_frames(
            self._expr, dictionary=dictionary, dtype=dtype, max_size=max_size, device=device
        )

    def frame_info(self, *, on_error: Literal["raise", "null"] = "raise") -> pl.Expr:
        """``s4_codec.polars.frame_info`` of this expression, and documented there."""
        return s4.frame_info(self._expr, on_error=on_error)


@pl.api.register_series_namespace("s4")
class SeriesNamespace:
    """``series.s4``: the functions of ``s4_codec.polars``, evaluated at once."""

    def __init__(self, series: pl.Series) -> None:
        self._series = series

    def _evaluated(self, expr: pl.Expr) -> pl.Series:
        """An expression over the series, the first column. As a column and no literal, because
        Polars copies what is made of literals of one row."""
        return self._series.to_frame().select(expr).to_series()

    def compress(self, codec: Codec | str = CpuZstd()) -> pl.Series:
        """``s4_codec.polars.compress`` of this series, and documented there."""
        return self._evaluated(s4.compress(pl.first(), codec))

    def decompress(
        self,
        codec: Codec | str = CpuZstd(),
        *,
        dtype: PolarsDataType = pl.Binary,
        on_error: Literal["raise", "null"] = "raise",
        max_size: SupportsIndex | None = None,
        row: IntoExpr | None = None,
    ) -> pl.Series:
        """``s4_codec.polars.decompress`` of this series; ``row`` is another series."""
        values = s4.decompress(
            pl.first(),
            codec,
            dtype=dtype,
            on_error=on_error,
            max_size=max_size,
            row=row,
        )
        return self._evaluated(values)

    def encode(self, codec: Codec | str = CpuZstd()) -> pl.Series:
        """``s4_codec.polars.encode`` of this series, and documented there."""
        return self._evaluated(s4.encode(pl.first(), codec))

    def decode(
        self,
        *,
        dictionary: Buffer | CpuZstdDict | None = None,
        dtype: PolarsDataType = pl.Binary,
        on_error: Literal["raise", "null"] = "raise",
        max_size: SupportsIndex | None = None,
        row: IntoExpr | None = None,
        device: SupportsIndex | Literal["auto"] | None = None,
    ) -> pl.Series:
        """``s4_codec.polars.decode`` of this series; ``row`` is another series."""
        values = s4.decode(
            pl.first(),
            dictionary=dictionary,
            dtype=dtype,
            on_error=on_error,
            max_size=max_size,
            row=row,
            device=device,
        )
        return self._evaluated(values)

    def verify(
        self,
        codec: Codec | str = CpuZstd(),
        *,
        dtype: PolarsDataType = pl.Binary,
        max_size: SupportsIndex | None = None,
    ) -> pl.Series:
        """``s4_codec.polars.verify`` of this series, and documented there."""
        reasons = s4.verify(pl.first(), codec, dtype=dtype, max_size=max_size)
        return self._evaluated(reasons)

    def verify_frames(
        self,
        *,
        dictionary: Buffer | CpuZstdDict | None = None,
        dtype: PolarsDataType = pl.Binary,
        max_size: SupportsIndex | None = None,
        device: SupportsIndex | Literal["auto"] | None = None,
    ) -> pl.Series:
        """``s4_codec.polars.verify_frames`` of this series, and documented there."""
        reasons = s4.verify_frames(
            pl.first(),
            dictionary=dictionary,
            dtype=dtype,
            max_size=max_size,
            device=device,
        )
        return self._evaluated(reasons)

    def frame_info(self, *, on_error: Literal["raise", "null"] = "raise") -> pl.Series:
        """``s4_codec.polars.frame_info`` of this series, and documented there."""
        return self._evaluated(s4.frame_info(pl.first(), on_error=on_error))

    def train_dictionary(self, size: SupportsIndex = 112_640) -> bytes:
        """``s4_codec.polars.train_dictionary`` on this series."""
        return s4.train_dictionary(self._series, size)
