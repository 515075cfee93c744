"""How arrays, numbers and rules reach compiled code, and travel within it, for the price of one pointer.

Numba takes tuples apart: unpacking thirty arrays and three functions costs 0.2 ms a call from Python, as long as a
hundred simulations, and every call of one compiled function by another copies them all. So a *handle*, an int64 array
of addresses, shapes and numbers, is made once. ``viewer(kind)`` makes a pointer of it, and ``view.name`` reads an
entry where it is used. The arrays read that way are not counted either: each view of a counted array costs two atomic
operations, which were half of the time in ``select``.

Whoever makes a handle must keep what it points to, and must not change it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import float64, int64, njit, typeof, types, void
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model
from numba.np.arrayobj import populate_array

from envs.game import Game, LegalFn, PlanesFn, PlayFn


class Rules(NamedTuple):
    """A game's compiled functions (envs.game)."""

    play: Any
    legal: Any
    planes: Any


RulesType = types.NamedTuple((PlayFn, LegalFn, PlanesFn), Rules)


def handle_of(values: Any, kind: types.NamedTuple) -> np.ndarray:
    """Handle of a named tuple of arrays or numbers, for ``viewer(kind)``."""
    assert typeof(values) == kind, f"{typeof(values)} is not {kind}"
    words: list[int] = []
    for value in values:
        if isinstance(value, np.ndarray):
            words += [value.ctypes.data, *value.shape]
        else:
            words.append(int(np.array(value, np.float64 if isinstance(value, float) else np.int64).view(np.int64)))
    return np.array(words, np.int64)


def handle_of_rules(game: Game) -> np.ndarray:
    """Handle of (play, legal, planes), for ``view_rules``."""
    handle = np.zeros(2 * len(Rules._fields), np.int64)
    _write_rules(handle, game.play, game.legal, game.planes)
    return handle


class View(types.Type):
    """Numba's type of a handle in compiled code: attributes as those of the named tuple ``kind``."""

    def __init__(self, kind: types.NamedTuple):
        self.kind = kind
        super().__init__(name=f"View({kind})")

    def place(self, name: str) -> tuple[types.Type, int]:
        """Type of an entry and its first word in the handle."""
        index = self.kind.fields.index(name)
        return self.kind.types[index], sum(_size(of) for of in self.kind.types[:index])


@register_model(View)
class ViewModel(models.OpaqueModel):
    """An untyped pointer."""


@infer_getattr
class ViewAttributes(AttributeTemplate):
    key = View

    def generic_resolve(self, value, attr):  # type: ignore[override]  # as numba documents it
        return value.place(attr)[0] if attr in value.kind.fields else None


@lower_getattr_generic(View)
def _read(context, builder, view, pointer, name):
    of, first = view.place(name)
    words = builder.bitcast(pointer, ir.IntType(64).as_pointer())

    def word(i):
        load = builder.load(cgutils.gep_inbounds(builder, words, first + i))
        load.set_metadata("invariant.load", builder.module.add_metadata([]))  # handles never change
        return load

    if of == int64:
        return word(0)
    if of == float64:
        return builder.bitcast(word(0), ir.DoubleType())
    if isinstance(of, types.FunctionType):
        function = cgutils.create_struct_proxy(of)(context, builder)
        address = context.get_value_type(types.voidptr)
        function.jit_addr = builder.inttoptr(word(0), address)
        function.c_addr = builder.inttoptr(word(1), address)
        function.py_addr = cgutils.get_null_value(address)
        return function._getvalue()
    array = context.make_array(of)(context, builder)
    shape = [word(1 + axis) for axis in range(of.ndim)]
    element = context.get_data_type(of.dtype)
    size = context.get_constant(types.intp, context.get_abi_sizeof(element))
    strides = [size]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    data = builder.inttoptr(word(0), element.as_pointer())
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()


def _size(of: types.Type) -> int:
    if isinstance(of, types.FunctionType):
        return 2
    return 1 + of.ndim if isinstance(of, types.Array) else 1


def viewer(kind: types.NamedTuple) -> Any:
    """The function of compiled code that turns a handle of ``kind`` into its view."""

    def view(typingctx, handle):
        def codegen(context, builder, signature, args):
            array = context.make_array(int64[::1])(context, builder, args[0])
            return builder.bitcast(array.data, context.get_value_type(types.voidptr))

        return View(kind)(handle), codegen

    return intrinsic(view)


def _addresses(typingctx, function):
    def codegen(context, builder, signature, args):
        struct = cgutils.create_struct_proxy(function)(context, builder, value=args[0])
        integer = ir.IntType(64)
        found = [builder.ptrtoint(address, integer) for address in (struct.jit_addr, struct.c_addr)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(int64, 2)(function), codegen


view_rules = viewer(RulesType)
addresses: Any = intrinsic(_addresses)


@njit(void(int64[::1], PlayFn, LegalFn, PlanesFn), cache=True)
def _write_rules(handle, play, legal, planes):
    handle[0], handle[1] = addresses(play)
    handle[2], handle[3] = addresses(legal)
    handle[4], handle[5] = addresses(planes)
