"""The functions of DuckDB's SQL, in DuckDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from codecs_table import DICTIONARY, VALUES, dict_codec, text

import s4_codec
import s4_codec.arrow
import s4_codec.duckdb
import s4_codec.polars as s4
from s4_codec import Codec, CpuGzip, CpuZstd, CpuZstdDict, DictionarySet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: More rows than DuckDB passes at a time, twice over.
COUNT = 5000


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with functions, and a table of texts with NULLs and empty values."""
    with duckdb.connect() as connection:
        s4_codec.duckdb.register(connection)
        bodies = [None if n % 7 == 3 else text(n % 200).decode() for n in range(COUNT)]
        rows = pa.table({"id": range(COUNT), "body": pa.array(bodies)})
        connection.register("rows", rows)
        connection.sql("CREATE TABLE logs AS SELECT * FROM rows")
        yield connection


def one(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: object) -> Any:
    """The only value of a query."""
    ((value,),) = connection.execute(sql, parameters).fetchall()
    return value


def test_values_of_every_codec(codec: Codec) -> None:
    with duckdb.connect() as connection:
        s4_codec.duckdb.register(connection, codec)
        for value in [*VALUES, None]:
            packed = one(connection, "SELECT s4_compress($1::BLOB)", value)
            if value is not None:
                payload, size, checksum = codec.compress(value)
                want = {"payload": payload, "original_size": size, "crc32c": checksum}
                assert packed == want
            for sql in ["s4_decompress(s4_compress($1::BLOB))", "s4_decode(s4_encode($1::BLOB))"]:
                if "decode" in sql and codec.name == "nvcomp-bitcomp":
                    continue  # No CPU decodes its frames.
                assert one(connection, f"SELECT {sql}", value) == value


@pytest.mark.parametrize(
    "round_trip",
    [
        "s4_decompress_text(s4_compress(body))",
        "s4_decode_text(s4_encode(body))",
        "decode(s4_decompress(s4_compress(body)))",
        "decode(s4_decode(s4_encode(body::BLOB)))",
    ],
)
def test_tables(connection: duckdb.DuckDBPyConnection, round_trip: str) -> None:
    differ = f"SELECT count(*) FROM logs WHERE {round_trip} IS DISTINCT FROM body"
    assert one(connection, differ) == 0
    assert one(connection, f"SELECT count({round_trip}) = count(body) FROM logs")


def test_no_rows(connection: duckdb.DuckDBPyConnection) -> None:
    empty = connection.sql("SELECT s4_compress(body) AS body FROM logs WHERE id < 0")
    assert empty.fetchall() == []
    assert str(empty.types[0]) == s4_codec.duckdb.COMPRESSED_TYPE


def test_null_literals(connection: duckdb.DuckDBPyConnection) -> None:
    for name in s4_codec.duckdb.register(connection):
        assert one(connection, f"SELECT {name}(NULL)") is None
        nulls = f"SELECT {name}(x) FROM (SELECT NULL AS x FROM range({COUNT}))"
        assert connection.sql(nulls).fetchall() == [(None,)] * COUNT


def test_a_predicate_and_a_join(connection: duckdb.DuckDBPyConnection) -> None:
    connection.sql("CREATE TABLE packed AS SELECT id, s4_compress(body) AS body FROM logs")
    sizes = "SELECT sum((body).original_size) = (SELECT sum(strlen(body)) FROM logs) FROM packed"
    assert one(connection, sizes)
    found = one(
        connection, "SELECT count(*) FROM packed WHERE s4_decompress_text(body) LIKE '%/item/37 %'"
    )
    assert found == one(connection, "SELECT count(*) FROM logs WHERE body LIKE '%/item/37 %'") > 0
    joined = """
        SELECT count(*) FROM packed JOIN logs USING (id)
        WHERE s4_decompress_text(packed.body) = logs.body
    """
    assert one(connection, joined) == one(connection, "SELECT count(body) FROM logs")


def test_parquet_and_the_other_doors(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """DuckDB, Polars and Arrow read what the others wrote."""
    frame = connection.sql("FROM logs").pl()
    frame.select("id", s4.compress("body"), s4.encode("body").alias("frames")).write_parquet(
        tmp_path / "polars.parquet", row_group_size=3000
    )
    restored = f"""
        SELECT id, s4_decompress_text(body) AS body, s4_decode_text(frames) AS frames
        FROM '{tmp_path}/polars.parquet'
    """
    assert connection.sql(restored).pl().equals(frame.with_columns(frames="body"))

    path = tmp_path / "duckdb.parquet"
    connection.sql(f"COPY (SELECT id, s4_compress(body) AS body FROM logs) TO '{path}'")
    packed = pl.read_parquet(path)
    assert packed.select("id", s4.decompress("body", dtype=pl.String)).equals(frame)
    relation = connection.sql("SELECT s4_compress(body) FROM logs ORDER BY id")
    values = s4_codec.arrow.decompress(relation, dtype="large_string")
    assert values.to_pylist() == frame["body"].to_list()


def test_many_threads(connection: duckdb.DuckDBPyConnection) -> None:
    """Connections to one database see the functions and may call them at once."""
    connection.sql("SET threads = 4")
    sql = "SELECT count(*) FROM logs WHERE s4_decode_text(s4_encode(body)) IS DISTINCT FROM body"
    cursors = [connection.cursor() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda cursor: one(cursor, sql), cursors)) == [0] * 4


