"""From a configuration to an integer network, its inputs and its place on a core: what every command starts with."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .config import (
    DEFAULT_KIND,
    Config,
    CoreConfig,
    CrossbarConfig,
    DataConfig,
    InputConfig,
    NetworkConfig,
    QuantiseConfig,
    SharedConfig,
    VirtualConfig,
    core_kinds,
    load_config,
)
from .errors import InputError
from .mapping.plan import CorePlan, plan_core
from .mapping.shared import SharedPlan
from .network import zoo
from .network.coding import CodingOptions, Encoded, encode, encode_spikes
from .network.float_network import FloatNetwork, with_habits
from .network.integer import IntegerNetwork
from .network.nir_import import import_nir
from .network.quantise import Calibration, QuantisationReport, QuantiseOptions, quantise
from .network.reference import Trace, simulate

if TYPE_CHECKING:
    from spikeloom_analog.chip_model import ChipModel
    from spikeloom_analog.shared import SharedChips
    from spikeloom_analog.virtual import VirtualChips

    from .mapping.cost import CostModel

__all__ = ["Inputs", "Project", "propose"]

CALIBRATION_INPUTS = 1000
CALIBRATION_PLACES = 1 << 25  # steps x addresses of recorded events: fewer inputs where a recording is large
ZOO = "zoo:"
BUNDLED = ("digits", "interception", "sequence", "moving")  # data sets that need no folder


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Coded inputs of a network, in the order of the data set.

    `spikes` uint8 [B, T, inputs]; `current` int [B, neurons of the first layer] or None; `labels` int [B] or None;
    `values` are what was coded (None for recorded events); `shape` is the picture that the inputs were.
    """

    spikes: np.ndarray
    current: np.ndarray | None
    labels: np.ndarray | None
    values: np.ndarray | None
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Project:
    """A configuration and what follows from it; each part is computed once, when first asked for.

    `folder` is what relative paths of the configuration start from; `origin` is what messages call its file.
    """

    config: Config
    folder: Path
    origin: str = "configuration"

    @classmethod
    def load(cls, path: Path | str) -> "Project":
        """Read the configuration at `path`."""
        path = Path(path)
        return cls(config=load_config(path), folder=path.resolve().parent, origin=str(path))

    @cached_property
    def network_file(self) -> Path:
        """The NIR file."""
        name = self.config.network.file
        return zoo.path(name[len(ZOO) :]) if name.startswith(ZOO) else self.folder / name

    @cached_property
    def float_network(self) -> FloatNetwork:
        """The network as it was trained."""
        given = self.config.network
        network = import_nir(
            self.network_file,
            dt=given.dt,
            reset=given.reset,
            synapse=given.synapse,
            integration=given.integration,
        )
        with self.named("network"):
            network = with_habits(
                network,
                refractory=given.refractory,
                adaptation=given.adaptation,
                adaptation_decay=given.adaptation_decay,
            )
        first = network.layers[0]
        if self.config.input.coding == "current" and first.current_decay is not None and not first.bias_in_current:
            raise InputError(
                f"{self.origin}: input.coding: 'current' was given, but layer {first.name!r} has a synaptic current, "
                "into which that goes, and a v_leak other than its reset, which does not; accepted is one of them"
            )
        return dataclasses.replace(network, seed=given.seed)

    @cached_property
    def coding(self) -> CodingOptions:
        """How inputs become spikes."""
        given = self.config.input
        return CodingOptions(
            coding=given.coding, steps=given.steps, max_rate=given.max_rate, seed=given.seed, step_us=given.step_us
        )

    @cached_property
    def quantised(self) -> tuple[IntegerNetwork, QuantisationReport]:
        """The integer network and what quantisation cost."""
        options, state = self.config.quantise, self.config.network.state
        wanted = QuantiseOptions(
            weight_bits=options.weight_bits,
            potential_bits=options.potential_bits,
            current_bits=options.current_bits,
            leak=options.leak,
            scale=options.scale,
            state=state,
            levels=None if isinstance(options.levels, str) else options.levels,
            levels_of=options.levels_of,
        )
        floating, calibration = self.float_network, self._calibration()
        with self.named("quantise"):
            return quantise(floating, wanted, calibration=calibration)

    @cached_property
    def network(self) -> IntegerNetwork:
        """The integer network."""
        return self.quantised[0]

    @property
    def core(self) -> CoreConfig:
        """The core, with paths that do not depend on the working folder."""
        core = self.config.core
        if isinstance(core, VirtualConfig) and core.mapping:
            return dataclasses.replace(core, mapping=str(self.folder / core.mapping))
        return core

    @cached_property
    def plan(self) -> CorePlan:
        """The network on its core."""
        direct = self.config.input.coding == "current"
        network = self.network
        with self.named():
            return plan_core(network, self.core, steps=self.config.input.steps, direct=direct)

    @cached_property
    def cost(self) -> "CostModel":
        """Cycles and memories of the core."""
        from .mapping.cost_models import cost_model  # not for `--help`

        direct = self.config.input.coding == "current"
        with self.named():
            return cost_model(self.network, self.core, steps=self.config.input.steps, direct=direct, plan=self.plan)

    @cached_property
    def chip(self) -> "ChipModel":
        """What stands behind the analog ports of a crossbar core."""
        from spikeloom_analog.chip_model import chip_model

        with self.named("core"):
            return chip_model(self.plan, folder=self.folder)

    @cached_property
    def virtual_chips(self) -> "VirtualChips":
        """What stands behind the analog ports of a virtual core: one chip."""
        from spikeloom_analog.virtual import EngineParameters, load_engine, virtual_chips

        core = self.config.core
        assert isinstance(core, VirtualConfig)
        with self.named("core"):
            parameters = load_engine(self.folder / core.circuit) if core.circuit else EngineParameters()
            return virtual_chips(
                self.plan, seeds=core.chip, parameters=parameters, clock=core.clock_mhz * 1e6, step=core.step_us * 1e-6
            )

    @cached_property
    def shared_chips(self) -> "SharedChips":
        """What stands behind the analog ports of weight-shared cores: one chip."""
        from spikeloom_analog.chip import StuckAt
        from spikeloom_analog.chip_model import cell_device
        from spikeloom_analog.shared import TableParameters, shared_chips

        core = self.config.core
        assert isinstance(core, SharedConfig)
        with self.named("core"):
            parameters = TableParameters(
                device=cell_device(core.device, self.folder),
                sigma=None if isinstance(core.sigma, str) else core.sigma,
                faults=StuckAt(core.stuck / 2, core.stuck / 2),
                read_noise=core.read_noise,
                calibrate=core.calibrate,
                remap=core.remap,
            )
            return shared_chips(self.plan, seeds=core.chip, parameters=parameters)

    @property
    def is_analog(self) -> bool:
        """Whether the answers of the core depend on a chip, not on the integer network alone."""
        core = self.config.core
        return isinstance(core, CrossbarConfig) or (
            isinstance(core, VirtualConfig | SharedConfig) and core.engine == "analog"
        )

    @property
    def analog_side(self) -> "ChipModel | VirtualChips | SharedChips":
        """What stands behind the analog ports of the core, of its own kind."""
        core = self.config.core
        if isinstance(core, VirtualConfig):
            return self.virtual_chips
        return self.shared_chips if isinstance(core, SharedConfig) else self.chip

    @property
    def has_chip(self) -> bool:
        """Whether something stands behind ports of the core: analog arrays or engines, or a memory outside."""
        return self.is_analog or any(
            isinstance(entry, SharedPlan) and entry.gang.streamed for entry in self.plan.layers
        )

    def reference(self, inputs: "Inputs", *, potentials: bool = False) -> Trace:
        """What the core must answer to `inputs`, as the first ones since its reset.

        The integer network defines it; behind analog ports the integers of the programmed chip do, and there are no
        potentials to ask for.
        """
        if self.is_analog:
            return self.analog_side.trace(inputs.spikes)
        return simulate(self.network, inputs.spikes, current=inputs.current, potentials=potentials)

    @contextlib.contextmanager
    def named(self, section: str = "") -> Iterator[None]:
        """Put the file, and the section that is being worked on, in front of a message."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.origin}: {section}{': ' if section else ''}{error}") from error

    @property
    def has_data(self) -> bool:
        """Whether the configuration names a data set."""
        return self.config.data.set != "none"

    @cached_property
    def _dataset(self):
        from .network.datasets import DATASETS, load_dataset

        data = self.config.data
        if not self.has_data:
            raise InputError(
                f"{self.origin}: data.set: 'none' was given; accepted for labelled inputs: {', '.join(DATASETS)}"
            )
        return load_dataset(data.set, self.folder / data.path if data.path else None)

    def _select(self, *, train: bool, count: int | None) -> tuple:
        """Values (or recordings), labels and picture shape of the first `count` samples of one half of the data."""
        from .network.datasets import Dataset

        data = self._dataset
        if not isinstance(data, Dataset):
            return *data.half(train=train, count=count), data.shape
        x, y = (data.train_x, data.train_y) if train else (data.test_x, data.test_y)
        if len(x) == 0:
            x, y = data.test_x, data.test_y
        return x[:count], y[:count], data.shape

    def _calibration(self) -> Calibration | None:
        if not self.has_data:
            return None
        inputs, count = self.float_network.inputs, CALIBRATION_INPUTS
        if self.coding.coding == "events":
            count = max(1, min(count, CALIBRATION_PLACES // (self.coding.steps * inputs)))
        values, labels, _ = self._select(train=True, count=count)
        with self.named("data"):
            spikes = encode_spikes(self.coding, values, inputs)
        direct = values if self.config.input.coding == "current" else None
        return Calibration(spikes=spikes, values=direct, labels=labels)

    def inputs(self, count: int | None = None, *, train: bool = False) -> Inputs:
        """The first `count` test (or training) inputs of the data set (default: `data.inputs`), coded.

        Without a data set, random inputs of 10 % density from a fixed Philox stream, unlabelled.
        """
        network, steps = self.network, self.config.input.steps
        count = self.config.data.inputs if count is None else count
        if not self.has_data:
            random = np.random.Generator(np.random.Philox(key=[0, 0x51]))
            spikes = (random.random((count, steps, network.inputs)) < 0.1).astype(np.uint8)
            return Inputs(spikes=spikes, current=None, labels=None, values=None, shape=(network.inputs,))
        values, labels, shape = self._select(train=train, count=count)
        with self.named("data"):
            if not len(values):
                raise InputError("no test inputs; accepted is at least one")
            coded: Encoded = encode(self.coding, values, network.layers[0])
        kept = values if isinstance(values, np.ndarray) else None
        return Inputs(spikes=coded.spikes, current=coded.current, labels=labels, values=kept, shape=shape)


def propose(
    file: str,
    *,
    dt: float | None = None,
    reset: str | None = None,
    synapse: str | None = None,
    integration: str | None = None,
    core: str = DEFAULT_KIND,
) -> Config:
    """A configuration to start from for the NIR file `file` (a path, or `zoo:NAME`) on a core of the kind `core`.

    A network of the zoo comes with its settings; for another one `dt` and `reset` are needed, because NIR does not
    store them, and everything else is the default; `synapse` and `integration` as in `import_nir`. For arrays, a
    network of the zoo that leaks gets a linear leak.

    Raises
    ------
    InputError
        For an unknown zoo network, an unknown core or missing settings.
    """
    kinds = core_kinds()
    if file.startswith(ZOO) and core == DEFAULT_KIND:  # stochastic neurons have a core of their own
        core = zoo.settings(file[len(ZOO) :]).get("core", core)
    if core not in kinds:
        raise InputError(f"--core: {core!r} was given; accepted: {', '.join(kinds)}")
    chosen = kinds[core](kind=core)  # type: ignore[call-arg]  (every kind has it)
    if file.startswith(ZOO):
        name = file[len(ZOO) :]
        table = zoo.settings(name)
        options = {"--dt": dt, "--reset": reset, "--synapse": synapse, "--integration": integration}
        for option, given in options.items():
            if given is not None:
                raise InputError(f"{option}: {given} was given; {file} comes with its own: leave the option out")
        return Config(
            name=name,
            network=NetworkConfig(file=file, dt=table["dt"], reset=table["reset"]),
            quantise=QuantiseConfig(
                weight_bits=table["weight_bits"],
                potential_bits=table["potential_bits"],
                current_bits=table.get("current_bits", QuantiseConfig.current_bits),
                leak="linear" if core == "cim" and table["leak"] != "none" else table["leak"],
            ),
            input=InputConfig(
                coding=table["coding"],
                steps=table["steps"],
                max_rate=table.get("max_rate", InputConfig.max_rate),
                step_us=table.get("step_us", InputConfig.step_us),
            ),
            core=chosen,  # type: ignore[arg-type]
            data=DataConfig(set=table["data"]) if table["data"] in BUNDLED else DataConfig(),
        )
    if dt is None or reset is None:
        raise InputError(
            f"{file}: --dt (time step in seconds) and --reset (zero, subtract, delayed_zero, delayed_subtract) "
            "must be given: NIR stores neither"
        )
    name = re.sub(r"[^a-z0-9_]+", "_", Path(file).stem.lower()).strip("_")[:40] or "network"
    if not name[0].isalpha():
        name = f"n_{name}"
    further = {"synapse": synapse, "integration": integration}
    network = NetworkConfig(
        file=file,
        dt=dt,
        reset=reset,  # type: ignore[arg-type]
        **{key: value for key, value in further.items() if value is not None},  # type: ignore[arg-type]
    )
    return Config(name=name, network=network, core=chosen)  # type: ignore[arg-type]
