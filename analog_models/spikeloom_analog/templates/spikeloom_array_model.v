// A programmed crossbar with integrate-and-fire neurons behind its analog port, in integers. It computes what
// spikeloom_analog.programmed and spikeloom_analog.cells define, from their tables and noise samples; see there and
// docs/crossbar.md for the equations. For simulation only.
// verilator lint_off WIDTH
// verilator lint_off BLKSEQ
// verilator lint_off UNUSED
// verilator lint_off DECLFILENAME
module spikeloom_array_model #(
  parameter ROWS = 1, parameter COLUMNS = 1, parameter CELLS = 1,
  parameter ROW_BITS = 1, parameter COLUMN_BITS = 1, parameter CELL_BITS = 1, parameter CYCLE_BITS = 1,
  parameter STEP = 1, parameter RESET = 1, parameter DEAD = 0, parameter REFRESH = 1, parameter SLOTS = 1,
  parameter STEPS = 1, parameter WINDOWS = 1, parameter NOISY = 0,
  parameter STATES = 2, parameter ACCESSES = 1, parameter WRITE_NOISE = 0, parameter REFERENCE = 2048,
  parameter CHARGE_FILE = "", parameter VARIANCE_FILE = "", parameter NEURON_FILE = "", parameter NOISE_FILE = "",
  parameter STATE_FILE = "", parameter READ_FILE = "", parameter COLUMN_FILE = "", parameter STEP_FILE = "",
  parameter SAMPLE_FILE = ""
) (
  input wire clk,
  input wire run, input wire [CYCLE_BITS-1:0] cycle, input wire [31:0] window, input wire clear,
  input wire [ROWS-1:0] gate, output reg [COLUMNS-1:0] spike,
  input wire access_valid, output wire access_ready,
  input wire [2+ROW_BITS+COLUMN_BITS+CELL_BITS+5-1:0] access_payload,
  output reg answer_valid, input wire answer_ready, output reg [11:0] answer_payload
);
  localparam SYNAPSES = ROWS * COLUMNS;
  localparam TOTAL = SYNAPSES * CELLS;
  reg [63:0] charge [0:SYNAPSES-1];
  reg [63:0] variance [0:SYNAPSES-1];
  reg [63:0] neuron [0:2*COLUMNS-1];            // threshold, leak
  reg [15:0] noise [0:WINDOWS*STEPS*SLOTS*COLUMNS-1];
  reg [63:0] cell_table [0:3*TOTAL-1];          // state, strength, stuck
  reg [63:0] reading [0:6*STATES-1];            // code16, variance of a read; charge, variance of a cycle; rise, fall
  reg [63:0] column_table [0:3*COLUMNS-1];      // offset, gain, drive
  reg [63:0] move [0:31];
  reg [15:0] sample [0:2*ACCESSES*TOTAL-1];     // of pulses, of reads
  integer state [0:TOTAL-1];
  integer pulses [0:TOTAL-1];
  integer reads [0:TOTAL-1];
  reg signed [63:0] v [0:COLUMNS-1];
  integer held [0:COLUMNS-1];
  reg signed [63:0] drive [0:COLUMNS-1];
  reg signed [63:0] sigma [0:COLUMNS-1];
  reg [ROWS-1:0] last_gate = 0;
  reg fresh = 0;                                // drive and sigma are those of last_gate
  integer n, r, k, at, slot;
  reg signed [63:0] d, z, u, sum, base, total;
  reg [1:0] kind;
  integer row, column, which, amount, place;

  initial begin
    $readmemh(CHARGE_FILE, charge);
    $readmemh(VARIANCE_FILE, variance);
    $readmemh(NEURON_FILE, neuron);
    if (NOISY != 0) $readmemh(NOISE_FILE, noise);
    $readmemh(STATE_FILE, cell_table);
    $readmemh(READ_FILE, reading);
    $readmemh(COLUMN_FILE, column_table);
    $readmemh(STEP_FILE, move);
    $readmemh(SAMPLE_FILE, sample);
    for (n = 0; n < TOTAL; n = n + 1) begin
      state[n] = cell_table[3*n];
      pulses[n] = 0;
      reads[n] = 0;
    end
    for (n = 0; n < COLUMNS; n = n + 1) begin
      v[n] = 0;
      held[n] = 0;
    end
    spike = 0;
    answer_valid = 0;
    answer_payload = 0;
  end

  // ROOT

  // Windows.
  always @(posedge clk) begin
    if (clear) begin
      for (n = 0; n < COLUMNS; n = n + 1) begin
        v[n] = 0;
        held[n] = 0;
        spike[n] <= 1'b0;
      end
    end else if (run) begin
      if (gate != last_gate || !fresh) begin
        last_gate = gate;
        fresh = 1;
        for (n = 0; n < COLUMNS; n = n + 1) begin
          d = 0;
          u = 0;
          for (r = 0; r < ROWS; r = r + 1) if (gate[r]) begin
            d = d + charge[r*COLUMNS+n];
            u = u + variance[r*COLUMNS+n];
          end
          drive[n] = d;
          sigma[n] = NOISY != 0 ? root(u) : 0;
        end
      end
      at = cycle;
      slot = (at / STEP) * SLOTS + (at % STEP) / REFRESH;
      if (NOISY != 0 && gate != 0 && window >= WINDOWS) begin
        $display("%m: window %0d, but there are noise samples of %0d windows", window, WINDOWS);
        $fatal;
      end
      for (n = 0; n < COLUMNS; n = n + 1) begin
        if (held[n] != 0) begin
          held[n] = held[n] - 1;
          v[n] = 0;
        end else begin
          d = drive[n];
          if (NOISY != 0 && gate != 0) begin
            z = $signed(noise[(window*STEPS*SLOTS + slot)*COLUMNS + n]);
            d = d + ((z * sigma[n] + 64'sd2048) >>> 12);
            if (d < 0) d = 0;
          end
          u = v[n] + d - ((v[n] * $signed(neuron[2*n+1])) >>> 24);
          if (u >= $signed(neuron[2*n])) begin
            v[n] = 0;
            held[n] = RESET + DEAD;
          end else v[n] = u;
        end
        spike[n] <= held[n] > DEAD;
      end
    end
    // Single cells.
    answer_valid <= access_valid;
    if (access_valid) begin
      kind = access_payload[1:0];
      row = access_payload[2 +: ROW_BITS];
      column = access_payload[2+ROW_BITS +: COLUMN_BITS];
      which = access_payload[2+ROW_BITS+COLUMN_BITS +: CELL_BITS];
      amount = access_payload[2+ROW_BITS+COLUMN_BITS+CELL_BITS +: 5];
      place = (row*COLUMNS + column)*CELLS + which;
      answer_payload <= 0;
      if (kind == 3) begin
        u = row != 0 ? REFERENCE * 16 : 0;
        u = $signed(column_table[3*column]) + ((u * $signed(column_table[3*column+1]) + 64'sd32768) >>> 16);
        answer_payload <= u > 4095 ? 12'd4095 : u[11:0];
      end else if ((kind == 2 ? reads[place] : pulses[place]) >= ACCESSES) begin
        $display("%m: cell %0d, %0d, %0d: there are noise samples of %0d pulses and reads", row, column, which, ACCESSES);
        $fatal;
      end else if (kind == 2) begin
        z = $signed(sample[(ACCESSES + reads[place])*TOTAL + place]);
        reads[place] = reads[place] + 1;
        u = $signed(reading[6*state[place]+1]) >>> amount;
        u = $signed(reading[6*state[place]]) + ((z * root(u) + 64'sd2048) >>> 12);
        u = $signed(column_table[3*column]) + ((u * $signed(column_table[3*column+1]) + 64'sd32768) >>> 16);
        answer_payload <= u > 4095 ? 12'd4095 : u < 0 ? 12'd0 : u[11:0];
      end else begin
        z = $signed(sample[pulses[place]*TOTAL + place]);
        pulses[place] = pulses[place] + 1;
        base = ($signed(move[amount]) * $signed(cell_table[3*place+1])) >>> 8;
        base = (base * $signed(reading[6*state[place]+4+kind])) >>> 12;
        sum = WRITE_NOISE;
        sum = 64'sd4096 + ((z * sum) >>> 12);
        d = (base * sum) >>> 12;
        if (d < 0) d = 0;
        u = state[place];
        u = kind == 0 ? u + d : u - d;
        if (u < 0) u = 0;
        if (u > STATES - 1) u = STATES - 1;
        if (cell_table[3*place+2] == 0) state[place] = u;
        // The synapse drives its column as its cells are now.
        d = 0;
        total = 0;
        for (k = 0; k < CELLS; k = k + 1) begin
          d = d + $signed(reading[6*state[(row*COLUMNS + column)*CELLS + k]+2]);
          total = total + $signed(reading[6*state[(row*COLUMNS + column)*CELLS + k]+3]);
        end
        base = column_table[3*column+2];
        charge[row*COLUMNS+column] = (d * base) >>> 12;
        variance[row*COLUMNS+column] = (((total * base) >>> 12) * base) >>> 12;
        fresh = 0;
      end
    end
  end
  assign access_ready = 1'b1;
endmodule
// verilator lint_on WIDTH
// verilator lint_on BLKSEQ
// verilator lint_on UNUSED
// verilator lint_on DECLFILENAME
