"""Ctrl-C during long work, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")

#: What each call works on: without an interrupt it would take ten seconds at least.
SETUP = """
import os, signal, sys, threading, time
import polars as pl, pyarrow as pa, s4_codec, s4_codec.arrow, s4_codec.polars as s4
def work_is_at_hand():
    print("go", flush=True)
def small_calls_work():
    value = b"a value " * 30_000
    packed = s4_codec.arrow.compress(pa.array([value] * 40))
    assert s4_codec.arrow.decompress(packed).to_pylist() == [value] * 40
    assert pl.Series([value] * 40).s4.compress().s4.decompress().to_list() == [value] * 40
    body = s4_codec.encode_s4_object(value * 20)
    assert s4_codec.decode_s4_object(body["body"], body["metadata"]) == value * 20
slow, slowest = s4_codec.CpuZstd(19), s4_codec.CpuZstd(22)
rows = [os.urandom(4000).hex() for _ in range(10_000)]
text = "".join(rows).encode()
one = pl.Series([text])
frame = pl.DataFrame({"body": rows, "group": [i % 3 for i in range(len(rows))]})
"""

#: Tells what a caller sees of an interrupt. Where Polars ends a query by itself, whatever is in
#: it, it raises one, and Python another at the next call.
TAIL = """
def ended():
    try:
        {call}
    except KeyboardInterrupt:
        return "KeyboardInterrupt"
    except BaseException as error:
        return repr(error)
    return "no interrupt"
work_is_at_hand()
found = ""
try:
    found = ended()
    str(found)
except KeyboardInterrupt as error:
    found = found or type(error.__context__).__name__
print(found, flush=True)
small_calls_work()
print("and goes on", flush=True)
"""

CALLS = {
    "eager": "frame.select(s4.compress('body', slow))",
    "series": "frame['body'].s4.encode(slow)",
    "lazy": "frame.lazy().select(s4.compress('body', slow)).collect()",
    "streaming": "frame.lazy().select(s4.compress('body', slow)).collect(engine='streaming')",
    "sink": "frame.lazy().select(s4.encode('body', slow)).sink_parquet(os.devnull)",
    "many groups": (
        "frame.with_columns(group=pl.int_range(pl.len()) // 3)"
        ".group_by('group').agg(s4.compress('body', slow))"
    ),
    "group_by": "frame.group_by('group').agg(s4.compress('body', slow))",
    "one value in Polars": "one.s4.compress(slowest)",
    "arrow": "s4_codec.arrow.compress(frame['body'], slow)",
    "one value in Arrow": "s4_codec.arrow.encode(pa.array([text]), slowest)",
    "one value": "slow.compress(text)",
    "one frame": "slowest.encode(bytearray(text))",
    "object": "s4_codec.encode_s4_object(text, level=22)",
    "object of a bytearray": "s4_codec.encode_s4_object(bytearray(text), level=22)",
    "training": "s4_codec.train_dictionary([row.encode() for row in rows * 4], 10_000_000)",
    "training on a series": "s4.train_dictionary(pl.concat([frame['body']] * 4), 10_000_000)",
    "training, and measuring": "s4_codec.train([row.encode() for row in rows * 4], 10_000_000)",
    "nulls that are only claimed": "s4_codec.arrow.train_dictionary(pa.nulls(2**33))",
    "pieces of them": (
        "s4_codec.s4_codec._arrow_split_rows(pa.nulls(2**33), slow, False, None, 2**20)"
    ),
}

#: As many seconds are plenty for what should take half of one, on a machine that has other
#: work to do.
SOON = 4.0


def start(code: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", SETUP + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "go\n"
    return child


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def interrupt(child: subprocess.Popen[str], after: float = 1.0) -> float:
    """Interrupts the process; tells when."""
    time.sleep(after)
    os.kill(child.pid, signal.SIGINT)
    return time.monotonic()


def end(child: subprocess.Popen[str]) -> str:
    """What the process still says, once it has ended well."""
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    return out.strip()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_interrupt_is_heard_soon(call: str) -> None:
    child = start(TAIL.format(call=call))
    since = interrupt(child)
    assert line(child) == "KeyboardInterrupt"
    assert time.monotonic() - since < SOON
    assert end(child) == "and goes on"


def test_an_interrupt_that_nobody_catches_ends_the_process() -> None:
    for call in (CALLS["one value in Polars"], CALLS["one value in Arrow"]):
        child = start(f"work_is_at_hand()\n{call}")
        since = interrupt(child)
        _, err = child.communicate(timeout=60)
        assert time.monotonic() - since < SOON
        assert child.returncode == -signal.SIGINT
        assert err.splitlines()[-1].startswith("KeyboardInterrupt")


HANDLED = """
import itertools
signal.signal(signal.SIGINT, {handler})
work_is_at_hand()
values = rows[:1200]
packed = pl.Series(values).s4.encode(slow)
assert packed.s4.decode(dtype=pl.String).to_list() == values
packed = s4_codec.arrow.encode(pa.array(values), slow)
assert s4_codec.arrow.decode(packed, dtype="large_string").to_pylist() == values
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("done", flush=True)
"""


@pytest.mark.parametrize("handler", ["lambda *_: None", "signal.SIG_IGN"])
def test_a_handler_that_does_not_raise_lets_the_work_go_on(handler: str) -> None:
    child = start(HANDLED.format(handler=handler))
    for _ in range(4):
        interrupt(child, 0.4)
    assert end(child) == "done"


AGAIN = """
for _ in range(3):
    # As notebooks do before each cell, and asyncio.run.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work_is_at_hand()
    try:
        frame.select(s4.compress("body", slow))
    except KeyboardInterrupt:
        print("heard", flush=True)
