"""What may become of a JSON file: any field changed to any JSON value, or taken out; and bytes that are no JSON."""

from __future__ import annotations

from hypothesis import strategies as st

from autonl_tf.errors import UserError

_EVIL = [0, -1, 1e308, -1e308, 10**30, 2**63, 0.5, True, False, None, "", "\n", [], {}, "r1_k3_s11_e1_i32_o8", "../x"]
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.sampled_from(_EVIL) | st.recursive(
    _SCALARS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
NO_JSON = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'"text"', b"{}"]


def damaged(value) -> st.SearchStrategy:
    """The content of a JSON file with one place in it changed."""
    places = list(_places(value))
    put = st.tuples(st.sampled_from(places), _VALUES).map(lambda drawn: _put(value, *drawn))
    return put | st.sampled_from(places[1:]).map(lambda place: _without(value, place))


def _places(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, entry in items:
        yield from _places(entry, (*at, key))


def _put(value, place, new):
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = _put(copy[place[0]], place[1:], new)
    return copy


def _without(value, place):
    copy = value.copy()
    if len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = _without(copy[place[0]], place[1:])
    return copy


def check_documented(call) -> None:
    """Only the documented error comes of `call()`, in one line."""
    try:
        call()
    except UserError as error:
        assert len(str(error).splitlines()) == 1
