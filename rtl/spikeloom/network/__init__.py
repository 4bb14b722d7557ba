"""What is computed: the integer network, its import, quantisation, reference and input coding. No HDL here."""
