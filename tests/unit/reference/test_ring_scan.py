"""What is left in a ring after a crash: everything that was committed, and nothing that was not. docs/formats/ring.md."""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from zlib import crc32

import pytest

from cra.errors import StorageError
from cra.reference import ring as reference
from cra.reference import ring_scan as reference_scan
from cra.reference.ring import (
    DATA_OFFSET,
    FRAME,
    HEAD_OFFSET,
    IDENTITY,
    MIN_SIZE,
    TAIL_OFFSET,
    WORD,
    frame_size,
    mix,
)
from cra.reference.ring_scan import RingScan
from tests.support.twins import compiled_twin, twins

Scan = Callable[[int | bytes], RingScan]
GOLDEN = Path(__file__).parents[2] / "data" / "rings" / "version-1.hex"


@pytest.fixture(params=twins(reference_scan), ids=lambda module: f"scan-{module.__name__.rsplit('.', 1)[-1]}")
def scan(request: pytest.FixtureRequest) -> Scan:
    """`scan_ring` of either implementation."""
    return request.param.scan_ring  # type: ignore[no-any-return]


@pytest.fixture(params=twins(reference), ids=lambda module: f"ring-{module.__name__.rsplit('.', 1)[-1]}")
def make(request: pytest.FixtureRequest) -> Callable[[int], Any]:
    """A function that makes a ring of the smallest size in the file of a descriptor, by either implementation."""
    return lambda fd: request.param.Ring(MIN_SIZE, fd)


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    """An empty file."""
    with tempfile.TemporaryFile() as opened:
        yield opened


def content(file: IO[bytes]) -> bytearray:
    """All that is in a file."""
    file.seek(0)
    return bytearray(file.read())


def put_laps(ring: Any, rng: random.Random, laps: int) -> dict[int, bytes]:
    """Put records until the ring was filled `laps` times; those that are not freed in the end, by position."""
    live: dict[int, bytes] = {}
    number = 0
    while ring.head < laps * MIN_SIZE:
        record = b"%d " % number + rng.randbytes(rng.randrange(200))
        position = ring.head
        if ring.put(record):
            live[position] = record
            number += 1
        else:
            for _ in range(rng.randrange(1, 9)):
                if ring.read() is not None:
                    live.pop(min(live))
            ring.free(ring.position)
    return live


def secret_of(image: bytes) -> int:
    """The secret of a ring's image."""
    return int(IDENTITY.unpack_from(image)[3])


def commit_word(image: bytearray, position: int) -> memoryview:
    """The eight bytes of the commit word at a position."""
    start = DATA_OFFSET + position % MIN_SIZE
    return memoryview(image)[start : start + 8]


@pytest.mark.parametrize("laps", [0, 1, 7])
def test_what_was_put_and_not_freed_is_found(
    make: Callable[[int], Any], scan: Scan, file: IO[bytes], seed: int, laps: int
) -> None:
    """By both implementations in the rings of both, from the file while it is in use and from a copy of its bytes."""
    ring = make(file.fileno())
    live = put_laps(ring, random.Random(seed), laps)
    for found in (scan(file.fileno()), scan(bytes(content(file)))):
        assert (MIN_SIZE, ring.head, ring.tail, []) == (found.size, found.head, found.tail, found.torn)
        assert live == {record.position: record.data for record in found.records}
        assert list(live) == [record.position for record in found.records]


def test_what_was_read_and_not_freed_is_found(make: Callable[[int], Any], scan: Scan, file: IO[bytes]) -> None:
    """Freeing says that a record is stored, reading does not; what is reserved is nothing yet."""
    ring = make(file.fileno())
    for name in (b"a", b"b", b"c"):
        ring.put(name)
    ring.reserve(100)
    assert [b"a", b"b"] == [ring.read(), ring.read()]
    ring.free(24)
    assert [b"b", b"c"] == [record.data for record in scan(file.fileno()).records]
    assert ring.read() == b"c"
    ring.free(ring.head)
    assert ([], []) == (scan(file.fileno()).records, scan(file.fileno()).torn)


def test_a_hole_hides_nothing(make: Callable[[int], Any], scan: Scan, file: IO[bytes], seed: int) -> None:
    """Records whose commit word is not there are reported as gaps, neighbours as one; all others are found."""
    rng = random.Random(seed)
    live = put_laps(make(file.fileno()), rng, 3)
    for missing in [set(rng.sample(list(live), rng.randrange(1, len(live) + 1))) for _ in range(20)] + [set(live)]:
        image = content(file)
        for position in missing:
            commit_word(image, position)[:] = rng.choice(
                [bytes(8), WORD.pack(mix(position - MIN_SIZE, secret_of(image)))]
            )
        found = scan(bytes(image))
        assert {p: data for p, data in live.items() if p not in missing} == dict(found.records)
        assert {"claimed, and not committed"} == {torn.reason for torn in found.torn}
        gaps = {p for torn in found.torn for p in live if torn.position <= p < torn.position + torn.length}
        assert (missing, sum(frame_size(len(live[p])) for p in missing)) == (
            gaps,
            sum(torn.length for torn in found.torn),
        )
        assert all(a.position + a.length < b.position for a, b in zip(found.torn, found.torn[1:]))


