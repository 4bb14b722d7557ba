"""FPGA counts: registers counted by hand, memories in block RAM, a small function in as many tables as it must take."""

import pytest

from spikeloom_synth.errors import FlowError
from spikeloom_synth.fpga import count
from spikeloom_synth.options import FPGA_FAMILIES
from spikeloom_synth.yosys import Design
from synth_designs import LIF_FILES, LIF_FLIP_FLOPS, needs_yosys, write_lif_image

pytestmark = needs_yosys

# The registers that Yosys puts beside a memory whose read must see the old row during a write: the block RAM of
# these families does so by itself (xc7), or the write is kept for a cycle in flip-flops (data, address, enables).
EXTRA_FLIP_FLOPS = {"xc7": range(1), "ecp5": range(0, 40), "ice40": range(0, 40)}


@pytest.mark.parametrize("family", FPGA_FAMILIES)
def test_small_function(family, tmp_path):
    """A parity of four bits fits one table; four registers are four flip-flops."""
    source = tmp_path / "small.v"
    source.write_text(
        "module small(input clk, input [6:0] a, output reg [2:0] s, output reg p);\n"
        "  always @(posedge clk) begin s <= {s[1:0], a[0]}; p <= ^a[3:0]; end\nendmodule\n"
    )
    found = count(Design(files=(source,), top="small", folder=tmp_path), family, tmp_path)
    assert found.flip_flops == 4
    assert found.luts == 1
    assert found.block_rams == {}
    assert found.dsps == 0
    assert found.label["command"].startswith("synth_")
    assert (tmp_path / f"fpga_{family}.log").is_file()
    assert not (tmp_path / f"fpga_{family}").exists()


@pytest.mark.parametrize("family", FPGA_FAMILIES)
def test_layer(family, tmp_path):
    write_lif_image(tmp_path)
    found = count(Design(files=LIF_FILES, top="lif_small", folder=tmp_path), family, tmp_path)
    assert found.flip_flops - LIF_FLIP_FLOPS in EXTRA_FLIP_FLOPS[family]
    assert found.lut_rams == 0
    # Sixteen adders of 11 bits need at least a table a bit.
    assert 16 * 11 <= found.luts < 16 * 11 * 6
    blocks = found.block_rams
    if family == "ice40":  # words of 16 bits: the ROM takes four, the counters one
        assert blocks == {"SB_RAM40_4K": 5}
    elif family == "ecp5":  # words of 36 bits
        assert sum(blocks.values()) == 2 + 1
    else:  # 64 bits fit one RAMB36, the counters one RAMB18
        assert blocks == {"RAMB36E1": 1, "RAMB18E1": 1}


def test_missing_image(tmp_path):
    with pytest.raises(FlowError, match=r"Yosys failed \(fpga_xc7\): .*lif_small\.mem"):
        count(Design(files=LIF_FILES, top="lif_small", folder=tmp_path), "xc7", tmp_path)
