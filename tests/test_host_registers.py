"""The register description: what it refuses, and what follows from it."""

import pytest

from host_model import MAP
from spikeloom.host.registers import Field, Register, RegisterMap, layout


def field(**changes) -> Field:
    return Field(**({"name": "a", "bits": 8, "doc": "text"} | changes))


def register(**changes) -> Register:
    return Register(**({"name": "r", "address": 0, "access": "rw", "doc": "text", "fields": (field(),)} | changes))


def test_numbers_of_a_register():
    control = MAP["control"]
    assert control.bits == 29
    assert control.mask == 0x1FF0_01C1
    assert control.reset == 0x1010_0140
    assert control.field("mode").mask == 0x1C0
    assert MAP["data"].writable
    assert not MAP["data"].readable
    assert not MAP["level"].writable
    assert MAP.address_bits == 12
    assert "control" in MAP
    assert "other" not in MAP
    with pytest.raises(KeyError):
        MAP["other"]
    far = RegisterMap(name="far", registers=(register(address=0x1000),))
    assert far.address_bits == 13


def test_layout_places_fields_one_after_the_other():
    placed = layout((field(name="a", bits=3), field(name="b", bits=5, reset=17, values=(("x", 2),), signed=True)))
    assert [(f.name, f.offset, f.bits) for f in placed] == [("a", 0, 3), ("b", 3, 5)]
    assert (placed[1].reset, placed[1].values, placed[1].signed) == (17, (("x", 2),), True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: field(name="a b"), "accepted is an identifier"),
        (lambda: field(bits=33), "accepted is what fits 32 bits"),
        (lambda: field(bits=8, offset=25), "accepted is what fits 32 bits"),
        (lambda: field(reset=256), "reset 256: accepted is 0 to 255"),
        (lambda: field(values=(("x", -1),)), "x -1: accepted is 0 to 255"),
        (lambda: register(name="1"), "accepted is an identifier"),
        (lambda: register(access="wr"), "accepted are ro, rw, w1c, pulse, push"),
        (lambda: register(address=6), "accepted is a multiple of 4"),
        (lambda: register(fields=()), "accepted is at least one"),
        (lambda: register(constant=True), "a constant with access 'rw': accepted is 'ro'"),
        (lambda: register(effect="takes"), "an effect with access 'rw': accepted is 'ro'"),
        (lambda: register(access="ro", stored=False), "accepted is 'rw'"),
        (lambda: register(fields=(field(), field(name="b", offset=7))), "field 'b' lies on another one"),
        (lambda: register(fields=(field(), field(offset=8))), "two fields of one name"),
        (lambda: RegisterMap(name="m", registers=(register(), register(address=4))), "two registers of one name"),
        (lambda: RegisterMap(name="m", registers=(register(address=4), register(name="b"))), "addresses must ascend"),
        (lambda: RegisterMap(name="m", registers=(register(), register(name="b"))), "addresses must ascend"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
