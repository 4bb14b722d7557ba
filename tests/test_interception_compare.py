"""Analog against digital: the rows follow from what they are made of, and the page stands alone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spikeloom.cli import app
from spikeloom.errors import InputError
from spikeloom_analog import EnergyParameters
from spikeloom_sim.commands import register
from spikeloom_sim.tasks.interception.comparison import (
    CLOCKS,
    CompareOptions,
    compare_interception,
    pdk_libraries,
)
from spikeloom_sim.tasks.interception.comparison_page import write_comparison
from spikeloom_synth.liberty import read_liberty


@pytest.fixture(scope="module")
def analog():
    return compare_interception(CompareOptions(trajectories=12, chips=2))


def test_analog_rows(analog):
    own, scaled, quoted = analog["rows"]
    assert own["energy_j"] == pytest.approx(sum(own["split_j"].values()), rel=1e-12, abs=0)
    assert own["energy_j"] == pytest.approx(sum(own["rails_j"].values()), rel=1e-12, abs=0)
    assert 0 < own["cell_heat_j"] < own["split_j"]["drivers"]
    assert own["split_j"]["bias"] == pytest.approx(35 * 2 * 6e-6 * 1.8 * 24e-6, rel=1e-12, abs=0)
    assert scaled["split_j"]["bias"] == pytest.approx(own["split_j"]["bias"] * 1.1 / 1.8, rel=1e-12, abs=0)
    assert quoted["energy_j"] == pytest.approx(10.67e-12 * own["spikes"], rel=1e-12, abs=0)
    assert own["area_um2"] == 35 * 906
    assert all(row["level"] and row["assumptions"] and row["node"] for row in analog["rows"])


def test_sensitivity_is_that_of_the_items(analog):
    own, rows = analog["rows"][0], {row["name"]: row for row in analog["sensitivity"]}
    base, split = own["energy_j"], own["split_j"]
    assert rows["bias_current"]["double_j"] == pytest.approx(base + split["bias"], rel=1e-12, abs=0)
    assert rows["bias_current"]["half_j"] == pytest.approx(base - split["bias"] / 2, rel=1e-12, abs=0)
    assert rows["spike_capacitance"]["double_j"] - base == pytest.approx(split["comparators"], rel=1e-6, abs=0)
    assert rows["supply"]["half_j"] is None  # 0.9 V is below the read rail
    spans = [row["span"] for row in analog["sensitivity"]]
    assert spans == sorted(spans, reverse=True)


def test_sweep(analog):
    rows = {(row["mode"], round(row["pulse_s"] * 1e9)): row for row in analog["sweep"]}
    short, given = rows["window in proportion", 14], rows["window in proportion", 55]
    assert short["delay_s"] == pytest.approx(given["delay_s"] / 4, rel=1e-12, abs=0)
    assert short["energy_j"] == pytest.approx(given["energy_j"] / 4, rel=0.01, abs=0)
    # Where the amplifiers must follow, nothing is saved.
    follows = rows["window and bandwidth in proportion", 14]
    assert follows["energy_j"] == pytest.approx(given["energy_j"], rel=0.01, abs=0)
    assert len({row["mse"] for row in analog["sweep"]}) > 6


def test_page(analog, tmp_path):
    write_comparison(analog, tmp_path / "out")
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == analog
    assert page.count("<svg") == page.count("</svg>") == 3
    assert not re.search(r"(src|href)=\"?(https?:|//|file:)", re.sub(r"xmlns(:\w+)?=\"[^\"]*\"", "", page))
    for text in (*analog["conclusion"], "12.7", "1.26", "arXiv 2605.31299"):
        assert text.replace("'", "&#x27;") in page


@pytest.mark.parametrize("name", ["trajectories", "chips", "workload"])
def test_counts_that_are_refused(name):
    wrong: dict[str, Any] = {name: 0}
    with pytest.raises(InputError, match=f"{name}: 0 was given"):
        CompareOptions(**wrong)


def test_unknown_library(tmp_path):
    with pytest.raises(InputError, match="'tsmc5' was given; accepted: sky130hd, nangate45, asap7"):
        CompareOptions(libraries={"tsmc5": ("a.lib",)})
    assert pdk_libraries(tmp_path) == {}


def test_areas_of_asap7_are_at_scale(pdk_folder):
    """Its layouts are drawn at four times the size; areas must be those of the 1x LEF."""
    files = pdk_libraries(pdk_folder)["asap7"]
    (lef,) = pdk_folder.glob("asap7/lef/asap7sc7p5t_28_R_1x_*.lef")
    sizes = re.findall(r"MACRO (\S+)\n(?:(?!MACRO).)*?SIZE ([\d.]+) BY ([\d.]+)", lef.read_text(), re.DOTALL)
    area = {name: float(width) * float(height) for name, width, height in sizes}
    (inverters,) = [read_liberty(Path(file)) for file in files if "INVBUF" in file]
    assert len(inverters.cells) > 10
    for name, cell in inverters.cells.items():
        assert cell.area == pytest.approx(area[name], rel=1e-3), name


def command(*words):
    if not any(group.name == "task" for group in app.registered_groups):
        register(app)
    return CliRunner().invoke(app, ["task", "compare-interception", *map(str, words)])


def test_command(tmp_path, monkeypatch):
    monkeypatch.delenv("SPIKELOOM_PDK", raising=False)
    given = tmp_path / "energy.toml"
    given.write_text("schema = 1\nbias_current = 1e-6\n")
    ran = command("--trajectories", 4, "--chips", 1, "--energy", given, "--out", tmp_path / "out", "--json")
    assert ran.exit_code == 0, ran.output
    result = json.loads(ran.stdout.splitlines()[-1])
    assert result["rows"][0]["split_j"]["bias"] == pytest.approx(35 * 2e-6 * 1.8 * 24e-6, rel=1e-12, abs=0)
    assert result["parameters"]["bias_current"]["value"] == 1e-6
    assert Path(result["folder"], "comparison.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pdk-root", "."), "no kit of sky130hd, nangate45, asap7"),
        (("--energy", "missing.toml"), "missing.toml: No such file"),
        (("--weights", "nowhere"), "nowhere"),
        (("--chips", 0), "chips: 0 was given"),
    ],
)
def test_refusals_write_nothing(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = command(*words, "--out", "out")
    assert isinstance(ran.exception, InputError)
    assert message in str(ran.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.synth
@pytest.mark.slow
def test_digital_rows(need_tool, pdk_folder):
    for tool in ("yosys", "sta", "g++"):
        need_tool(tool)
    libraries = {"nangate45": pdk_libraries(pdk_folder)["nangate45"]}
    given = CompareOptions(trajectories=8, chips=1, workload=2, libraries=libraries, energy=EnergyParameters())
    result = compare_interception(given)
    digital = [row for row in result["rows"] if row["kind"] == "digital"]
    assert [row["design"] for row in digital] == ["parallel", "parallel", "serial", "serial"]
    for row, slow in (digital[:2], digital[2:]):
        assert row["energy_j"] == pytest.approx(sum(row["split_j"].values()), rel=1e-12, abs=0)
        assert row["delay_s"] == pytest.approx(row["cycles"] / (CLOCKS["nangate45"] * 1e6), rel=1e-12, abs=0)
        assert row["fmax_mhz"] >= CLOCKS["nangate45"]
        assert slow["delay_s"] == 24e-6
        more = row["split_j"]["leakage"] * (24e-6 / row["delay_s"] - 1)
        assert slow["energy_j"] - row["energy_j"] == pytest.approx(more, rel=1e-9, abs=0)
    assert digital[0]["cycles"] < digital[2]["cycles"]
    assert digital[0]["area_um2"] > digital[2]["area_um2"]
    assert len(result["conclusion"]) == 3
