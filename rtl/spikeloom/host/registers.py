"""The register description: what gateware, C header, Python driver and Markdown are all made from. Pure Python.

Registers are 32 bits wide at multiples of 4 bytes. Access of a register:

======  ==========================================================================================================
ro      read; where `effect` is set, a read also does what it says (takes an item, steps an index)
rw      read and written, byte by byte; where `stored` is false, the value lives elsewhere and is written as a whole
w1c     read; writing 1 to a bit clears it
pulse   written: each 1 acts once; reads as 0
push    written, all four bytes at once: hands a word on; refused while there is no room; not readable
======  ==========================================================================================================

A refused access changes nothing and is answered with an error.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["REGISTER_BITS", "Access", "Field", "Register", "RegisterMap"]

REGISTER_BITS = 32
Access = Literal["ro", "rw", "w1c", "pulse", "push"]
ACCESSES = ("ro", "rw", "w1c", "pulse", "push")


@dataclass(frozen=True, kw_only=True)
class Field:
    """Bits of a register, `offset` counted from the lowest.

    `reset` is the value after reset (for a constant register: for ever), `values` names some of its values, `signed`
    marks two's complement.
    """

    name: str
    bits: int
    doc: str
    offset: int = 0
    reset: int = 0
    values: tuple[tuple[str, int], ...] = ()
    signed: bool = False

    def __post_init__(self):
        if not self.name.isidentifier():
            raise ValueError(f"field {self.name!r}: accepted is an identifier")
        if self.bits < 1 or self.offset < 0 or self.offset + self.bits > REGISTER_BITS:
            raise ValueError(
                f"field {self.name!r} of {self.bits} bits at {self.offset}: accepted is what fits {REGISTER_BITS} bits"
            )
        for what, value in (("reset", self.reset), *self.values):
            if not 0 <= value < 1 << self.bits:
                raise ValueError(f"field {self.name!r}: {what} {value}: accepted is 0 to {(1 << self.bits) - 1}")

    @property
    def mask(self) -> int:
        """Its bits in the register."""
        return ((1 << self.bits) - 1) << self.offset


@dataclass(frozen=True, kw_only=True)
class Register:
    """One register; `constant` ones read as the resets of their fields for ever."""

    name: str
    address: int
    access: Access
    doc: str
    fields: tuple[Field, ...]
    constant: bool = False
    effect: str = ""
    stored: bool = True

    def __post_init__(self):
        if not self.name.isidentifier():
            raise ValueError(f"register {self.name!r}: accepted is an identifier")
        if self.access not in ACCESSES:
            raise ValueError(f"register {self.name!r}: access {self.access!r}: accepted are {', '.join(ACCESSES)}")
        if self.address < 0 or self.address % 4:
            raise ValueError(f"register {self.name!r}: address {self.address:#x}: accepted is a multiple of 4")
        if not self.fields:
            raise ValueError(f"register {self.name!r}: it has no fields; accepted is at least one")
        if self.constant and self.access != "ro":
            raise ValueError(f"register {self.name!r}: a constant with access {self.access!r}: accepted is 'ro'")
        if self.effect and self.access != "ro":
            raise ValueError(f"register {self.name!r}: an effect with access {self.access!r}: accepted is 'ro'")
        if not self.stored and self.access != "rw":
            raise ValueError(f"register {self.name!r}: not stored with access {self.access!r}: accepted is 'rw'")
        taken = 0
        for field in self.fields:
            if taken & field.mask:
                raise ValueError(f"register {self.name!r}: field {field.name!r} lies on another one")
            taken |= field.mask
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"register {self.name!r}: two fields of one name")

    @property
    def readable(self) -> bool:
        """Whether a read is accepted."""
        return self.access != "push"

    @property
    def writable(self) -> bool:
        """Whether a write is accepted."""
        return self.access != "ro"

    @property
    def bits(self) -> int:
        """Bits up to the highest that means anything."""
        return max(field.offset + field.bits for field in self.fields)

    @property
    def mask(self) -> int:
        """Bits that mean anything."""
        return sum(field.mask for field in self.fields)

    @property
    def reset(self) -> int:
        """Value after reset."""
        return sum(field.reset << field.offset for field in self.fields)

    def field(self, name: str) -> Field:
        """The field of that name."""
        return next(field for field in self.fields if field.name == name)


@dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """All registers of a design, in ascending order of address."""

    name: str
    registers: tuple[Register, ...]

    def __post_init__(self):
        names = [register.name for register in self.registers]
        if len(set(names)) != len(names):
            raise ValueError(f"register map {self.name!r}: two registers of one name")
        addresses = [register.address for register in self.registers]
        if addresses != sorted(set(addresses)):
            raise ValueError(f"register map {self.name!r}: addresses must ascend, each used once")

    def __iter__(self) -> Iterator[Register]:
        return iter(self.registers)

    def __getitem__(self, name: str) -> Register:
        for register in self.registers:
            if register.name == name:
                return register
        raise KeyError(name)

    def __contains__(self, name: str) -> bool:
        return any(register.name == name for register in self.registers)

    def to_json(self) -> list[dict]:
        """The description as JSON values."""
        return [dataclasses.asdict(register) for register in self.registers]

    @property
    def address_bits(self) -> int:
        """Bits of a byte address: a page of 4 KiB, more where the registers need it."""
        return max(12, (self.registers[-1].address + 3).bit_length())


def layout(fields: Sequence[Field]) -> tuple[Field, ...]:
    """Give fields their offsets, one after the other from bit 0."""
    placed, offset = [], 0
    for field in fields:
        placed.append(
            Field(
                name=field.name,
                bits=field.bits,
                doc=field.doc,
                offset=offset,
                reset=field.reset,
                values=field.values,
                signed=field.signed,
            )
        )
        offset += field.bits
    return tuple(placed)