def test_dictionaries() -> None:
    new = s4_codec.train_dictionary([f"{n:x} {n * n}".encode() * 3 for n in range(2000)], 2048)
    sources: list[dict[str, Any]] = [
        {"codec": dict_codec()},
        {"dictionary": DICTIONARY},
        {"dictionary": CpuZstdDict(DICTIONARY)},
        {"dictionary": DictionarySet([new, DICTIONARY])},
    ]
    for source in sources:
        with duckdb.connect() as connection:
            s4_codec.duckdb.register(connection, **source)
            payload, size, checksum = dict_codec().compress(text(100))
            packed = {"payload": payload, "original_size": size, "crc32c": checksum}
            assert one(connection, "SELECT s4_decompress($1)", packed) == text(100)
            assert one(connection, "SELECT s4_decode($1)", dict_codec().encode(text(100)))
            assert one(connection, "SELECT s4_decode(s4_encode($1))", text(90)) == text(90)
    with duckdb.connect() as connection:
        s4_codec.duckdb.register(connection, dictionary=DictionarySet([new, DICTIONARY]))
        payload = one(connection, "SELECT s4_compress($1).payload", text(90))
        assert payload == dict_codec().compress(text(90))[0], "the last dictionary is current"


def test_bare_payloads(connection: duckdb.DuckDBPyConnection) -> None:
    payload = CpuZstd(9).compress(text(500))[0]
    assert one(connection, "SELECT s4_decompress_text($1)", payload) == text(500).decode()
    s4_codec.duckdb.register(connection, max_size=499)
    with pytest.raises(duckdb.InvalidInputException, match="S4ManifestSizeExceedsLimitError"):
        one(connection, "SELECT s4_decompress_text($1)", payload)


def test_bad_rows(connection: duckdb.DuckDBPyConnection) -> None:
    connection.sql("CREATE TABLE packed AS SELECT id, s4_compress(body) AS body FROM logs")
    damaged = """
        SELECT id, struct_update(body, crc32c := xor(body.crc32c, (id = 2050)::BIGINT)) AS body
        FROM packed
    """
    connection.sql(f"CREATE TABLE damaged AS {damaged}")
    with pytest.raises(duckdb.InvalidInputException, match=r"S4CrcMismatchError: row \d+ \(codec"):
        connection.sql("SELECT s4_decompress(body) FROM damaged").fetchall()
    reasons = connection.sql(
        "SELECT id, s4_verify(body) AS reason FROM damaged WHERE reason IS NOT NULL"
    ).fetchall()
    assert [row for row, _ in reasons] == [2050]
    assert reasons[0][1].startswith("S4CrcMismatchError: crc32c of the decoded bytes is ")
    s4_codec.duckdb.register(connection, on_error="null")
    lost = "SELECT count(*) FROM damaged WHERE s4_decompress(body) IS NULL AND id % 7 != 3"
    assert one(connection, lost) == 1

    frame = CpuZstd().encode(text(100))
    assert one(connection, "SELECT s4_verify_frames($1)", frame) is None
    reason = one(connection, "SELECT s4_verify_frames($1)", frame[:-1])
    assert reason.startswith("S4FrameError: ")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("s4_compress(1)", "TypeError: compress expects binary or string data"),
        ("s4_compress('a', 'b')", "TypeError: s4_compress takes one argument, got 2"),
        ("s4_decompress({'payload': 'a'::BLOB})", "TypeError: .* original_size"),
        ("s4_decompress_text(s4_compress('\\xFF'::BLOB))", "S4Error: row 0 .*UTF-8"),
        ("s4_decode('a'::BLOB)", "S4FrameError: row 0"),
    ],
)
def test_mistakes_in_sql(connection: duckdb.DuckDBPyConnection, sql: str, words: str) -> None:
    with pytest.raises(duckdb.InvalidInputException, match=words):
        connection.sql(f"SELECT {sql}").fetchall()


def test_registering_again_replaces(connection: duckdb.DuckDBPyConnection) -> None:
    names = s4_codec.duckdb.register(connection, "cpu-gzip")
    assert "s4_compress" in names
    payload = one(connection, "SELECT s4_compress($1).payload", text(90))
    assert payload == CpuGzip().compress(text(90))[0]
    names = s4_codec.duckdb.register(connection, CpuZstd(9), prefix="z9_")
    assert all(name.startswith("z9_") for name in names)
    assert one(connection, "SELECT z9_compress($1).payload", text(90))[:4] == b"\x28\xb5\x2f\xfd"
    assert one(connection, "SELECT s4_compress($1).payload", text(90)) == payload


def test_another_connection_is_told(connection: duckdb.DuckDBPyConnection) -> None:
    with connection.cursor() as other:
        with pytest.raises(duckdb.CatalogException) as caught:
            s4_codec.duckdb.register(other)
        assert "Another connection to this database added s4_compress" in caught.value.__notes__[0]
        s4_codec.duckdb.register(other, prefix="other_")


def test_mistakes() -> None:
    connection: Any = duckdb.connect()
    register = s4_codec.duckdb.register
    with pytest.raises(s4_codec.S4UnregisteredCodecError, match='unknown codec "zip"'):
        register(connection, "zip")
    with pytest.raises(TypeError, match="codec must be a codec object"):
        register(connection, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="connection must be a DuckDB connection, not"):
        register("logs.db")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prefix must be a string"):
        register(connection, prefix="")
    with pytest.raises(ValueError, match='on_error must be "raise" or "null"'):
        register(connection, on_error="skip")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pass codec or dictionary, not both"):
        register(connection, CpuZstd(9), dictionary=DICTIONARY)
    with pytest.raises(s4_codec.S4BackendError, match="dictionary"):
        register(connection, dictionary=b"")
    with pytest.raises(duckdb.CatalogException, match="s4_compress"):
        connection.sql("SELECT s4_compress('a')")
    connection.close()
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        register(connection)
