"""The index memory outside of a gang of weight-shared cores, as it is simulated: a Verilog module and its image."""

from collections.abc import Sequence

from .items import address_bits
from .mapping.shared import SharedPlan

__all__ = ["index_files"]

MODULE = """\
// Index memory outside of NAME: takes an address per cycle; its row comes {latency} cycles later, in order.
module NAME_GANG_indices (
  input wire clk,
  input wire [{address}-1:0] row__payload,
  input wire row__valid,
  output wire row__ready,
  output wire [{width}-1:0] indices__payload,
  output wire indices__valid,
  input wire indices__ready
);
  reg [{width}-1:0] rows [0:{depth}-1];
  reg [{address}-1:0] line [0:{latency}-1];
  reg valid [0:{latency}-1];
  integer n;
  initial begin
    $readmemh("NAME_GANG_indices.mem", rows);
    for (n = 0; n < {latency}; n = n + 1) valid[n] = 1'b0;
  end
  always @(posedge clk) begin
    line[0] <= row__payload;
    valid[0] <= row__valid;
    for (n = 1; n < {latency}; n = n + 1) begin
      line[n] <= line[n-1];
      valid[n] <= valid[n-1];
    end
    if (indices__valid && !indices__ready) begin
      $display("%m: a row came that has no place");
      $fatal;
    end
  end
  assign row__ready = 1'b1;
  assign indices__valid = valid[{latency}-1];
  assign indices__payload = rows[line[{latency}-1]];
endmodule
"""


def index_files(name: str, plans: Sequence[SharedPlan]) -> dict[str, str]:
    """Module NAME_GANG_indices of the layers `plans` of one gang, and its image: file name -> text."""
    gang = plans[0].gang
    fields = {
        "address": address_bits(gang.rows), "width": gang.row_bits, "depth": gang.rows, "latency": gang.latency,
    }  # fmt: skip
    module = MODULE
    for key, value in fields.items():
        module = module.replace(f"{{{key}}}", str(value))
    module = module.replace("NAME", name).replace("GANG", gang.name)
    stem = f"{name}_{gang.name}_indices"
    return {f"{stem}.v": module, f"{stem}.mem": "".join(plan.index_image() for plan in plans)}
