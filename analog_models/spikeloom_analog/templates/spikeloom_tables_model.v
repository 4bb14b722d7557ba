// Tables of shared conductances and their converters behind an analog port, in integers. It computes what
// spikeloom_analog.shared.table defines, from its tables and noise samples; see there and docs/shared.md for the
// equations. For simulation only.
// verilator lint_off WIDTH
// verilator lint_off BLKSEQ
// verilator lint_off UNUSED
// verilator lint_off DECLFILENAME
module spikeloom_tables_model #(
  parameter CORES = 1, parameter LEVELS = 2, parameter COPIES = 1, parameter INDEX_BITS = 1, parameter PULSE_BITS = 1,
  parameter DRAWN_BITS = 2, parameter REPLICATES = 0, parameter CODE_BITS = 8,
  parameter LAYERS = 1, parameter LAYER_BITS = 1, parameter NOISY = 0,
  parameter CHARGE_FILE = "", parameter VARIANCE_FILE = "", parameter BASE_FILE = "", parameter DECISIONS_FILE = "",
  parameter NOISE_FILE = ""
) (
  input wire clk, input wire go, input wire [LAYER_BITS-1:0] layer, input wire [31:0] step,
  input wire [CORES*DRAWN_BITS-1:0] drawn, output reg [CORES*CODE_BITS-1:0] code
);
  localparam DECISIONS = (1 << CODE_BITS) - 1;
  reg signed [63:0] charge [0:CORES*COPIES*LEVELS-1];
  reg signed [63:0] variance [0:CORES*COPIES*LEVELS-1];
  reg signed [63:0] base [0:CORES-1];
  reg signed [63:0] decisions [0:CORES*DECISIONS-1];
  reg signed [15:0] noise [0:4096*CORES-1];
  reg [31:0] steps [0:LAYERS-1];
  integer numbers [0:LAYERS-1];
  integer c, k, of, at, found, trial;
  reg [DRAWN_BITS-1:0] mine;
  reg signed [63:0] a, n, z, d;

  // ROOT

  initial begin
    $readmemh(CHARGE_FILE, charge);
    $readmemh(VARIANCE_FILE, variance);
    $readmemh(BASE_FILE, base);
    $readmemh(DECISIONS_FILE, decisions);
    if (NOISY != 0) $readmemh(NOISE_FILE, noise);
    for (k = 0; k < LAYERS; k = k + 1) begin
      steps[k] = 0;
      numbers[k] = 0;
    end
    code = 0;
  end

  always @(posedge clk) if (go) begin
    of = layer;
    if (steps[of] != step) begin
      steps[of] = step;
      numbers[of] = 0;
    end
    at = (2531*step + 1327*of + numbers[of]) & 4095;
    numbers[of] = numbers[of] + 1;
    for (c = 0; c < CORES; c = c + 1) begin
      mine = drawn[c*DRAWN_BITS +: DRAWN_BITS];
      a = 0;
      n = base[c];
      if (REPLICATES != 0) begin
        for (k = 0; k < COPIES; k = k + 1) if (mine[COPIES*INDEX_BITS + k]) begin
          found = mine[k*INDEX_BITS +: INDEX_BITS];
          a = a + charge[(c*COPIES + k)*LEVELS + found];
          n = n + variance[(c*COPIES + k)*LEVELS + found];
        end
      end else begin
        for (k = 0; k < LEVELS; k = k + 1) begin
          d = mine[k*PULSE_BITS +: PULSE_BITS];
          a = a + d * charge[c*LEVELS + k];
          n = n + d * variance[c*LEVELS + k];
        end
      end
      if (NOISY != 0) begin
        z = noise[at*CORES + c];
        a = a + ((z * root(n) + 64'sd2048) >>> 12);
      end
      found = 0;
      for (k = CODE_BITS - 1; k >= 0; k = k - 1) begin
        trial = found + (1 << k);
        if (a >= decisions[c*DECISIONS + trial - 1]) found = trial;
      end
      code[c*CODE_BITS +: CODE_BITS] <= found - (1 << (CODE_BITS - 1));
    end
  end
endmodule
// verilator lint_on WIDTH
// verilator lint_on BLKSEQ
// verilator lint_on UNUSED
// verilator lint_on DECLFILENAME
