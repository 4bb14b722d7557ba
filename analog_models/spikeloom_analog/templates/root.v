  function signed [63:0] root(input signed [63:0] value);  // floor(sqrt(value))
    reg signed [63:0] bit_, rest, result;
    integer i;
    begin
      rest = value;
      result = 0;
      bit_ = 64'sd1 <<< 62;
      for (i = 0; i < 32; i = i + 1) begin
        if (rest >= result + bit_) begin
          rest = rest - (result + bit_);
          result = (result >>> 1) + bit_;
        end else result = result >>> 1;
        bit_ = bit_ >>> 2;
      end
      root = result;
    end
  endfunction
