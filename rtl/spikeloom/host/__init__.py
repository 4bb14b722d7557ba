"""How a system talks to a core: register map, bus slaves, event streams, and what software needs to use them."""
