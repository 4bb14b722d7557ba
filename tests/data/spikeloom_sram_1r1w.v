// One read and one write port, synchronous read, old data on a read during write.
module spikeloom_sram_1r1w #(
    parameter WIDTH = 8,
    parameter DEPTH = 16,
    parameter ADDRESS = 4,
    parameter INIT_FILE = ""
) (
    input wire clk,
    input wire r_en,
    input wire [ADDRESS-1:0] r_addr,
    output reg [WIDTH-1:0] r_data,
    input wire w_en,
    input wire [ADDRESS-1:0] w_addr,
    input wire [WIDTH-1:0] w_data
);
    (* ram_style = "block", syn_ramstyle = "block_ram" *)
    reg [WIDTH-1:0] rows [0:DEPTH-1];
    initial if (INIT_FILE != "") $readmemh(INIT_FILE, rows);
    always @(posedge clk) begin
        if (r_en) r_data <= rows[r_addr];
        if (w_en) rows[w_addr] <= w_data;
    end
endmodule
