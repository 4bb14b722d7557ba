// Recorded answers of engines behind their analog port: request and response pairs from a file, no model. Each layer has
// its own sequence, since how layers take turns is not fixed. A request that differs from the recorded one, or a file that
// is not the one this module was made for, ends the simulation.
// verilator lint_off WIDTH
// verilator lint_off BLKSEQ
// verilator lint_off UNUSED
// verilator lint_off DECLFILENAME
module spikeloom_engines_replay #(
  parameter ENGINES = 1, parameter SLOT_BITS = 1, parameter CODE_BITS = 8, parameter LAYERS = 1, parameter LAYER_BITS = 1,
  parameter WORDS = 1, parameter [63:0] HASH = 0, parameter FILE = "", parameter START_FILE = ""
) (
  input wire clk, input wire go, input wire fires, input wire clears,
  input wire [LAYER_BITS-1:0] layer, input wire [31:0] step, input wire [ENGINES-1:0] takes,
  input wire [ENGINES*SLOT_BITS-1:0] slot, input wire [ENGINES*CODE_BITS-1:0] code,
  output reg [ENGINES-1:0] fired
);
  // One word per row: {fires, clears, step, takes, slot, code | fired}, the words of a layer behind those of the one before.
  localparam WIDTH = 2 + 32 + ENGINES*(2 + SLOT_BITS + CODE_BITS);
  localparam CHUNKS = (WIDTH + 63) / 64;
  reg [WIDTH-1:0] words [0:WORDS-1];
  reg [31:0] starts [0:LAYERS];
  reg [64*CHUNKS-1:0] padded;
  reg [63:0] hash;
  integer taken [0:LAYERS-1];
  integer i, j, of;
  wire [WIDTH-ENGINES-1:0] request = {fires, clears, step, takes, slot, code};

  initial begin
    $readmemh(FILE, words);
    $readmemh(START_FILE, starts);
    hash = 64'hcbf29ce484222325;  // FNV-1a over words of 64 bits
    for (i = 0; i < WORDS; i = i + 1) begin
      padded = words[i];
      for (j = 0; j < CHUNKS; j = j + 1) hash = (hash ^ padded[64*j +: 64]) * 64'h100000001b3;
    end
    for (i = 0; i <= LAYERS; i = i + 1) hash = (hash ^ {32'd0, starts[i]}) * 64'h100000001b3;
    if (hash !== HASH) begin
      $display("%m: the recording has hash %h, this module was made for %h", hash, HASH);
      $fatal;
    end
    for (i = 0; i < LAYERS; i = i + 1) taken[i] = starts[i];
    fired = 0;
  end

  always @(posedge clk) if (go) begin
    of = layer;
    if (taken[of] >= starts[of+1] || request !== words[taken[of]][WIDTH-1:ENGINES]) begin
      $display("%m: request %0d of layer %0d is %h, not what was recorded", taken[of] - starts[of], of, request);
      $fatal;
    end
    if (fires) fired <= words[taken[of]][ENGINES-1:0];
    taken[of] = taken[of] + 1;
  end
endmodule
// verilator lint_on WIDTH
// verilator lint_on BLKSEQ
// verilator lint_on UNUSED
// verilator lint_on DECLFILENAME
