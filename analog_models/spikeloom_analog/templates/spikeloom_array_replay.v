// Recorded answers of a crossbar behind its analog port: request and response pairs from a file, no model. A request
// that differs from the recorded one, or a file that is not the one this module was made for, ends the simulation.
// verilator lint_off WIDTH
// verilator lint_off BLKSEQ
// verilator lint_off UNUSED
// verilator lint_off DECLFILENAME
module spikeloom_array_replay #(
  parameter ROWS = 1, parameter COLUMNS = 1, parameter ACCESS_BITS = 10, parameter CYCLE_BITS = 1,
  parameter CLOCKS = 1, parameter ACCESSES = 1, parameter [63:0] HASH = 0,
  parameter CLOCK_FILE = "", parameter ACCESS_FILE = ""
) (
  input wire clk,
  input wire run, input wire [CYCLE_BITS-1:0] cycle, input wire [31:0] window, input wire clear,
  input wire [ROWS-1:0] gate, output reg [COLUMNS-1:0] spike,
  input wire access_valid, output wire access_ready, input wire [ACCESS_BITS-1:0] access_payload,
  output reg answer_valid, input wire answer_ready, output reg [11:0] answer_payload
);
  // One word per cycle of analog time or of `clear`: {window, cycle, clear, gate | spike}, one per access {request | code}.
  localparam WIDTH = 32 + CYCLE_BITS + 1 + ROWS + COLUMNS;
  localparam CHUNKS = (WIDTH + 63) / 64;
  reg [WIDTH-1:0] clocks [0:CLOCKS-1];
  reg [ACCESS_BITS+11:0] accesses [0:ACCESSES-1];
  reg [64*CHUNKS-1:0] padded;
  reg [63:0] hash;
  integer i, j, position, taken;
  wire [WIDTH-COLUMNS-1:0] request = {window, cycle, clear, gate};

  initial begin
    $readmemh(CLOCK_FILE, clocks);
    $readmemh(ACCESS_FILE, accesses);
    hash = 64'hcbf29ce484222325;  // FNV-1a over words of 64 bits
    for (i = 0; i < CLOCKS; i = i + 1) begin
      padded = clocks[i];
      for (j = 0; j < CHUNKS; j = j + 1) hash = (hash ^ padded[64*j +: 64]) * 64'h100000001b3;
    end
    for (i = 0; i < ACCESSES; i = i + 1) hash = (hash ^ {{(52-ACCESS_BITS){1'b0}}, accesses[i]}) * 64'h100000001b3;
    if (hash !== HASH) begin
      $display("%m: the recording has hash %h, this module was made for %h", hash, HASH);
      $fatal;
    end
    position = 0;
    taken = 0;
    spike = 0;
    answer_valid = 0;
    answer_payload = 0;
  end

  always @(posedge clk) begin
    if (clear || run) begin
      if (position >= CLOCKS || request !== clocks[position][WIDTH-1:COLUMNS]) begin
        $display("%m: request %0d is %h, not what was recorded", position, request);
        $fatal;
      end
      spike <= clocks[position][COLUMNS-1:0];
      position = position + 1;
    end
    answer_valid <= access_valid;
    if (access_valid) begin
      // The last word is a mark, not an access.
      if (taken >= ACCESSES - 1 || access_payload !== accesses[taken][ACCESS_BITS+11:12]) begin
        $display("%m: access %0d is %h, not what was recorded", taken, access_payload);
        $fatal;
      end
      answer_payload <= accesses[taken][11:0];
      taken = taken + 1;
    end
  end
  assign access_ready = 1'b1;
endmodule
// verilator lint_on WIDTH
// verilator lint_on BLKSEQ
// verilator lint_on UNUSED
// verilator lint_on DECLFILENAME
