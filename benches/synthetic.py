"""The data that benchmarks make when none is given: the same bytes in every run.

Lines of an access log, status documents of a proxy, and a product catalogue in XML. They are
about as long as real ones and compress about as well; `ratios.py` measures how well.
"""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

SEED = 14
#: More than 2 MiB of each, which is how far back zstd looks at level 3.
LINES, DOCUMENTS, PRODUCTS = 16_000, 500, 9_000

#: 2026-03-10, in milliseconds since 1970.
_START = 1_773_100_800_000

_METHODS = ("GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT")
_STATUSES = ("200", "200", "200", "200", "200", "206", "301", "304", "304", "404", "500")
_AGENTS = (
    "Firefox/148.0",
    "Chrome/145.0",
    "Safari/26.2",
    "curl/8.18.0",
    "Googlebot/2.1",
    "okhttp/5.3.2",
    "Feedly/1.0",
)
_VOCABULARY = (
    "amber anchor apple arch aster barrel basin beacon birch bottle branch bridge candle canyon "
    "cedar chart circle clover cobalt copper coral cotton crane crystal delta desert drift eagle "
    "elm ember engine falcon feather fern flint forest fossil garden garnet glacier granite grove "
    "harbor hazel heron hollow island ivory jasper juniper kernel lagoon lantern laurel ledger "
    "lilac linen lotus magnet maple marble meadow mirror moss nectar nickel oak ocean olive onyx "
    "orchid otter paper pearl pebble pepper pine planet plum prairie prism quarry quartz quill "
    "rapid raven reef ridge river robin saddle saffron sage satin shadow shell silver slate spruce "
    "stone summit sunset tempo thistle timber topaz tulip tundra umber valley velvet violet walnut "
    "willow window winter yarrow zephyr zinc"
)
_WORDS = _VOCABULARY.split()


def log_lines() -> list[bytes]:
    """Log lines of about 160 bytes: clients stay for a while, and every request has an id."""
    random = Random(SEED)
    clients = [_client(random) for _ in range(40)]
    lines, millis = [], 0
    for _ in range(LINES):
        number = random.randrange(len(clients))
        if random.random() < 0.15:
            clients[number] = _client(random)
        address, session, agent = clients[number]
        millis += random.randrange(2_000)
        page = f"/{random.choice(_WORDS)}/{random.getrandbits(32):08x}"
        request = f"{random.choice(_METHODS)} {page} HTTP/1.1"
        response = f"{random.choice(_STATUSES)} {random.randrange(100_000)}"
        request_id = base64.b64encode(random.randbytes(12)).decode()
        line = f'{address} - {session} [{_time(millis)}] "{request}" {response} "{page}" "{agent}"'
        lines.append(f"{line} {request_id}".encode())
    return lines


def _client(random: Random) -> tuple[str, str, str]:
    """An address, a session id and a user agent."""
    address = ".".join(str(random.randrange(1, 255)) for _ in range(4))
    return address, f"{random.getrandbits(96):024x}", random.choice(_AGENTS)


def _time(millis: int) -> str:
    seconds = millis // 1000
    minutes, hours = seconds // 60, seconds // 3600
    clock = f"{hours % 24:02}:{minutes % 60:02}:{seconds % 60:02}.{millis % 1000:03}"
    return f"{10 + hours // 24:02}/Mar/2026:{clock}"


def documents() -> list[bytes]:
    """JSON documents of about 5.6 KB: snapshots of counters, a few seconds apart."""
    random = Random(SEED)
    zones = [_zone(random, name) for name in _WORDS[:120:20]]
    peers = [_peer(random, number) for number in range(11)]
    found, millis = [], _START
    for _ in range(DOCUMENTS):
        millis += random.randrange(5_000, 6_000)
        for counters in (*zones, *peers):
            if random.random() < 0.7:
                _count_requests(random, counters)
        for peer in peers:
            peer["latency_us"] = random.randrange(1 << 20)
            peer["selected"] = millis - random.randrange(60_000)
        document = {
            "version": 8,
            "address": "10.0.0.7",
            "generation": 11,
            "timestamp": millis,
            "pid": random.randrange(64_850, 64_860),
            "connections": {"active": random.randrange(40), "idle": random.randrange(60)},
            "zones": zones,
            "peers": peers,
        }
        found.append(json.dumps(document, separators=(",", ":")).encode())
    return found


def _zone(random: Random, name: str) -> dict[str, Any]:
    return {
        "name": f"{name}.example.com",
        "processing": 0,
        "requests": random.randrange(1 << 20, 1 << 21),
        "responses": _responses(random),
        "discarded": random.randrange(1 << 12),
        "received": random.randrange(1 << 36),
        "sent": random.randrange(1 << 40),
    }


