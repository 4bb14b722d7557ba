"""Interception, analog against digital: energy, delay, area, accuracy by node; pulse width swept; sensitivity.

With the published weights (SPIKELOOM_DATA/interception); digital rows for the kits that are found.
"""

from _common import data_folder, main

from spikeloom_sim.tasks.interception.comparison import CompareOptions, compare_interception, pdk_libraries


def measure() -> dict:
    """What `spikeloom task compare-interception --weights published` writes."""
    data_folder("interception")  # where "published" is read from
    return compare_interception(CompareOptions(weights="published", libraries=pdk_libraries()))


if __name__ == "__main__":
    main(measure, __doc__ or "")
