"""Exported data of a shared library, read without loading it."""

import struct
from collections.abc import Collection

_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, link, info, alignment, entry size
_SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, address, size
_DYNAMIC_SYMBOLS = 11
_OBJECT = 1


def exported_objects(library: bytes, names: Collection[str]) -> dict[str, bytes]:
    """The bytes of the data objects called `names` in a 64-bit little-endian ELF file; KeyError where one is missing."""
    (table,) = struct.unpack_from("<Q", library, 40)
    entry_size, count = struct.unpack_from("<HH", library, 58)
    sections = [_SECTION.unpack_from(library, table + i * entry_size) for i in range(count)]
    symbols = next(section for section in sections if section[1] == _DYNAMIC_SYMBOLS)
    strings = sections[symbols[6]][4]

    found: dict[str, bytes] = {}
    for at in range(symbols[4], symbols[4] + symbols[5], _SYMBOL.size):
        name_at, info, _, section, address, size = _SYMBOL.unpack_from(library, at)
        if info & 0xF != _OBJECT or not section:
            continue
        start = strings + name_at
        name = library[start : library.index(b"\0", start)].decode()
        if name in names:
            begin = address - sections[section][3] + sections[section][4]
            found[name] = library[begin : begin + size]
    if missing := set(names) - found.keys():
        raise KeyError(", ".join(sorted(missing)))
    return found
