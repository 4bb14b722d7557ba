"""A register map with every kind of access, and what it must do, written from the register description alone."""

from spikeloom.host.registers import Field, Register, RegisterMap

MAP = RegisterMap(
    name="sample",
    registers=(
        Register(
            name="identity", address=0x0, access="ro", constant=True, doc="Constant.",
            fields=(Field(name="word", bits=32, reset=0x4B50_1234, doc="a word"),),
        ),
        Register(
            name="control", address=0x4, access="rw", doc="Stored, with a gap.",
            fields=(
                Field(name="run", bits=1, doc="go"),
                Field(name="mode", bits=3, offset=6, reset=5, doc="how"),
                Field(name="high", bits=9, offset=20, reset=0x101, doc="across bytes"),
            ),
        ),
        Register(
            name="command", address=0x8, access="pulse", doc="Acts once.",
            fields=(Field(name="now", bits=1, doc="now"), Field(name="later", bits=1, offset=9, doc="later")),
        ),
        Register(
            name="level", address=0xC, access="ro", doc="From the design.",
            fields=(Field(name="level", bits=17, doc="how much"),),
        ),
        Register(
            name="next", address=0x10, access="ro", effect="takes an item", doc="A queue.",
            fields=(Field(name="item", bits=20, doc="an item"), Field(name="valid", bits=1, offset=31, doc="one")),
        ),
        Register(
            name="flags", address=0x14, access="w1c", doc="Sticky.",
            fields=(Field(name="early", bits=2, doc="a"), Field(name="late", bits=2, offset=15, doc="b")),
        ),
        Register(
            name="data", address=0x18, access="push", doc="A word.",
            fields=(Field(name="word", bits=24, doc="the word"),),
        ),
        Register(
            name="theta", address=0x40, access="rw", stored=False, doc="Kept elsewhere.",
            fields=(Field(name="theta", bits=30, doc="a threshold"),),
        ),
    ),
)  # fmt: skip


class Model:
    """Registers as a program sees them; the design behind shows `level`, `items`, `room` and keeps `theta`."""

    def __init__(self):
        self.control, self.flags, self.theta = MAP["control"].reset, 0, 0x1234_5678
        self.level, self.items, self.room = 0x1_2345, list(range(1, 9)), 3
        self.pushed: list[int] = []
        self.pulses: list[int] = []

    def read(self, address: int) -> tuple[int, bool]:
        """Data and whether it is an error."""
        match address:
            case 0x0:
                return 0x4B50_1234, False
            case 0x4:
                return self.control, False
            case 0x8:
                return 0, False
            case 0xC:
                return self.level, False
            case 0x10:
                return (self.items.pop(0) | 1 << 31 if self.items else 0), False
            case 0x14:
                return self.flags, False
            case 0x40:
                return self.theta, False
        return 0, True

    def write(self, address: int, data: int, strobe: int) -> bool:
        """Whether it is an error."""
        mask = sum(0xFF << 8 * n for n in range(4) if strobe >> n & 1)
        match address:
            case 0x4:
                used = 1 | 7 << 6 | 0x1FF << 20
                self.control = (self.control & ~mask | data & mask) & used
            case 0x8:
                if data & mask & 0x201:
                    self.pulses.append(data & mask & 0x201)
            case 0x14:
                self.flags &= ~(data & mask)
            case 0x18:
                if strobe == 0:
                    return False
                if strobe != 15 or not self.room:
                    return True
                self.room -= 1
                self.pushed.append(data & 0xFF_FFFF)
            case 0x40:
                self.theta = (self.theta & ~mask | data & mask) & 0x3FFF_FFFF
            case _:
                return True
        return False