def _peer(random: Random, number: int) -> dict[str, Any]:
    checks = {"checks": random.randrange(1 << 20), "fails": 0, "unhealthy": 0, "last_passed": True}
    return {
        "id": number,
        "server": f"10.0.0.{number + 1}:8080",
        "backup": False,
        "weight": 1,
        "state": "up",
        "active": 0,
        "requests": random.randrange(1 << 20, 1 << 21),
        "responses": _responses(random),
        "sent": random.randrange(1 << 40),
        "received": random.randrange(1 << 36),
        "fails": 0,
        "unavail": 0,
        "health_checks": checks,
        "downtime": 0,
        "latency_us": 0,
        "selected": 0,
    }


def _responses(random: Random) -> dict[str, int]:
    return {
        "1xx": 0,
        "2xx": random.randrange(1 << 20),
        "3xx": random.randrange(1 << 14),
        "4xx": random.randrange(1 << 12),
        "5xx": random.randrange(1 << 8),
        "total": random.randrange(1 << 20, 1 << 21),
    }


def _count_requests(random: Random, counters: dict[str, Any]) -> None:
    """Adds the requests of a few seconds."""
    counters["requests"] += random.randrange(90)
    counters["received"] += random.randrange(90_000)
    counters["sent"] += random.randrange(9_000_000)
    for name, most in (("2xx", 80), ("3xx", 10), ("total", 90)):
        counters["responses"][name] += random.randrange(most)


def catalogue() -> bytes:
    """About 5 MB of XML: products, each with a description."""
    random = Random(SEED)
    sentences = [" ".join(random.choices(_WORDS, k=random.randrange(5, 14))) for _ in range(1_000)]
    products = "".join(_product(random, number, sentences) for number in range(PRODUCTS))
    return f'<?xml version="1.0"?>\n<CATALOGUE>\n{products}</CATALOGUE>\n'.encode()


def _product(random: Random, number: int, sentences: list[str]) -> str:
    sizes = [f"{random.randrange(20, 400, 20)}" for _ in range(3)]
    fields = [
        ("NUMBER", f"{number}"),
        ("NAME", " ".join(random.choices(_WORDS, k=2))),
        ("MAKER", random.choice(_WORDS[:30])),
        ('PRICE CURRENCY="EUR"', f"{random.randrange(100_000) / 100:.2f}"),
        ('WEIGHT UNITS="grams"', f"{random.randrange(5_000)}"),
        ('LENGTH UNITS="millimetres"', sizes[0]),
        ('WIDTH UNITS="millimetres"', sizes[1]),
        ('HEIGHT UNITS="millimetres"', sizes[2]),
        ("MATERIAL", random.choice(_WORDS[30:40])),
        ("COLOUR", random.choice(_WORDS[40:50])),
        ("DESCRIPTION", ". ".join(random.choices(sentences, k=random.randrange(1, 4)))),
        ("AVAILABILITY", random.choice(("in stock", "within a week", "on demand"))),
    ]
    lines = [f"    <{name}>{value}</{name.split()[0]}>\n" for name, value in fields]
    return f"  <PRODUCT>\n{''.join(lines)}  </PRODUCT>\n"


def pages(count: int) -> list[bytes]:
    """HTML pages of about 7 KB, of 40 sites: the pages of a site share their frame, as crawled."""
    random = Random(SEED)
    sites = [_site(random) for _ in range(40)]
    found = []
    for number in range(count):
        head, foot = sites[number * len(sites) // count]
        title = " ".join(random.choices(_WORDS, k=6))
        body = "".join(_section(random) for _ in range(random.randrange(2, 14)))
        found.append(f"{head}<title>{title}</title></head>\n<body>{body}{foot}".encode())
    return found


def _site(random: Random) -> tuple[str, str]:
    """What the pages of a site begin and end with."""
    name = random.choice(_WORDS)
    styles = "\n".join(
        f".{random.choice(_WORDS)}-{random.choice(_WORDS)} {{ margin: {random.randrange(40)}px; "
        f"color: #{random.getrandbits(24):06x} }}"
        for _ in range(25)
    )
    links = "\n".join(
        f'<li><a class="{name}-nav" href="/{word}/{random.getrandbits(16):04x}">{word}</a></li>'
        for word in random.sample(_WORDS, 20)
    )
    head = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n<style>{styles}</style>'
    return head, f"<footer><ul>{links}</ul><p>&copy; {name}.example</p></footer></body></html>\n"


def _section(random: Random) -> str:
    word = random.choice(_WORDS)
    text = " ".join(random.choices(_WORDS, k=random.randrange(20, 80)))
    number = random.getrandbits(40)
    return f'<section id="s{number:x}"><h2>{word.title()}</h2>\n<p>{text}.</p></section>\n'
