"""What software needs to use a hosted core, from its register description: C header, Python driver, Markdown."""

from dataclasses import dataclass

from ..mapping.plan import CorePlan
from .map import HOST_MAGIC, MAP_VERSION, QUEUE_DEPTH, host_registers
from .registers import Register, RegisterMap

__all__ = ["c_header", "host_files", "markdown", "python_driver"]


@dataclass(frozen=True)
class _Context:
    """What the templates see."""

    name: str
    registers: RegisterMap
    plan: CorePlan

    def render(self, template: str) -> str:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        plan = self.plan
        environment = Environment(
            loader=PackageLoader("spikeloom", "templates"),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"hex8": lambda value: f"0x{value:08x}", "hex3": lambda value: f"0x{value:03x}"}
        environment.filters |= {"bits": _bits, "reset": _reset, "literal": repr}
        return environment.get_template(template).render(
            name=self.name,
            title="".join(part.capitalize() for part in self.name.split("_")),
            registers=self.registers,
            accesses=_ACCESSES,
            magic=HOST_MAGIC,
            version=MAP_VERSION,
            core_hash=plan.hash,
            inputs=plan.network.inputs,
            outputs=plan.network.outputs,
            input_shape=tuple(plan.network.input_shape),
            output_shape=tuple(plan.network.layers[-1].shape),
            steps=plan.steps,
            fires=plan.network.layers[-1].threshold is not None,
            decision=plan.decision,
            loads="load_data" in self.registers,
            parameters=[r.name for r in self.registers if not r.stored and r.name != "result_index"],
            queue_depth=QUEUE_DEPTH,
        )


_ACCESSES = {
    "ro": "read",
    "rw": "read, write",
    "w1c": "read, write 1 to clear",
    "pulse": "write 1 to act",
    "push": "write a whole word",
}


def _bits(field) -> str:
    high = field.offset + field.bits - 1
    return f"{high}:{field.offset}" if field.bits > 1 else str(high)


def _reset(register: Register, field) -> str:
    if register.access in ("pulse", "push") or (register.access == "ro" and not register.constant):
        return ""
    return f"{field.reset:#x}" if field.bits > 4 else str(field.reset)


def c_header(plan: CorePlan, name: str) -> str:
    """A C99 header: offsets, masks and enumerations, and inline functions over memory-mapped registers."""
    return _Context(name, host_registers(plan, name), plan).render("host.h.j2")


def python_driver(plan: CorePlan, name: str) -> str:
    """A Python module of its own, with a class over any object that has read32 and write32."""
    return _Context(name, host_registers(plan, name), plan).render("host_driver.py.j2")


def markdown(plan: CorePlan, name: str) -> str:
    """The register map for readers."""
    return _Context(name, host_registers(plan, name), plan).render("registers.md.j2")


def host_files(plan: CorePlan, name: str) -> dict[str, str]:
    """Path in the export -> text, for a core whose module is called `name`."""
    return {
        f"host/{name}.h": c_header(plan, name),
        f"host/{name}.py": python_driver(plan, name),
        "host/registers.md": markdown(plan, name),
    }
