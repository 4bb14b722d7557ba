// Mixed-signal engines of virtual neurons behind their analog port, in integers. It computes what
// spikeloom_analog.virtual.engine defines, from its tables and noise samples; see there and docs/virtual-analog.md for
// the equations. For simulation only.
// verilator lint_off WIDTH
// verilator lint_off BLKSEQ
// verilator lint_off UNUSED
// verilator lint_off DECLFILENAME
module spikeloom_engines_model #(
  parameter ENGINES = 1, parameter SLOTS = 1, parameter SLOT_BITS = 1, parameter CODE_BITS = 8,
  parameter LAYERS = 1, parameter LAYER_BITS = 1,
  parameter SUBTRACTS = 0, parameter NOISY = 0, parameter [63:0] LOW = 0, parameter [63:0] HIGH = 0,
  parameter CHARGE_FILE = "", parameter ENGINE_FILE = "", parameter SLOT_FILE = "", parameter NOISE_FILE = ""
) (
  input wire clk, input wire go, input wire fires, input wire clears,
  input wire [LAYER_BITS-1:0] layer, input wire [31:0] step, input wire [ENGINES-1:0] takes,
  input wire [ENGINES*SLOT_BITS-1:0] slot, input wire [ENGINES*CODE_BITS-1:0] code,
  output reg [ENGINES-1:0] fired
);
  localparam CODES = 1 << CODE_BITS;
  reg signed [63:0] charge [0:ENGINES*CODES-1];
  reg signed [63:0] engine [0:4*ENGINES-1];        // sigma, loss, comparator, injection
  reg signed [63:0] neuron [0:3*SLOTS*ENGINES-1];  // threshold, subtract, kept
  reg signed [15:0] noise [0:4096*ENGINES-1];
  reg signed [63:0] v [0:SLOTS*ENGINES-1];
  reg [31:0] steps [0:LAYERS-1];
  integer rows [0:LAYERS-1];
  integer m, k, of, at;
  reg signed [63:0] u, z, d;

  initial begin
    $readmemh(CHARGE_FILE, charge);
    $readmemh(ENGINE_FILE, engine);
    $readmemh(SLOT_FILE, neuron);
    if (NOISY != 0) $readmemh(NOISE_FILE, noise);
    for (m = 0; m < SLOTS*ENGINES; m = m + 1) v[m] = 0;
    for (m = 0; m < LAYERS; m = m + 1) begin
      steps[m] = 0;
      rows[m] = 0;
    end
    fired = 0;
  end

  always @(posedge clk) if (go) begin
    of = layer;
    if (steps[of] != step) begin
      steps[of] = step;
      rows[of] = 0;
    end
    at = (2531*step + 1327*of + rows[of]) & 4095;
    rows[of] = rows[of] + 1;
    for (m = 0; m < ENGINES; m = m + 1) if (takes[m]) begin
      k = slot[m*SLOT_BITS +: SLOT_BITS];
      k = k*ENGINES + m;
      u = v[k];
      z = 0;
      if (NOISY != 0) z = noise[at*ENGINES + m];
      if (fires) begin
        d = neuron[3*k] + ((z * engine[4*m+2] + 64'sd2048) >>> 12);
        fired[m] <= u >= d;
        if (u >= d) u = SUBTRACTS != 0 ? u - neuron[3*k+1] : engine[4*m+3];
        u = (u * neuron[3*k+2]) >>> 24;
        if (clears) u = 0;
      end else begin
        d = charge[m*CODES + code[m*CODE_BITS +: CODE_BITS]];
        u = u + d + ((z * engine[4*m] + 64'sd2048) >>> 12) - ((u * engine[4*m+1]) >>> 24);
        if (u < $signed(LOW)) u = $signed(LOW);
        if (u > $signed(HIGH)) u = $signed(HIGH);
      end
      v[k] = u;
    end
  end
endmodule
// verilator lint_on WIDTH
// verilator lint_on BLKSEQ
// verilator lint_on UNUSED
// verilator lint_on DECLFILENAME