def test_a_damaged_record_is_reported_with_its_place(make: Callable[[int], Any], scan: Scan, file: IO[bytes]) -> None:
    """Checksum, length or content: the record is not returned, and those behind it are."""
    ring = make(file.fileno())
    for _ in range(4):
        ring.put(b"x" * 20)
    for offset in (8, 12, 15, 16, 35):
        image = content(file)
        image[DATA_OFFSET + 40 + offset] ^= 1
        found = scan(bytes(image))
        assert [0, 80, 120] == [record.position for record in found.records]
        assert [(40, 40, "committed, and its checksum is wrong")] == found.torn


def test_one_wrong_byte_never_makes_a_wrong_record(
    make: Callable[[int], Any], scan: Scan, file: IO[bytes], seed: int
) -> None:
    """In the header or the data: what is returned was put, at this place, and is not freed; nothing is raised."""
    rng = random.Random(seed)
    live = put_laps(make(file.fileno()), rng, 4)
    whole = bytes(content(file))
    places = [*range(IDENTITY.size, TAIL_OFFSET + 24), *(rng.randrange(DATA_OFFSET, len(whole)) for _ in range(300))]
    lost = 0
    for place in places:
        image = bytearray(whole)
        image[place] ^= rng.randrange(1, 256)
        found = scan(bytes(image))
        assert dict(found.records).items() <= live.items(), place
        assert len(found.records) >= len(live) - 1, place
        assert len(found.records) == len(live) or found.torn, place
        assert place >= DATA_OFFSET or dict(found.records) == live, place
        lost += len(live) - len(found.records)
    assert lost > 0  # the damage was real


def test_a_file_that_is_cut_short_gives_what_is_there(
    make: Callable[[int], Any], scan: Scan, file: IO[bytes], seed: int
) -> None:
    """At any length: records that are there whole, and a word about the rest."""
    rng = random.Random(seed)
    live = put_laps(make(file.fileno()), rng, 3)
    whole = bytes(content(file))
    for length in [
        IDENTITY.size,
        HEAD_OFFSET + 3,
        DATA_OFFSET,
        *(rng.randrange(DATA_OFFSET, len(whole)) for _ in range(60)),
    ]:
        found = scan(whole[:length])
        assert dict(found.records).items() <= live.items()
        assert (0, len(whole) - max(length, DATA_OFFSET), "the file is cut short") == found.torn[0]


def test_twins_agree_on_a_header_that_is_cut(make: Callable[[int], Any], file: IO[bytes], seed: int) -> None:
    """Anywhere: within the words of head and tail, too."""
    compiled = compiled_twin()
    put_laps(make(file.fileno()), random.Random(seed), 3)
    whole = bytes(content(file))
    for length in [*range(IDENTITY.size, TAIL_OFFSET + 24), *range(TAIL_OFFSET + 24, DATA_OFFSET, 997), DATA_OFFSET]:
        assert reference_scan.scan_ring(whole[:length]) == compiled.scan_ring(whole[:length])


def test_tail_and_seal_vouch_for_each_other(make: Callable[[int], Any], scan: Scan, file: IO[bytes], seed: int) -> None:
    """A crash between the two, or damage to one, changes nothing; with both damaged nothing is returned."""
    ring = make(file.fileno())
    live = put_laps(ring, random.Random(seed), 2)
    image = content(file)
    tail, secret = ring.tail, secret_of(image)
    WORD.pack_into(image, TAIL_OFFSET, min(list(live)[1:]))  # the new tail is stored, its seal is not yet
    assert live == dict(scan(bytes(image)).records)
    WORD.pack_into(image, TAIL_OFFSET, tail)
    WORD.pack_into(image, TAIL_OFFSET + 8, 12345)
    assert live == dict(scan(bytes(image)).records)
    WORD.pack_into(image, TAIL_OFFSET, tail + 3)
    found = scan(bytes(image))
    assert ([], ["the head or the tail is damaged, so where the records begin is not known"]) == (
        found.records,
        [torn.reason for torn in found.torn],
    )
    struct.pack_into("<QQ", image, TAIL_OFFSET, tail, mix(tail, secret))
    assert live == dict(scan(bytes(image)).records)


def test_records_behind_a_damaged_head_are_found(
    make: Callable[[int], Any], scan: Scan, file: IO[bytes], seed: int
) -> None:
    """Too low, too high, or no position at all; it is said, and no claims are made up from it."""
    ring = make(file.fileno())
    live = put_laps(ring, random.Random(seed), 2)
    for head in (ring.tail, ring.head - 8, ring.head + 1, ring.tail + MIN_SIZE + 8, 0, 2**64 - 8):
        image = content(file)
        WORD.pack_into(image, HEAD_OFFSET, head)
        found = scan(bytes(image))
        assert live == dict(found.records)
        assert [(ring.head, 0, "the head is damaged")] == found.torn


