"""The crossbar core: digital control of a memristor array with analog integrate-and-fire neurons."""
