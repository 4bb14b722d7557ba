"""Graphs that snnTorch, Norse and sinabs write: the imported network fires as the framework itself does.

Spike for spike and before quantisation. Frameworks compute in single precision: a seed whose potentials pass very near
a threshold would be an unlucky one, none below is. What the exporters do differently from NIR is in docs/import.md, and
mended here as it says there.
"""

import numpy as np
import pytest

from spikeloom.network.float_network import simulate_float
from spikeloom.network.nir_import import import_nir

nir = pytest.importorskip("nir")
torch = pytest.importorskip("torch")
pytest.importorskip("nirtorch")

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs

T = 60


def spikes_of(shape, *, density=0.3, seed=0, samples=2):
    return np.random.default_rng(seed).random((samples, T, *shape)) < density


def equal(network, spikes, expected):
    """`expected`, name of the layer -> spikes [B, T, ...] of the framework, are those of the imported network."""
    trace = simulate_float(network, spikes.reshape(*spikes.shape[:2], -1))
    fired = dict(zip([layer.name for layer in network.layers], trace.spikes, strict=True))
    assert fired.keys() == expected.keys()
    for name, answer in expected.items():
        np.testing.assert_array_equal(fired[name], np.reshape(answer, fired[name].shape), err_msg=name)
        assert 0.02 < fired[name].mean() < 0.9, name


def recorded(modules, run, spikes):
    """What each named module sends in every step, [B, T, ...]; `run` computes the step of one sample."""
    rows = {name: [] for name in modules}

    def note(name):
        def hook(_module, _arguments, output):
            rows[name].append((output[0] if isinstance(output, tuple) else output).detach().numpy().reshape(-1))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    with torch.no_grad():
        for sample in spikes:
            run(torch.tensor(sample, dtype=torch.float32))
    for hook in hooks:
        hook.remove()
    return {name: np.reshape(values, (len(spikes), T, -1)) for name, values in rows.items()}


# --- snnTorch --------------------------------------------------------------------------------------------------------


def snntorch_steps(model, modules):
    def run(sample):
        for module in modules:
            for reset in ("reset_mem", "reset_hidden"):
                if hasattr(module, reset):
                    getattr(module, reset)()
                    break
        for row in sample:
            model(row[None])

    return run


def leaky(snn, kind, size, **given):
    """Parameters as one value per neuron: for a single one the exporter writes no shape that NIR accepts."""
    full = {
        key: torch.full(size if isinstance(size, tuple) else (size,), value) if isinstance(value, float) else value
        for key, value in given.items()
    }
    return getattr(snn, kind)(init_hidden=True, **full)


@pytest.mark.parametrize(("mechanism", "reset"), [("subtract", "delayed_subtract"), ("zero", "delayed_zero")])
def test_snntorch_convolution(tmp_path, mechanism, reset):
    snn = pytest.importorskip("snntorch")
    export = pytest.importorskip("snntorch.export_nir")
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, stride=1, padding=1),
        leaky(snn, "Leaky", (4, 10, 10), beta=0.85, threshold=0.4, reset_mechanism=mechanism),
        torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(4, 6, 3, bias=False),
        leaky(snn, "Leaky", (6, 3, 3), beta=0.8, threshold=0.15, reset_mechanism=mechanism),
        torch.nn.Flatten(),
        torch.nn.Linear(54, 5),
        leaky(snn, "Leaky", 5, beta=0.9, threshold=0.3, reset_mechanism=mechanism),
    )
    graph = export.export_to_nir(model, torch.rand(1, 2, 10, 10), ignore_dims=[0])
    network = import_nir(graph, dt=1e-4, reset=reset)
    assert [layer.shape for layer in network.layers] == [(4, 10, 10), (6, 3, 3), (5,)]
    spikes = spikes_of((2, 10, 10))
    neurons = {network.layers[n].name: model[i] for n, i in enumerate((1, 4, 7))}
    equal(network, spikes, recorded(neurons, snntorch_steps(model, neurons.values()), spikes))


