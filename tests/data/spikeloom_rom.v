// Read-only memory, synchronous read: r_data holds while r_en is 0. Stands in for the file that an export writes.
module spikeloom_rom #(
    parameter WIDTH = 8,
    parameter DEPTH = 16,
    parameter ADDRESS = 4,
    parameter INIT_FILE = ""
) (
    input wire clk,
    input wire r_en,
    input wire [ADDRESS-1:0] r_addr,
    output reg [WIDTH-1:0] r_data
);
    (* ram_style = "block", rom_style = "block", syn_ramstyle = "block_ram", syn_romstyle = "EBR" *)
    reg [WIDTH-1:0] rows [0:DEPTH-1];
    initial if (INIT_FILE != "") $readmemh(INIT_FILE, rows);
    always @(posedge clk) if (r_en) r_data <= rows[r_addr];
endmodule
