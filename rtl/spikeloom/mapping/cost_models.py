"""Which cost model a core has."""

from ..config import CoreConfig, CrossbarConfig, DigitalConfig, SharedConfig, StochasticConfig, VirtualConfig
from ..network.integer import IntegerNetwork
from .cim_cost import CimCost
from .cost import CostModel
from .crossbar_cost import CrossbarCost
from .folded_cost import FoldedCost
from .plan import CorePlan
from .shared_cost import SharedCost
from .stochastic_cost import StochasticCost
from .virtual_cost import VirtualCost

__all__ = ["cost_model"]


def cost_model(
    network: IntegerNetwork, core: CoreConfig, *, steps: int, direct: bool = False, plan: CorePlan | None = None
) -> CostModel:
    """The cost model for the kind and the schedule of `core`; see `CostModel`."""
    if isinstance(core, CrossbarConfig):
        kind = CrossbarCost
    elif isinstance(core, VirtualConfig):
        kind = VirtualCost
    elif isinstance(core, SharedConfig):
        kind = SharedCost
    elif isinstance(core, StochasticConfig):
        kind = StochasticCost
    elif not isinstance(core, DigitalConfig):
        kind = CimCost
    else:
        kind = FoldedCost if core.schedule == "folded" else CostModel
    return kind(network, core, steps=steps, direct=direct, plan=plan)  # type: ignore[arg-type]  (of its own kind, as just seen)
