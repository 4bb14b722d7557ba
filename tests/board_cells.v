// What the pins and clocks of the boards are made of, as far as a simulation of their tops needs it; written from the
// data sheets: iCE40 SBT technology library, Lattice TN1262 (sysIO and PLL of ECP5), Xilinx UG953.
`timescale 1ns / 1ps

// ---- iCE40: PIN_TYPE[5:2] = 1010 drives while enabled, PIN_TYPE[1:0] = 01 reads the pin
module SB_IO #(parameter [5:0] PIN_TYPE = 6'h00, parameter IO_STANDARD = "SB_LVCMOS") (
  inout PACKAGE_PIN, input OUTPUT_ENABLE, input D_OUT_0, output D_IN_0
);
  generate
    if (PIN_TYPE[5:2] == 4'b1010) assign PACKAGE_PIN = OUTPUT_ENABLE ? D_OUT_0 : 1'bz;
    else if (PIN_TYPE[5:2] != 4'b0000) initial $fatal(1, "SB_IO: no model of PIN_TYPE %b", PIN_TYPE);
  endgenerate
  assign D_IN_0 = PIN_TYPE[1:0] == 2'b01 ? PACKAGE_PIN : 1'bx;
endmodule

module SB_GB_IO #(parameter [5:0] PIN_TYPE = 6'h00, parameter IO_STANDARD = "SB_LVCMOS") (
  inout PACKAGE_PIN, output GLOBAL_BUFFER_OUTPUT
);
  assign GLOBAL_BUFFER_OUTPUT = PACKAGE_PIN;
endmodule

// ---- ECP5
module IB (input I, output O);
  assign O = I;
endmodule

module OBZ (input I, input T, output O);
  assign O = T ? 1'bz : I;
endmodule

// The feedback is the output itself: f(CLKOP) = f(CLKI) CLKFB_DIV / CLKI_DIV; here CLKFB_DIV edges are put into a
// period that was measured, and LOCK rises after four of them.
module EHXPLLL #(
  parameter CLKI_DIV = 1, parameter CLKFB_DIV = 1, parameter CLKOP_DIV = 8, parameter CLKOP_CPHASE = 0,
  parameter CLKOP_FPHASE = 0, parameter CLKOP_ENABLE = "ENABLED", parameter FEEDBK_PATH = "CLKOP",
  parameter DPHASE_SOURCE = "DISABLED", parameter PLLRST_ENA = "DISABLED", parameter INTFB_WAKE = "DISABLED",
  parameter STDBY_ENABLE = "DISABLED", parameter OUTDIVIDER_MUXA = "DIVA", parameter OUTDIVIDER_MUXB = "DIVB",
  parameter OUTDIVIDER_MUXC = "DIVC", parameter OUTDIVIDER_MUXD = "DIVD"
) (
  input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC, ENCLKOP,
  output reg CLKOP, output LOCK
);
  real earlier, half;
  integer seen, n;
  initial begin
    CLKOP = 0; earlier = 0; half = 0; seen = 0;
    if (CLKI_DIV != 1 || FEEDBK_PATH != "CLKOP") $fatal(1, "EHXPLLL: no model of these dividers");
  end
  assign LOCK = seen > 4;
  always @(posedge CLKI) begin
    if (seen > 0) half = ($realtime - earlier) / (2.0 * CLKFB_DIV);
    earlier = $realtime;
    if (seen < 5) seen = seen + 1;
  end
  always @(posedge CLKI) if (seen > 1) begin  // the block before may run first or last: half is of a whole period
    for (n = 0; n < CLKFB_DIV; n = n + 1) begin
      CLKOP = 1; #(half);
      CLKOP = 0; if (n + 1 < CLKFB_DIV) #(half);
    end
  end
endmodule

// ---- Xilinx 7 series
module IBUF (input I, output O);
  assign O = I;
endmodule

module OBUFT (input I, input T, output O);
  assign O = T ? 1'bz : I;
endmodule

module STARTUPE2 (output reg EOS);
  initial begin EOS = 0; #100 EOS = 1; end
endmodule

module BUFGCTRL #(parameter SIM_DEVICE = "7SERIES") (
  input CE0, CE1, I0, I1, IGNORE0, IGNORE1, S0, S1, output O
);
  reg on;  // CE0 is taken while the clock is low
  initial on = 0;
  always @(I0, CE0) if (!I0) on = CE0 & S0;
  assign O = I0 & on;
endmodule

module FDPE #(parameter [0:0] INIT = 1'b1) (input C, CE, D, PRE, output reg Q);
  initial Q = INIT;
  always @(posedge C, posedge PRE) if (PRE) Q <= 1'b1; else if (CE) Q <= D;
endmodule
