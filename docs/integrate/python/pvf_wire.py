"""The messages of the protocol, version 4, as ../protocol.md has them: encoding, decoding and the types of answers."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

import blake3
import msgpack

VERSION = 4
#: The most bytes of block data that travel in a message; larger ones are pulled.
INLINE_MAX = 64 * 1024
#: The largest chunk of a pull.
MAX_CHUNK = 512 * 1024
#: The largest content that is pulled.
MAX_PULLED = 256 << 20

Kind = Literal["dispute", "approval", "backing-system", "backing"]


class ProtocolError(Exception):
    """The other side said something that the protocol does not have."""


class Refused(Exception):
    """The coordinator refused a message. `code` is the refusal's name, `fields` what it says."""

    def __init__(self, code: str, fields: Any) -> None:
        super().__init__(f"{code}: {fields}")
        self.code = code
        self.fields = fields

    @property
    def retry_after(self) -> float | None:
        """Seconds until another attempt makes sense; None if none does."""
        if self.code != "overloaded":
            return None
        return duration_from(self.fields["retry_after"])


def encode(message: Any) -> bytes:
    """A frame."""
    return msgpack.packb({"v": VERSION, "m": message}, use_bin_type=True)


def token_of(frame: bytes) -> int | None:
    """The fencing token of the coordinator that sent a frame; None if it does not say."""
    try:
        return msgpack.unpackb(frame, raw=False, strict_map_key=False)["by"]["token"]
    except Exception:
        return None


def decode(frame: bytes) -> Any:
    """The message of a frame; another version is refused by name."""
    try:
        decoded = msgpack.unpackb(frame, raw=False, strict_map_key=False)
        version, message = decoded["v"], decoded["m"]
    except Exception as error:
        raise ProtocolError(f"malformed message of {len(frame)} bytes: {error}") from error
    if version != VERSION:
        raise ProtocolError(f"message of protocol version {version}, this client speaks {VERSION}")
    return message


def variant(value: Any) -> tuple[str, Any]:
    """The name and the content of a variant: a bare name, or a map with one entry."""
    if isinstance(value, str):
        return value, None
    if isinstance(value, dict) and len(value) == 1:
        return next(iter(value.items()))
    raise ProtocolError(f"not a variant: {value!r}")


def duration(seconds: float) -> dict[str, int]:
    """A duration as messages have it."""
    nanos = round(seconds * 1e9)
    return {"secs": nanos // 10**9, "nanos": nanos % 10**9}


def duration_from(value: dict[str, int]) -> float:
    """Seconds of a duration."""
    return value["secs"] + value["nanos"] / 1e9


def code_hash(code: bytes) -> bytes:
    """blake2b-256: the name of validation code."""
    return hashlib.blake2b(code, digest_size=32).digest()


def blob_hash(data: bytes) -> bytes:
    """BLAKE3: the name of block data and results."""
    return blake3.blake3(data).digest()


def block_data(data: bytes) -> dict[str, Any]:
    """Block data in a message: the bytes, or their name if they are too large for one."""
    if len(data) <= INLINE_MAX:
        return {"inline": data}
    return {"held": {"hash": blob_hash(data), "len": len(data)}}


@dataclass(frozen=True)
class Candidate:
    """A candidate without its code."""

    parent_head: bytes
    block_data: bytes
    relay_parent_number: int
    relay_parent_storage_root: bytes
    #: Hashes of relay parent and scheduling parent, for descriptors of version 3.
    extension: tuple[bytes, bytes] | None = None
    #: Whether the block data is as the network has it, perhaps compressed.
    maybe_compressed: bool = True

    def context(self) -> dict[str, Any]:
        extension = None
        if self.extension is not None:
            relay, scheduling = self.extension
            extension = {"V3": {"relay_parent": relay, "scheduling_parent": scheduling}}
        return {
            "parent_head": self.parent_head,
            "relay_parent_number": self.relay_parent_number,
            "relay_parent_storage_root": self.relay_parent_storage_root,
            "extension": extension,
            "block_data_form": "maybe-compressed" if self.maybe_compressed else "decompressed",
        }


@dataclass(frozen=True)
class ValidationResult:
    """The result of a valid candidate."""

    head_data: bytes
    new_validation_code: bytes | None
    upward_messages: list[bytes]
    #: (para id of the recipient, message)
    horizontal_messages: list[tuple[int, bytes]]
    processed_downward_messages: int
    hrmp_watermark: int

    @classmethod
    def decode(cls, scale: bytes) -> ValidationResult:
        """Decodes its SCALE encoding."""
        reader = _Scale(scale)
        head = reader.bytes()
        code = reader.bytes() if reader.byte() else None
        upward = [reader.bytes() for _ in range(reader.compact())]
        horizontal = [(reader.u32(), reader.bytes()) for _ in range(reader.compact())]
        result = cls(head, code, upward, horizontal, reader.u32(), reader.u32())
        if reader.at != len(scale):
            raise ProtocolError("bytes left over behind the result")
        return result


class _Scale:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.data):
            raise ProtocolError("the result ends early")
        self.at += n
        return self.data[self.at - n : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def compact(self) -> int:
        first = self.byte()
        mode = first & 3
        if mode == 0:
            return first >> 2
        if mode == 1:
            return (first | self.byte() << 8) >> 2
        if mode == 2:
            return int.from_bytes(bytes([first]) + self.take(3), "little") >> 2
        return int.from_bytes(self.take((first >> 2) + 4), "little")

    def bytes(self) -> bytes:
        return self.take(self.compact())


@dataclass(frozen=True)
class Verdict:
    """How a request ended."""

    request: uuid.UUID
    #: valid, precheck-ok, heads-up-taken, heads-up-prepared, invalid, possibly-invalid, preparation-failed, internal,
    #: execution-deadline
    outcome: str
    #: What an outcome other than a success says.
    reason: Any
    attempts: int
    #: The worker that decided it: `<kind>.<user>.<session>`.
    worker: str | None
    #: Everything as received: artifact, timings, usage.
    raw: dict[str, Any] = field(repr=False)
    #: The result of a valid candidate.
    result: ValidationResult | None = None
