"""The machine instructions that numba lacks: unaligned loads, byte masks, bit scans, wide products, prefetches.

Addresses are integers (`array.ctypes.data`), since the kernels read straight from Arrow buffers. Nothing here checks
bounds: the caller guarantees that the bytes exist.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from koine.curation.compiled import instruction
from koine.curation.spacing import PUNCTUATION, WHITESPACE

WORD = 64
"""Bytes that one separator mask covers."""
LANES = 16
"""Numbers that one rank covers."""

_BYTE, _INT32, _INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


@instruction
def load_word(typingctx: Any, address: Any) -> Any:
    """The eight bytes at `address` as a little-endian uint64, aligned or not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, arguments[0], _INT64)

    return types.uint64(types.int64), generate


@instruction
def separator_masks(typingctx: Any, address: Any) -> Any:
    """Which of the 64 bytes at `address` end a token, and which of those are punctuation.

    Returns:
        Two uint64; bit i belongs to the byte at `address + i`. The first has whitespace and punctuation, the second
        punctuation only. One vector comparison per separator, with whatever vectors the processor has.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(_BYTE, WORD)
        block = _load(builder, arguments[0], vector)

        def any_of(characters: str) -> Any:
            found = ir.Constant(ir.VectorType(ir.IntType(1), WORD), [0] * WORD)
            for character in characters.encode():
                equal = builder.icmp_unsigned("==", block, ir.Constant(vector, [character] * WORD))
                found = builder.or_(found, equal)
            return found

        punctuation = any_of(PUNCTUATION)
        separators = builder.or_(any_of(WHITESPACE), punctuation)
        masks = [builder.bitcast(bits, _INT64) for bits in (separators, punctuation)]
        return context.make_tuple(builder, signature.return_type, masks)

    return types.UniTuple(types.uint64, 2)(types.int64), generate


@instruction
def lowest_bit(typingctx: Any, mask: Any) -> Any:
    """The position (0 to 63) of the lowest set bit of `mask`, which must not be zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@instruction
def wide_product(typingctx: Any, left: Any, right: Any) -> Any:
    """The upper and the lower 64 bits of a product of two uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        upper = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _INT64)
        return context.make_tuple(builder, signature.return_type, [upper, builder.trunc(product, _INT64)])

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), generate


@instruction
def prefetch(typingctx: Any, address: Any) -> Any:
    """Asks for the cache line at `address`; harmless if there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _BYTE.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _INT32, _INT32, _INT32])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        for_reading, keep_in_all_caches, data = _INT32(0), _INT32(3), _INT32(1)
        where = builder.inttoptr(arguments[0], pointer)
        builder.call(instruction, [where, for_reading, keep_in_all_caches, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@instruction
def compare_lanes(typingctx: Any, address: Any, value: Any) -> Any:
    """Of the sixteen int32 at `address`: how many are less than `value`, and a mask (16 bits) of those equal to it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(_INT32, LANES)
        block = _load(builder, arguments[0], vector)
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, arguments[1], _INT32(0))
        everywhere = builder.shuffle_vector(first, undefined, ir.Constant(vector, [0] * LANES))
        bits = ir.IntType(LANES)
        less = builder.bitcast(builder.icmp_signed("<", block, everywhere), bits)
        equal = builder.bitcast(builder.icmp_signed("==", block, everywhere), bits)
        results = [builder.zext(builder.ctpop(less), _INT64), builder.zext(equal, _INT64)]
        return context.make_tuple(builder, signature.return_type, results)

    return types.UniTuple(types.int64, 2)(types.int64, types.int32), generate


def _load(builder: Any, address: Any, kind: Any) -> Any:
    loaded = builder.load(builder.inttoptr(address, kind.as_pointer()))
    loaded.align = 1
    return loaded
