"""The packaged networks are the files that their index describes, and come back as what was measured."""

import hashlib

import pytest

from spikeloom.errors import InputError
from spikeloom.network import zoo
from spikeloom.network.quantise import QuantiseOptions, quantise


def test_digits_is_there():
    assert "digits" in zoo.names()
    assert zoo.names() == tuple(sorted(zoo.names()))


@pytest.mark.parametrize("name", zoo.names())
def test_network(name):
    settings = zoo.settings(name)
    assert hashlib.sha256(zoo.path(name).read_bytes()).hexdigest() == settings["sha256"]
    network = zoo.load(name)
    assert network.name == name
    assert network.dt == settings["dt"]
    options = QuantiseOptions(
        weight_bits=settings["weight_bits"],
        potential_bits=settings["potential_bits"],
        current_bits=settings.get("current_bits", "auto"),
        leak=settings["leak"],
    )
    integer, report = quantise(network, options)
    assert integer.content_hash() == settings["network"]  # that of the network whose accuracy the index states
    assert all(layer.on_grid for layer in report.layers)


def test_settings_are_a_copy():
    zoo.settings("digits")["dt"] = 0
    assert zoo.settings("digits")["dt"] > 0


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError) as error:
        zoo.path("digit")
    assert str(error.value) == (f"zoo network 'digit': accepted are {', '.join(zoo.names())}; did you mean 'digits'?")
