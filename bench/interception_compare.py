"""Interception, analog against digital: energy, delay, area, accuracy by node; pulse width swept; sensitivity.

With the published weights (SPIKELOOM_DATA/interception); digital rows for the libraries in SPIKELOOM_PDK.
"""

import os
from pathlib import Path

from _common import data_folder, main

from spikeloom_sim.tasks.interception.comparison import CompareOptions, compare_interception, pdk_libraries


def measure() -> dict:
    """What `spikeloom task compare-interception --weights published` writes."""
    data_folder("interception")  # where "published" is read from
    folder = os.environ.get("SPIKELOOM_PDK")
    libraries = pdk_libraries(Path(folder) if folder else None)
    return compare_interception(CompareOptions(weights="published", libraries=libraries))


if __name__ == "__main__":
    main(measure, __doc__ or "")
