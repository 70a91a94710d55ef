"""Compress and decompress in DuckDB's SQL: functions over its Arrow batches.

>>> import duckdb
>>> import s4_codec.duckdb
>>> connection = duckdb.connect()
>>> names = s4_codec.duckdb.register(connection)
>>> connection.sql("SELECT s4_decompress_text(s4_compress('a fine body'))").fetchall()
[('a fine body',)]

Needs DuckDB, PyArrow and NumPy: ``pip install 's4-codec[duckdb]'``. DuckDB calls the functions
from its threads, with at most 2,048 rows at a time.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

try:
    import duckdb
    import pyarrow as pa

    from . import arrow
except ImportError as error:
    msg = "s4_codec.duckdb needs DuckDB and PyArrow: pip install 's4-codec[duckdb]'"
    raise ImportError(msg) from error

from . import s4_codec as _native
from ._arguments import DEFAULT_CODEC, decoder, is_null_on_error, size_limit
from .dictionaries import DictionarySet
from .s4_codec import Codec, CpuZstdDict

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import SupportsIndex

    from ._arguments import DictionaryLike

__all__ = ["COMPRESSED_TYPE", "register"]

#: All functions that were ever registered: DuckDB does not keep them alive, but may call one after
#: its connection is gone, or while another replaces it.
_REGISTERED: list[object] = []

#: The SQL type of compressed columns.
COMPRESSED_TYPE = "STRUCT(payload BLOB, original_size BIGINT, crc32c BIGINT)"


def register(
    connection: duckdb.DuckDBPyConnection,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    dictionary: DictionaryLike | None = None,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    prefix: str = "s4_",
) -> list[str]:
    """Add SQL functions to a database, or replace those that this connection added.

    ==================================  ==========================================================
    ``s4_compress(VARCHAR or BLOB)``    compressed: ``STRUCT(payload BLOB, original_size BIGINT,
                                        crc32c BIGINT)``
    ``s4_decompress(compressed)``       ``BLOB``; also of a ``BLOB`` of bare payloads
    ``s4_decompress_text(compressed)``  ``VARCHAR``, which must be UTF-8
    ``s4_verify(compressed)``           ``VARCHAR``: why a row is bad, or NULL
    ``s4_encode(VARCHAR or BLOB)``      ``BLOB``: one frame for each value
    ``s4_decode(BLOB)``                 ``BLOB``: the original of frames of any codec
    ``s4_decode_text(BLOB)``            ``VARCHAR``, which must be UTF-8
    ``s4_verify_frames(BLOB)``          ``VARCHAR``: why a row is bad, or NULL
    ==================================  ==========================================================

    NULL gives NULL. A bad row raises ``duckdb.InvalidInputException``. Its message names the
    exception of this package, the row within its batch, and the reason.

    Parameters
    ----------
    connection
        An open connection. All connections to its database in this process see the functions,
        which are not stored in a database file.
    codec
        A codec or its name; it compresses, and decompresses payloads.
    dictionary
        In place of ``codec``: bytes, a ``CpuZstdDict`` or a ``DictionarySet``. The current
        dictionary compresses; each payload and frame is decoded with the one that it names.
    on_error
        ``"null"`` makes damaged rows NULL, as :func:`s4_codec.arrow.decompress` does.
    max_size
        The largest decoded value in bytes; default 5 GiB, for bare payloads 1 GiB.
    prefix
        The prefix of the functions' names; use another prefix for another codec.

    Returns
    -------
    list of str
        The names of the functions.

    Raises
    ------
    TypeError, ValueError
        An argument is wrong; or codec and dictionary were both passed.
    S4UnregisteredCodecError, S4BackendError
        The codec's name is unknown; the dictionary is empty or damaged.
    duckdb.Error
        The connection is closed, or another connection to the database added functions of
        these names.
    """
    if not isinstance(connection, duckdb.DuckDBPyConnection):
        msg = f"connection must be a DuckDB connection, not {connection!r}"
        raise TypeError(msg)
    if not isinstance(prefix, str) or not prefix:
        # Without one, names would clash with DuckDB's own encode and decode.
        msg = f"prefix must be a string of one character or more, not {prefix!r}"
        raise TypeError(msg)
    is_null_on_error(on_error)
    functions = _functions(decoder(codec, dictionary), on_error, size_limit(max_size))
    for name, (returned, function) in functions.items():
        _add(connection, prefix + name, returned, function)
    return [prefix + name for name in functions]


def _functions(
    source: Codec | str | DictionarySet, on_error: str, max_size: int | None
) -> dict[str, tuple[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]]]:
    """The names of the functions, the SQL types of their results, and what they do."""
    writer = source.codec() if isinstance(source, DictionarySet) else source
    _native._codec_options(writer)
    payloads = {"codec" if isinstance(source, (Codec, str)) else "dictionary": source}
    has_dictionary = isinstance(source, (CpuZstdDict, DictionarySet))
    frames = {"dictionary": source if has_dictionary else None}
    verify: dict[str, Any] = {"max_size": max_size}
    blob = verify | {"on_error": on_error}
    text = blob | {"dtype": pa.large_string()}
    return {
        "compress": (COMPRESSED_TYPE, partial(arrow.compress, codec=writer)),
        "decompress": ("BLOB", partial(arrow.decompress, **payloads, **blob)),
        "decompress_text": ("VARCHAR", partial(arrow.decompress, **payloads, **text)),
        "verify": ("VARCHAR", partial(arrow.verify, **payloads, **verify)),
        "encode": ("BLOB", partial(arrow.encode, codec=writer)),
        "decode": ("BLOB", partial(arrow.decode, **frames, **blob)),
        "decode_text": ("VARCHAR", partial(arrow.decode, **frames, **text)),
        "verify_frames": ("VARCHAR", partial(arrow.verify_frames, **frames, **verify)),
    }


def _add(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    returned: str,
    function: Callable[[pa.ChunkedArray], pa.ChunkedArray],
) -> None:
    """Add a function of one argument to a connection."""

    def call(arguments: tuple[pa.ChunkedArray, ...]) -> pa.ChunkedArray:
        if len(arguments) != 1:
            msg = f"{name} takes one argument, got {len(arguments)}"
            raise TypeError(msg)
        return function(*arguments)

    try:
        with suppress(duckdb.InvalidInputException):  # This connection has not added it.
            connection.remove_function(name)
        # A lambda has no annotations, which DuckDB would evaluate.
        registered = lambda *arguments: call(arguments)  # noqa: E731
        _REGISTERED.append(registered)
        connection.create_function(
            name,
            registered,
            # Without declared parameters, it takes VARCHAR and BLOB: DuckDB casts neither to the
            # other, and refuses two functions of one name.
            None,
            returned,
            type="arrow",
            null_handling="special",
        )
    except duckdb.CatalogException as error:
        error.add_note(
            f"Another connection to this database added {name}, or a transaction that was rolled "
            f"back did; register on that connection, on a new one, or with another prefix."
        )
        raise
