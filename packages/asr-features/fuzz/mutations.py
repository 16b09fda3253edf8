"""Sound files, and what may happen to them."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**40,
    2**63 - 1,
    2**64 - 1,
)
MAGIC = (
    b"RIFF\x24\x40\0\0WAVEfmt \x10\0\0\0",
    b"RIFX\0\0\x40\x24WAVEfmt \0\0\0\x10",
    b"fLaC\0\0\0\x22",
    b"OggS\0\x02" + bytes(8),
    b"ID3\x04\0\0\0\0\x0f\x7f",
    b"\xff\xfb\x90\x44",
    b"FORM\0\0\x40\0AIFF",
    b".snd\0\0\0\x18",
    b"caff\0\x01\0\0desc",
    b"RF64\xff\xff\xff\xffWAVEds64",
    b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb",
)
NAMES = ("a.wav", "a.flac", "a.mp3", "a.ogg", "a.pcm", "a.raw", "a.aiff", "a")

Content = bytearray
Sounds = dict[str, bytes]


def originals(folder: Path) -> Sounds:
    """Half a second of a gliding tone in noise, as every kind of file."""
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    tone = 0.4 * np.sin(2 * np.pi * (200 + 1500 * time) * time) + 0.05 * rng.standard_normal(len(time))
    pair = np.stack([tone, -0.5 * tone], axis=1)
    kinds = {
        "u8.wav": (tone, {"subtype": "PCM_U8"}),
        "int16.wav": (tone, {"subtype": "PCM_16"}),
        "int24.wav": (pair, {"subtype": "PCM_24"}),
        "int32.wav": (tone, {"subtype": "PCM_32"}),
        "float.wav": (pair, {"subtype": "FLOAT"}),
        "double.wav": (tone, {"subtype": "DOUBLE"}),
        "extensible.wav": (pair, {"subtype": "PCM_16", "format": "WAVEX"}),
        "ulaw.wav": (tone, {"subtype": "ULAW"}),
        "ima.wav": (tone, {"subtype": "IMA_ADPCM"}),
        "int16.flac": (tone, {"subtype": "PCM_16"}),
        "int24.flac": (pair, {"subtype": "PCM_24"}),
        "mono.mp3": (tone, {}),
        "stereo.mp3": (pair, {}),
        "mono.ogg": (tone, {}),
        "stereo.ogg": (pair, {}),
        "opus.ogg": (tone, {"subtype": "OPUS"}),
        "int16.aiff": (tone, {}),
        "int16.au": (tone, {}),
        "int16.caf": (tone, {}),
        "int16.w64": (tone, {}),
        "int16.rf64": (tone, {}),
    }
    sounds: Sounds = {}
    for name, (samples, options) in kinds.items():
        soundfile.write(folder / name, samples, RATE, **options)
        sounds[name] = (folder / name).read_bytes()
        (folder / name).unlink()
    for name in ("bare.pcm", "bare.raw"):
        sounds[name] = (tone * 32767).astype("<i2").tobytes()
    return sounds


def mutate(sounds: Sounds, rng: np.random.Generator) -> tuple[str, bytes]:
    """A name and the bytes of one case: a sound of these, or bytes at random, with one to four mutations."""
    names = sorted(sounds)
    name = names[int(rng.integers(len(names)))]
    content = Content(sounds[name])
    if rng.random() < 0.05:
        content = Content(MAGIC[int(rng.integers(len(MAGIC)))] + rng.bytes(int(rng.integers(4000))))
    for _ in range(int(rng.integers(1, 5))):
        if content:
            content = MUTATIONS[int(rng.integers(len(MUTATIONS)))](content, sounds, rng)
    if content[:4] == b"OggS" and rng.random() < 0.7:
        mend_ogg(content)
    if rng.random() < 0.1:
        name = NAMES[int(rng.integers(len(NAMES)))]
    return name, bytes(content)


def place(content: Content, rng: np.random.Generator) -> int:
    """An offset: as often within the header, the first 16, 64 or 256 bytes, as anywhere."""
    limit = min(len(content), int(rng.choice([16, 64, 256, len(content), len(content), len(content)])))
    return int(rng.integers(limit)) if limit else 0


def flip(content: Content, sounds: Sounds, rng: np.random.Generator) -> Content:
    for _ in range(int(rng.choice([1, 2, 8, 64]))):
        content[place(content, rng)] ^= 1 << int(rng.integers(8))
    return content


def truncate(content: Content, sounds: Sounds, rng: np.random.Generator) -> Content:
    return content[: place(content, rng)]


def delete(content: Content, sounds: Sounds, rng: np.random.Generator) -> Content:
    start = place(content, rng)
    del content[start : start + int(rng.choice([1, 2, 4, 100, 5000]))]
    return content


def insert(content: Content, sounds: Sounds, rng: np.random.Generator) -> Content:
    """Random bytes, zeros, a stretch of the file itself, or a chunk as RIFF has them, its size told wrongly or not."""
    start, size = place(content, rng), int(rng.choice([1, 2, 4, 100, 5000]))
    told = int(rng.choice([size, 0, 0x7FFFFFFF, 0xFFFFFFFF]))
    chunk = bytes(rng.choice([b"LIST", b"data", b"fmt ", b"JUNK", b"fact"])) + struct.pack("<I", told) + rng.bytes(size)
    content[start:start] = (rng.bytes(size), bytes(size), content[start : start + size], chunk)[int(rng.integers(4))]
    return content


def overwrite(content: Content, sounds: Sounds, rng: np.random.Generator) -> Content:
    """A field of 1, 2, 4 or 8 bytes, of either order, gets an extreme value."""
    width = int(rng.choice([1, 2, 4, 8]))
    start = place(content, rng)
    if rng.random() < 0.7:
        start -= start % min(width, 4)
    value = EXTREMES[int(rng.integers(len(EXTREMES)))] % 256**width
    content[start : start + width] = value.to_bytes(width, "little" if rng.random() < 0.6 else "big")
    return content


def blank(content: Content, sounds: Sounds, rng: np.random.Generator) -> Content:
    """Many equal bytes: runs of zero or 0xFF, which are NaN, silence or sync marks."""
    start, size = place(content, rng), int(rng.choice([16, 256, 4096]))
    size = min(size, len(content) - start)
    content[start : start + size] = bytes([int(rng.choice([0, 0xFF, 0x7F]))]) * size
    return content


def splice(content: Content, sounds: Sounds, rng: np.random.Generator) -> Content:
    """The beginning of this, the end of another."""
    names = sorted(sounds)
    other = sounds[names[int(rng.integers(len(names)))]]
    return content[: place(content, rng)] + other[place(Content(other), rng) :]


Mutation = Callable[[Content, Sounds, np.random.Generator], Content]
MUTATIONS: tuple[Mutation, ...] = (flip, flip, truncate, delete, insert, overwrite, overwrite, overwrite, blank, splice)


def mend_ogg(content: Content) -> None:
    """Gives every page its checksum anew, without which a decoder drops it and meets no mutation."""
    page = content.find(b"OggS")
    while page >= 0 and page + 27 <= len(content):
        end = page + 27 + content[page + 26]
        end += sum(content[page + 27 : end])
        content[page + 22 : page + 26] = bytes(4)
        content[page + 22 : page + 26] = struct.pack("<I", checksum(content[page:end]))
        page = content.find(b"OggS", max(end, page + 4))


def checksum(content: bytes) -> int:
    """The CRC-32 of Ogg pages: polynomial 0x04C11DB7, neither reflected nor inverted."""
    value = 0
    for byte in content:
        value = value << 8 & 0xFFFFFFFF ^ TABLE[value >> 24 ^ byte]
    return value


def remainder(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)
    return value


TABLE = tuple(map(remainder, range(256)))
