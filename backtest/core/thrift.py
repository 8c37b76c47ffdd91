"""Thrift's compact protocol, as far as the headers and footers of Parquet files need it.

A struct is written as its fields, each with its number, in ascending order:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from backtest.core.encoding import varint, zigzag


class Struct(bytes):
    """An encoded struct."""


class Int32(int):
    """A whole number that its field declares as i32; a plain ``int`` is an i64."""


Value: TypeAlias = bool | int | bytes | str | Struct | Sequence["Value"]

_TRUE, _FALSE, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 5, 6, 8, 9, 12
_KINDS = {Int32: _I32, int: _I64, bytes: _BINARY, str: _BINARY, Struct: _STRUCT}


def struct(fields: Mapping[int, Value | None]) -> Struct:
    """A struct of some fields by number, ascending; those that are ``None`` are left out."""
    out = bytearray()
    last = 0
    for number, value in fields.items():
        if value is None:
            continue
        if isinstance(value, bool):
            out.append(number - last << 4 | (_TRUE if value else _FALSE))
        else:
            out.append(number - last << 4 | _KINDS.get(type(value), _LIST))
            out += _encoded(value)
        last = number
    out.append(0)
    return Struct(out)


def _encoded(value: Value) -> bytes:
    if isinstance(value, int):
        return varint(zigzag(value))
    if isinstance(value, Struct):
        return value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(len(value)) + value
    kind = _KINDS.get(type(value[0]), _LIST) if value else _STRUCT
    if len(value) < 15:
        return bytes([len(value) << 4 | kind]) + b"".join(map(_encoded, value))
    return bytes([15 << 4 | kind]) + varint(len(value)) + b"".join(map(_encoded, value))