"""


def test_handlers_may_be_replaced() -> None:
    child = start(AGAIN)
    for again in range(3):
        assert again == 0 or line(child) == "go"
        since = interrupt(child, 0.4)
        assert line(child) == "heard"
        assert time.monotonic() - since < SOON
    assert end(child) == ""


LEFT_BEHIND = """
data = bytearray(text[:8_000_000])
work_is_at_hand()
try:
    s4_codec.encode_s4_object(data, level=22)
except KeyboardInterrupt:
    print("heard", flush=True)
child = os.fork()
if not child:
    value = b"a value " * 30_000
    packed = s4_codec.arrow.compress(pa.array([value] * 40))
    os._exit(packed[0].as_py()["original_size"] != len(value))
assert os.waitpid(child, 0)[1] == 0
since = time.monotonic()
while time.monotonic() - since < 60:
    try:
        data.append(1)
        print("released", flush=True)
        break
    except BufferError:
        time.sleep(0.05)
"""


def test_what_is_left_behind_ends_and_releases_its_inputs() -> None:
    child = start(LEFT_BEHIND)
    interrupt(child, 0.5)
    assert line(child) == "heard"
    assert end(child) == "released"


def test_the_process_may_end_before_what_is_left_behind() -> None:
    for seconds in (0.0, 1.5, 3.0):
        child = start(
            f"import atexit; atexit.register(time.sleep, {seconds})\n"
            + LEFT_BEHIND.split("child =")[0].replace("8_000_000", "6_000_000")
        )
        since = interrupt(child, 0.3)
        assert line(child) == "heard"
        assert end(child) == ""
        assert time.monotonic() - since < SOON + seconds


PRODUCER = """
schema = pa.schema([("body", pa.binary())])
batch = pa.record_batch([pa.array([b"x"] * 10)], schema=schema)
def batches():
    yield batch
    work_is_at_hand()
    {fault}
reader = pa.RecordBatchReader.from_batches(schema, batches())
try:
    {call}
except Exception as error:
    print(repr(error), flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
small_calls_work()
"""


@pytest.mark.parametrize(
    "call",
    [
        "s4_codec.arrow.compress(reader)",
        "s4_codec.arrow.decode(reader)",
        "s4_codec.train_dictionary(reader)",
        "import nanoarrow; s4_codec.arrow.compress(nanoarrow.ArrayStream(reader))",
        "import arro3.core as a; s4_codec.arrow.compress(a.RecordBatchReader.from_stream(reader))",
    ],
)
def test_an_interrupt_in_a_producer_is_itself(call: str) -> None:
    child = start(PRODUCER.format(call=call, fault="time.sleep(30)"))
    since = interrupt(child, 0.3)
    assert line(child) == "KeyboardInterrupt"
    assert time.monotonic() - since < SOON
    assert end(child) == ""
    child = start(PRODUCER.format(call=call, fault="raise KeyboardInterrupt"))
    assert line(child) == "KeyboardInterrupt"
    assert end(child) == ""
    child = start(PRODUCER.format(call=call, fault="raise ValueError('no KeyboardInterrupt here')"))
    assert line(child).startswith("S4BackendError(")
    assert end(child) == ""
