// A small spiking accelerator in the shape of an exported one: events in, one fully connected layer of leaky
// integrate-and-fire lanes with a weight memory, a find-first serialiser, events out, and a spike counter in a
// 1R1W memory. Written by hand so that the tests of the synthesis flow do not depend on the generator.
module lif_lane #(
    parameter WEIGHT = 4,
    parameter BITS = 11,
    parameter THRESHOLD = 20,
    parameter SHIFT = 3
) (
    input wire clk,
    input wire rst,
    input wire event_,
    input wire tick,
    input wire last,
    input wire signed [WEIGHT-1:0] weight,
    output wire fire
);
    reg signed [BITS-1:0] potential;
    wire signed [BITS-1:0] leak = ~(potential >>> SHIFT);
    wire signed [BITS-1:0] operand = tick ? leak : weight;
    wire signed [BITS:0] sum = {potential, 1'b1} + {operand, tick};
    wire below = potential < THRESHOLD;
    assign fire = !below;
    always @(posedge clk)
        if (rst) potential <= 0;
        else if (tick && (last || fire)) potential <= 0;
        else if (event_ || tick) potential <= sum[BITS:1];
endmodule

module lif_layer #(
    parameter INPUTS = 64,
    parameter ADDRESS = 6,
    parameter LANES = 16,
    parameter OUT = 4,
    parameter WEIGHT = 4,
    parameter BITS = 11,
    parameter IMAGE = ""
) (
    input wire clk,
    input wire rst,
    input wire [ADDRESS+1:0] i_payload,
    input wire i_valid,
    output wire i_ready,
    output wire [OUT+1:0] o_payload,
    output wire o_valid,
    input wire o_ready
);
    // Stage 1: the weight row is being read; stage 2: the lanes add it.
    reg event_q, tick_q, last_q;
    reg sending, send_last;
    reg [LANES-1:0] pending;
    wire is_tick = i_payload[ADDRESS];
    wire is_last = i_payload[ADDRESS+1];
    assign i_ready = !(is_tick && (sending || tick_q));
    wire take = i_valid && i_ready;
    wire [LANES*WEIGHT-1:0] row;
    spikeloom_rom #(.WIDTH(LANES*WEIGHT), .DEPTH(INPUTS), .ADDRESS(ADDRESS), .INIT_FILE(IMAGE)) weights (
        .clk(clk), .r_en(take && !is_tick), .r_addr(i_payload[ADDRESS-1:0]), .r_data(row));
    always @(posedge clk)
        if (rst) {event_q, tick_q, last_q} <= 0;
        else {event_q, tick_q, last_q} <= {take && !is_tick, take && is_tick, take && is_last};
    wire [LANES-1:0] fires;
    genvar n;
    generate
        for (n = 0; n < LANES; n = n + 1) begin : lane
            lif_lane #(.WEIGHT(WEIGHT), .BITS(BITS), .THRESHOLD(9 + n % 5)) neuron (
                .clk(clk), .rst(rst), .event_(event_q), .tick(tick_q), .last(last_q),
                .weight(row[n*WEIGHT +: WEIGHT]), .fire(fires[n]));
        end
    endgenerate
    // The spikes of a step leave lowest address first, then its tick.
    wire [LANES-1:0] first = pending & (~pending + 1'b1);
    reg [OUT-1:0] index;
    integer k;
    always @* begin
        index = 0;
        for (k = 0; k < LANES; k = k + 1) if (first[k]) index = index | k[OUT-1:0];
    end
    wire none = pending == 0;
    assign o_valid = sending;
    assign o_payload = none ? {send_last, 1'b1, {OUT{1'b0}}} : {2'b00, index};
    always @(posedge clk)
        if (rst) begin
            sending <= 0; send_last <= 0; pending <= 0;
        end else if (tick_q) begin
            sending <= 1; send_last <= last_q; pending <= fires;
        end else if (sending && o_ready) begin
            if (none) sending <= 0; else pending <= pending & ~first;
        end
endmodule

module spike_counter #(parameter OUT = 4, parameter LANES = 16, parameter BITS = 8) (
    input wire clk,
    input wire rst,
    input wire [OUT-1:0] address,
    input wire spike,
    output reg [BITS-1:0] count
);
    // Two cycles per update; a spike that follows at once to the same address is forwarded.
    reg busy; reg [OUT-1:0] where; reg [BITS-1:0] held; reg [OUT-1:0] held_at; reg held_valid;
    wire [BITS-1:0] stored;
    wire [BITS-1:0] next = (held_valid && held_at == where ? held : stored) + 1'b1;
    spikeloom_sram_1r1w #(.WIDTH(BITS), .DEPTH(LANES), .ADDRESS(OUT)) counts (
        .clk(clk), .r_en(spike), .r_addr(address), .r_data(stored), .w_en(busy), .w_addr(where), .w_data(next));
    always @(posedge clk)
        if (rst) begin
            busy <= 0; held_valid <= 0; held <= 0; held_at <= 0; where <= 0; count <= 0;
        end else begin
            busy <= spike; where <= address; held_valid <= busy;
            if (busy) begin held <= next; held_at <= where; count <= next; end
        end
endmodule

module lif_small #(
    parameter LANES = 16,
    parameter OUT = 4,
    parameter IMAGE = "lif_small.mem"
) (
    input wire clk,
    input wire rst,
    input wire [7:0] events_in__payload,
    input wire events_in__valid,
    output wire events_in__ready,
    output wire [OUT+1:0] events_out__payload,
    output wire events_out__valid,
    input wire events_out__ready,
    output wire [7:0] last_count
);
    lif_layer #(.LANES(LANES), .OUT(OUT), .IMAGE(IMAGE)) fc1 (
        .clk(clk), .rst(rst), .i_payload(events_in__payload), .i_valid(events_in__valid), .i_ready(events_in__ready),
        .o_payload(events_out__payload), .o_valid(events_out__valid), .o_ready(events_out__ready));
    spike_counter #(.OUT(OUT), .LANES(LANES)) counter (
        .clk(clk), .rst(rst), .address(events_out__payload[OUT-1:0]),
        .spike(events_out__valid && events_out__ready && !events_out__payload[OUT]), .count(last_count));
endmodule
