"""What is computed: the integer network, its import, quantisation, reference simulation and input coding. No HDL here."""
