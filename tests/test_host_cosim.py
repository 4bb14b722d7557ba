"""Hosted cores, exported, driven by cocotb as a system drives them: every answer equals the reference."""

import dataclasses
import json
import random

import numpy as np
import pytest

from graph_networks import two_maps
from networks import network_of, random_spec
from projects import of_network
from spikeloom.config import HostConfig
from spikeloom.export import elaborate
from spikeloom.items import AddressMap
from spikeloom.mapping.image import build_image
from spikeloom.network.integer import IntegerNetwork
from spikeloom.network.reference import simulate
from spikeloom.project import Project
from spikeloom.vectors import expected_streams

STEPS = 6
SEEDS = {"verilator": ((1, 0), (2, 40)), "icarus": ((3, 40),)}  # (seed, stall)
DESIGNS = {
    "loaded": {"bus": "axi4-lite", "core": {"lanes": 2, "weights": "loaded", "parameters": "loaded"}},
    "readout": {"bus": "wishbone", "readout": True, "core": {"lanes": "full", "readout": "tick"}},
    "parallel": {"bus": "axi4-lite", "core": {"lanes": "full", "decision": "first"}},
    "maps": {"bus": "wishbone", "core": {"lanes": "full", "weights": "loaded"}},
}


def make(name: str, folder) -> tuple[Project, IntegerNetwork]:
    design, rng = DESIGNS[name], random.Random(name)
    dense = [
        random_spec(rng, fan_in=9, neurons=6, leak=("shift", 2), bias=True),
        random_spec(rng, fan_in=6, neurons=5, readout=design.get("readout", False), reset="subtract"),
    ]
    network = two_maps() if name == "maps" else network_of(dense)
    project = of_network(network, folder, name=name, steps=STEPS, **design["core"])
    config = dataclasses.replace(project.config, host=HostConfig(bus=design["bus"]))
    hosted = dataclasses.replace(project, config=config)
    hosted.__dict__["quantised"] = project.quantised
    return hosted, network


def entries(project: Project, network: IntegerNetwork, spikes: np.ndarray) -> list[dict]:
    """Each input with what the reference says of it, in the terms of the driver."""
    plan, made = project.plan, []
    for b in range(len(spikes)):
        trace = simulate(network, spikes[b : b + 1])
        out, readout = trace.spikes[-1][0], trace.readout
        streams = expected_streams(plan, trace)
        expected: dict = {"values": None, "counts": None, "first": None, "answer": None, "readout": []}
        expected["streams"] = {"events": streams["events_out"]}
        addresses = AddressMap(network.layers[-1].shape).of(np.arange(network.outputs))
        expected["spikes"] = [
            [int(t), int(n)] for t, n in sorted(np.argwhere(out), key=lambda s: (s[0], addresses[s[1]]))
        ]
        if readout is None:
            counts = out.sum(axis=0)
            expected |= {"counts": counts.tolist(), "best": int(np.argmax(counts))}
            if expected["spikes"]:
                expected["first"] = expected["spikes"][0][::-1]
        else:
            expected |= {"values": readout[0, -1].tolist(), "best": int(np.argmax(readout[0, -1]))}
            shown = readout[0] if plan.core.readout == "tick" else readout[0, -1:]
            expected["readout"] = [[n, int(v)] for values in shown for n, v in enumerate(values)]
            expected["streams"]["values"] = streams["readout"]
        if plan.decision != "none":
            expected["streams"]["answers"] = streams["decision"]
            index = int(trace.decision(plan.decision)[0])
            value = streams["decision"][0] >> (network.outputs - 1).bit_length()
            expected["answer"] = [index, int(readout[0, -1, index]) if readout is not None else value]
        steps = [np.flatnonzero(step).tolist() for step in spikes[b]]
        made.append({"steps": steps, "expected": expected})
    return made


def random_inputs(seed: int, count: int, inputs: int) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=[seed, 7]))
    density = rng.random((count, STEPS, 1)) ** 2
    return (rng.random((count, STEPS, inputs)) < density).astype(np.uint8)


def play_of(project: Project, network: IntegerNetwork, manifest: dict, folder, seed: int, stall: int) -> dict:
    plan = project.plan
    spikes = random_inputs(seed, 3, network.inputs)
    inputs = entries(project, network, spikes)
    assert any(entry["expected"]["spikes"] for entry in inputs) or network.layers[-1].threshold is None
    play = {
        "bus": project.config.host.bus,
        "driver": str(folder / "host" / f"{manifest['name']}.py"),
        "registers": manifest["host"]["registers"],
        "image": build_image(plan).hex() if plan.loads else None,
        "inputs": inputs,
        "stall": stall,
        "seed": seed,
        "parallel": all(entry.lanes == entry.layer.neurons for entry in plan.layers),
        "prime": int(plan.layers[0].bias_bits > 0),  # see cores/digital/parallel.py
        "changed": None,
    }
    if plan.layers[0].registers:
        first, *others = network.layers
        changed = dataclasses.replace(
            network, layers=(dataclasses.replace(first, threshold=first.threshold // 2 + 1), *others)
        )
        play["changed"] = {
            "parameters": {f"{first.name}_threshold": first.threshold // 2 + 1},
            "inputs": entries(project, changed, spikes),
        }
        assert play["changed"]["inputs"] != inputs, "the change shows"
        play["parameters"] = {
            f"{entry.name}_{name}": value for entry in plan.layers for name, (_, value) in entry.registers.items()
        }
    return play


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
@pytest.mark.parametrize("name", DESIGNS)
def test_hosted_core(name, engine, tmp_path, need_tool):
    from spikeloom_sim.flow import run_bench

    need_tool("iverilog" if engine == "icarus" else "verilator")
    project, network = make(name, tmp_path)
    manifest = elaborate(project, tmp_path / "build")
    folder, work = tmp_path / "build", tmp_path / "work"
    work.mkdir()
    plays = []
    for seed, stall in SEEDS[engine]:
        play = play_of(project, network, manifest, folder, seed, stall)
        (work / f"play{seed}.json").write_text(json.dumps(play))
        plays.append({"SPIKELOOM_HOST": str(work / f"play{seed}.json")})
    log = run_bench(
        sources=sorted((folder / "rtl").glob("*.v")), top=manifest["host"]["top"], module="spikeloom_sim.host_bench",
        engine=engine, work=work, data=folder / "rtl", waves=False, plays=plays,
        ports=[port["name"] for port in manifest["host"]["ports"]],
    )  # fmt: skip
    (tmp_path / "cocotb.log").write_text(log)
    assert log.count("FAIL=0") == len(plays), log[-12_000:]
    assert log.count(" PASS=7 ") == len(plays), log[-3_000:]
