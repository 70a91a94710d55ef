"""What ``inspect`` and ``index`` print: tables or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..s4_codec import FRAME_HEADER_BYTES

if TYPE_CHECKING:
    from ..s4_codec import _StoredFrame


def print_frames(frames: list[_StoredFrame], states: list[str], size: int) -> None:
    verified = "         RATIO   STATE" if states else ""
    print(f"{'FRAME':<7}{'CODEC':<16}{'ORIGINAL':>14}{'COMPRESSED':>15}{'CRC32C':>9}{verified}")
    for i, frame in enumerate(frames):
        extra = f"  {_ratio(frame):>9}   {states[i]}" if states else ""
        print(
            f"{frame.number:<7}{frame.codec:<16}{frame.original_size:>14}"
            f"{frame.compressed_size:>15}   {frame.crc32c:#010x}{extra}"
        )
    original, payload, padding = _totals(frames, size)
    print(
        f"total: {len(frames)} frame(s), {original} original bytes, {payload} compressed "
        f"payload bytes, {size} file bytes ({padding} padding)"
    )


def _ratio(frame: _StoredFrame) -> str:
    if not frame.compressed_size:
        return "-"
    return f"{frame.original_size / frame.compressed_size:.2f}"


def _totals(frames: list[_StoredFrame], size: int) -> tuple[int, int, int]:
    original = sum(frame.original_size for frame in frames)
    payload = sum(frame.compressed_size for frame in frames)
    return original, payload, max(0, size - payload - FRAME_HEADER_BYTES * len(frames))


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _print_list(key: str, items: list[Any], comma: str) -> None:
    print(f'  "{key}": [')
    for i, item in enumerate(items):
        print(f"    {_compact(item)}{',' if i + 1 < len(items) else ''}")
    print(f"  ]{comma}")


def print_frames_json(frames: list[_StoredFrame], states: list[str], size: int) -> None:
    original, payload, padding = _totals(frames, size)
    items: list[dict[str, Any]] = [frame.header() for frame in frames]
    for item, state in zip(items, states, strict=False):
        packed = item["compressed_size"]
        item["ratio"] = round(item["original_size"] / packed, 3) if packed else None
        item["verified"] = state == "ok"
        if state != "ok":
            item["error"] = state
    print("{")
    _print_list("frames", items, ",")
    print(f'  "total_frames": {len(frames)},')
    print(f'  "total_original_size": {original},')
    print(f'  "total_compressed_size": {payload},')
    print(f'  "file_size": {size},')
    print(f'  "padding_bytes": {padding}')
    print("}")


def print_index(found: dict[str, Any], path: str) -> None:
    etag, size = found["source_etag"], found["source_compressed_size"]
    print(f"S4IX sidecar: {path}")
    print(f"  entries:                 {len(found['entries'])}")
    print(f"  total_original_size:     {found['total_original_size']}")
    padded = found["total_padded_size"]
    print(f"  total_padded_size:       {padded}   (backend object size incl. padding)")
    print(f"  source_etag:             {'(none)' if etag is None else _printable(etag)}")
    print(f"  source_compressed_size:  {'(none)' if size is None else size}")
    bound = [f"a body of {size} bytes"] * (size is not None)
    bound += [f"the ETag {_printable(etag or '')}"] * (etag is not None)
    unbound = "nothing (a reader cannot tell whether a body has changed; reindex binds it)"
    print(f"  bound to:                {' and '.join(bound) or unbound}")
    print(f"  sse (v3 S4E6 geometry):  {_sse_text(found['sse'])}")
    print(f"\n{'IDX':<5}{'ORIG_OFFSET':>16}{'ORIG_SIZE':>13}{'COMP_OFFSET':>15}{'COMP_SIZE':>13}")
    for i, entry in enumerate(found["entries"]):
        first, second, third, fourth = entry.values()
        print(f"{i:<5}{first:>16}{second:>13}{third:>15}{fourth:>13}")


def print_index_json(found: dict[str, Any]) -> None:
    print("{")
    print(f'  "total_frames": {len(found["entries"])},')
    for key in ("total_original_size", "total_padded_size", "source_etag"):
        print(f'  "{key}": {_compact(found[key])},')
    print(f'  "source_compressed_size": {_compact(found["source_compressed_size"])},')
    print(f'  "sse": {_compact(found["sse"])},')
    _print_list("entries", found["entries"], "")
    print("}")


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def _sse_text(sse: dict[str, Any] | None) -> str:
    if sse is None:
        return "none"
    names = ("chunk_size", "chunk_count", "key_id", "plaintext_len", "header_bytes", "salt")
    return " ".join(f"{name}={sse[f'enc_{name}']}" for name in names)