@pytest.mark.parametrize("kind", ["Synaptic", "RLeaky", "RSynaptic"])
def test_snntorch_currents_and_loops(tmp_path, kind):
    snn = pytest.importorskip("snntorch")
    export = pytest.importorskip("snntorch.export_nir")
    torch.manual_seed(2)
    given = {"beta": 0.85, "threshold": 0.5}
    if kind.endswith("Synaptic"):
        given["alpha"] = 0.7
    if kind.startswith("R"):
        given |= {"linear_features": 12, "all_to_all": True}
    hidden = leaky(snn, kind, 12, **given)
    if kind.startswith("R"):
        hidden.recurrent = torch.nn.Linear(12, 12, bias=False)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 12),
        hidden,
        torch.nn.Linear(12, 4, bias=False),
        leaky(snn, "Leaky", 4, beta=0.9, threshold=0.3),
    )
    path = tmp_path / "net.nir"
    nir.write(str(path), export.export_to_nir(model, torch.rand(1, 8), ignore_dims=[0]))
    network = import_nir(path, dt=1e-4, reset="delayed_subtract")
    assert network.is_recurrent == kind.startswith("R")
    spikes = spikes_of((8,))
    neurons = {network.layers[0].name: hidden, network.layers[1].name: model[3]}
    equal(network, spikes, recorded(neurons, snntorch_steps(model, neurons.values()), spikes))


# --- Norse -----------------------------------------------------------------------------------------------------------


def norse_steps(model):
    def run(sample):
        state = None
        for row in sample:
            _, state = model(row[None], state)

    return run


def norse_graph(model, sample):
    """Time constants in seconds; a current that a spike moves by its whole weight."""
    export = pytest.importorskip("norse.torch.utils.export_nir")
    return export.to_nir(model, sample, dt=1)


def test_norse_convolution():
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(3)
    first = norse.LIFBoxCell(norse.LIFBoxParameters(v_th=torch.tensor(0.004)))
    second = norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_th=torch.tensor(0.015)))
    model = norse.SequentialState(
        torch.nn.Conv2d(1, 3, 3, stride=2, padding=1), first, torch.nn.Conv2d(3, 4, 3, groups=1), second
    )
    network = import_nir(norse_graph(model, torch.rand(1, 1, 9, 9)), dt=1e-3, reset="zero")
    assert [layer.shape for layer in network.layers] == [(3, 5, 5), (4, 3, 3)]
    spikes = spikes_of((1, 9, 9))
    neurons = {network.layers[0].name: first, network.layers[1].name: second}
    equal(network, spikes, recorded(neurons, norse_steps(model), spikes))


def test_norse_currents():
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(4)
    first = norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.3)))
    second = norse.LIFCell(norse.LIFParameters(tau_syn_inv=torch.tensor(100.0), v_th=torch.tensor(0.2)))
    model = norse.SequentialState(torch.nn.Linear(9, 12), first, torch.nn.Linear(12, 5), second)
    network = import_nir(norse_graph(model, torch.rand(1, 9)), dt=1e-3, reset="zero", synapse="jump")
    assert [layer.current_decay for layer in network.layers] == pytest.approx([0.8, 0.9])
    spikes = spikes_of((9,))
    neurons = {network.layers[0].name: first, network.layers[1].name: second}
    equal(network, spikes, recorded(neurons, norse_steps(model), spikes))


# --- sinabs ----------------------------------------------------------------------------------------------------------


def sinabs_steps(model):
    """sinabs takes all steps of an input at once, as its batch."""

    def run(sample):
        for module in model:
            if hasattr(module, "reset_states"):
                module.reset_states()
        model(sample)

    return run


@pytest.mark.parametrize("kind", ["IAFSqueeze", "LIFSqueeze"])
def test_sinabs(kind):
    layers = pytest.importorskip("sinabs.layers")
    activation = pytest.importorskip("sinabs.activation")
    export = pytest.importorskip("sinabs.nir")
    torch.manual_seed(5)

    def neurons(threshold):
        given = {"tau_mem": 8.0} if kind == "LIFSqueeze" else {}
        return getattr(layers, kind)(
            batch_size=1, spike_fn=activation.SingleSpike, spike_threshold=torch.tensor(threshold), **given
        )

    thresholds = (0.1, 0.05, 0.02) if kind == "LIFSqueeze" else (0.8, 0.7, 0.9)
    first, second, third = (neurons(threshold) for threshold in thresholds)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), first, layers.SumPool2d(2), torch.nn.Conv2d(4, 8, 3, bias=False), second,
        torch.nn.Flatten(), torch.nn.Linear(72, 6, bias=False), third,
    )  # fmt: skip
    graph = export.to_nir(model, torch.rand(T, 2, 10, 10))
    network = import_nir(graph, dt=1.0, reset="subtract", integration="exponential")
    spikes = spikes_of((2, 10, 10), density=0.15)
    named = {layer.name: module for layer, module in zip(network.layers, (first, second, third), strict=True)}
    equal(network, spikes, recorded(named, sinabs_steps(model), spikes))
