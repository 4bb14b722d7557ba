"""The configurations that users can start from: they load, and their networks fit, each layer in one pass."""

from dataclasses import replace
from pathlib import Path

import pytest

from spikeloom.config import DataConfig, VirtualConfig, load_config
from spikeloom.project import Project

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_all_are_tried_here():
    assert [path.stem for path in sorted(EXAMPLES.glob("*.toml"))] == ["virtual_large", "virtual_small"]


@pytest.mark.parametrize("engine", ["analog", "digital"])
@pytest.mark.parametrize(
    ("name", "groups"),
    [("virtual_small", [145, 81, 1]), pytest.param("virtual_large", [256, 128, 64, 1], marks=pytest.mark.slow)],
)
def test_networks_of_virtual_cores_fit(name, groups, engine):
    config = load_config(EXAMPLES / f"{name}.toml")
    assert config.name == name
    assert isinstance(config.core, VirtualConfig)
    assert config.core.engine == "analog"
    core = replace(config.core, engine=engine, placement="round_robin")  # as many slots as with greedy, in less time
    plan = Project(config=replace(config, core=core, data=DataConfig()), folder=EXAMPLES).plan
    assert [entry.groups for entry in plan.layers] == groups
    assert max(groups) <= config.core.slots
    assert {entry.turns for entry in plan.layers} == {1}
    assert [entry.lanes for entry in plan.layers] == [*[config.core.engines] * (len(groups) - 1), 10]