def test_a_ring_that_was_not_finished_is_empty(scan: Scan, file: IO[bytes]) -> None:
    """The identity is written last: a file of zeros held no record yet."""
    assert RingScan(0, 0, 0, 0, [], []) == scan(file.fileno())
    assert RingScan(0, 0, 0, 0, [], []) == scan(bytes(DATA_OFFSET + MIN_SIZE))


def identity(**fields: Any) -> bytes:
    """An identity with a right checksum."""
    values = {"magic": b"cra-ring", "version": 1, "size": MIN_SIZE, "secret": 5, "pid": 7, **fields}
    data = IDENTITY.pack(*values.values(), 0)[:-4]
    return data + crc32(data).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"{}", "this is not a ring file: it does not begin as one"),
        (bytes(100) + b"x", "this is not a ring file: it does not begin as one"),
        (b"cra-ring", "this ring file is cut short within its header"),
        (identity()[:-1], "this ring file is cut short within its header"),
        (identity()[:-1] + b"\x00", "the header of this ring file is damaged: its checksum is wrong"),
        (identity(version=2), "this ring file has format version 2, and this version of cra reads 1"),
        (identity(size=0), "the header of this ring file gives an impossible size of 0 bytes"),
        (identity(size=6144), "the header of this ring file gives an impossible size of 6144 bytes"),
        (identity(size=2**63), f"the header of this ring file gives an impossible size of {2**63} bytes"),
    ],
)
def test_what_is_no_ring_is_a_storage_error(scan: Scan, image: bytes, message: str) -> None:
    """It says what is wrong with the file."""
    with pytest.raises(StorageError) as caught:
        scan(image)
    assert message == caught.value.message


def test_a_file_that_cannot_be_read_is_a_storage_error(scan: Scan, tmp_path: Path) -> None:
    """With the reason the system gives."""
    with (tmp_path / "write-only").open("wb") as file, pytest.raises(StorageError, match="cannot be read: Bad file"):
        scan(file.fileno())


def test_twins_agree_on_wild_images(seed: int) -> None:
    """Valid rings with several bytes of noise anywhere, frames over one another included: the same answer, or the same error."""
    compiled = compiled_twin()
    rng = random.Random(seed)
    for _ in range(40):
        secret = rng.getrandbits(64)
        image = bytearray(DATA_OFFSET + MIN_SIZE)
        image[: IDENTITY.size] = identity(secret=secret)
        base = rng.randrange(0, 2**40, 8)
        struct.pack_into("<Q", image, HEAD_OFFSET, base + rng.randrange(0, MIN_SIZE + 1, 8))
        struct.pack_into("<QQ", image, TAIL_OFFSET, base, mix(base, secret))
        for _ in range(rng.randrange(60)):
            position = base + rng.randrange(0, MIN_SIZE, 8)
            data = rng.randbytes(rng.choice([0, 1, 8, 50, 200]))
            checksum = crc32(data, crc32(struct.pack("<I", len(data))))
            frame = FRAME.pack(mix(position, secret), checksum, len(data)) + data
            for offset, byte in enumerate(frame):
                image[DATA_OFFSET + (position + offset) % MIN_SIZE] = byte
        for _ in range(rng.choice([0, 0, 3, 30])):
            image[rng.choice([rng.randrange(300), rng.randrange(DATA_OFFSET, len(image))])] = rng.randrange(256)
        cut = bytes(image[: rng.choice([len(image), len(image), rng.randrange(len(image))])])
        assert _outcome(reference_scan.scan_ring, cut) == _outcome(compiled.scan_ring, cut)


def _outcome(scan: Scan, image: bytes) -> object:
    try:
        return scan(image)
    except StorageError as error:
        return error.message


def test_golden_ring_stays_readable(scan: Scan) -> None:
    """A ring of format version 1, as docs/formats/ring.md shows it: it must be readable for ever, for a crash may be old."""
    assert GOLDEN.read_text() in (Path(__file__).parents[3] / "docs/formats/ring.md").read_text()
    image = bytearray(DATA_OFFSET + 4096)
    for line in GOLDEN.read_text().splitlines():
        address, _, data = line.partition(": ")
        bytes_here = bytes.fromhex(data)
        image[int(address, 16) : int(address, 16) + len(bytes_here)] = bytes_here
    found = scan(bytes(image))
    assert (4096, 4242, 4176, 4080) == (found.size, found.pid, found.head, found.tail)
    assert [(4080, b"over the end"), (4152, b"later")] == found.records
    assert [(4112, 40, "claimed, and not committed")] == found.torn
