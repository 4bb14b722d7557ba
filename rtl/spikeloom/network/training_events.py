"""The models that are trained on recorded events: N-MNIST, and recurrence on the sequence task."""

from itertools import pairwise

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from .coding import CodingOptions, encode_spikes
from .datasets import EventData
from .recipes import EventRecipe, SequenceRecipe
from .sequence import SequenceTask
from .straight_through import Leaks, clamp, fire, leak, lif, on_grid, parameter, stream

__all__ = ["EventModel", "SequenceModel"]

LOGIT_SCALE = 12.5  # from output spikes per step to the logits of the cross entropy
CLASSES = 10


class EventModel:
    """Weights and the forward pass of a `EventRecipe`."""

    clip = None

    def __init__(self, recipe: EventRecipe, data: EventData, seed: int):
        self.recipe, self.leaks = recipe, Leaks(recipe)
        recordings, labels = data.half(train=True)
        self.labels = torch.from_numpy(labels)
        self.events = [(r.times_us, r.polarity, r.x, r.y) for r in recordings]
        rng, maps = stream(seed, 0), recipe.maps()
        self.weights = [
            parameter(rng, (channels, source[0], kernel, kernel), (recipe.active[0] * source[0] * kernel**2) ** -0.5)
            for channels, kernel, source in zip(recipe.channels, recipe.kernel, maps, strict=False)
        ]
        widths = (int(np.prod(maps[-1])), *recipe.hidden, CLASSES)
        for fan_in, neurons in pairwise(widths):
            self.weights.append(parameter(rng, (neurons, fan_in), 0.5 * (recipe.active[1] * fan_in) ** -0.5))

    @property
    def samples(self) -> int:
        """Recordings to train with."""
        return len(self.events)

    def integers(self) -> list[torch.Tensor]:
        """Integer weights of the layers, with the gradients of the real ones."""
        bits = self.recipe.weight_bits
        return [on_grid([w], theta, bits)[0] for w, theta in zip(self.weights, self.recipe.threshold, strict=True)]

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, int]:
        """Loss of a batch, and how many of its decisions were right."""
        labels = self.labels[torch.from_numpy(chosen)]
        counts = self.layers(self.distorted(chosen, rng))[-1].sum(dim=0)
        loss = torch.nn.functional.cross_entropy(counts * (LOGIT_SCALE / self.recipe.steps), labels)
        return loss, int((counts.argmax(dim=1) == labels).sum())

    def layers(self, spikes: torch.Tensor) -> list[torch.Tensor]:
        """Spikes [T, B, ...] of every layer for input spikes [T, B, 2, height, width]."""
        recipe, fired = self.recipe, []
        for index, (w, theta) in enumerate(zip(self.integers(), recipe.threshold, strict=True)):
            steps, batch = spikes.shape[:2]
            flat = spikes.flatten(0, 1)
            if index < len(recipe.channels):
                padding = recipe.kernel[index] // 2
                current = torch.nn.functional.conv2d(flat, w, stride=recipe.stride[index], padding=padding)
            else:
                current = flat.flatten(1) @ w.T
            spikes = lif(current.unflatten(0, (steps, batch)), self.leaks.of(index), theta, recipe.potential_bits)
            fired.append(spikes)
        return fired

    def distorted(self, chosen: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Recordings turned, stretched, sheared, shifted in space and time and thinned: [T, B, 2, height, width]."""
        recipe, batch = self.recipe, len(chosen)
        parts = [self.events[number] for number in chosen]
        sample = np.repeat(np.arange(batch), [len(part[0]) for part in parts])
        times, polarity, x, y = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        draw = 2 * rng.random((7, batch)) - 1
        turn, shear = recipe.turn * draw[0][sample], recipe.shear * draw[3][sample]
        wide, tall = (1 + recipe.stretch * draw[1:3])[:, sample]
        channels, height, width = recipe.maps()[0]
        from_x, from_y = x - (width - 1) / 2, y - (height - 1) / 2
        moved_x = from_x * np.cos(turn) * wide + from_y * (shear - np.sin(turn) * tall) + recipe.shift * draw[4][sample]
        moved_y = from_x * np.sin(turn) * wide + from_y * np.cos(turn) * tall + recipe.shift * draw[5][sample]
        # Between two pixels, chance decides: with rounding alone a turn would leave lines without events.
        chance = rng.random((3, len(sample)))
        x = np.floor(moved_x + (width - 1) / 2 + chance[0]).astype(np.int64)
        y = np.floor(moved_y + (height - 1) / 2 + chance[1]).astype(np.int64)
        step = np.floor((times + recipe.jitter_us * draw[6][sample]) / recipe.step_us).astype(np.int64)
        inside = (step >= 0) & (step < recipe.steps) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        kept = inside & (chance[2] >= (recipe.loss * rng.random(batch))[sample])
        spikes = np.zeros((recipe.steps, batch, channels, height, width), np.float32)
        spikes[step[kept], sample[kept], polarity[kept], y[kept], x[kept]] = 1
        return torch.from_numpy(spikes)


class SequenceModel:
    """Weights and the forward pass of a `SequenceRecipe`."""

    def __init__(self, recipe: SequenceRecipe, data: SequenceTask, seed: int):
        self.recipe, self.leaks, self.clip = recipe, Leaks(recipe), recipe.clip
        sequences, labels = data.half(train=True)
        coding = CodingOptions(coding="events", steps=recipe.steps, step_us=recipe.step_us)
        self.spikes = torch.from_numpy(encode_spikes(coding, sequences, data.shape[0]))
        self.labels = torch.from_numpy(labels)
        rng, hidden, inputs = stream(seed, 0), recipe.hidden, data.shape[0]
        self.weights = [
            parameter(rng, (hidden, inputs), 0.5 * inputs**-0.5),
            parameter(rng, (hidden, hidden), 0.5 * hidden**-0.5),
            parameter(rng, (data.classes, hidden), hidden**-0.5),
        ]
        if not recipe.recurrent:
            self.weights[1] = torch.zeros(hidden, hidden, requires_grad=True)

    @property
    def samples(self) -> int:
        """Sequences to train with."""
        return len(self.spikes)

    def integers(self) -> list[torch.Tensor]:
        """Integer weights from the input, of the feedback and to the read-out, with gradients of the real ones."""
        recipe = self.recipe
        arriving, feedback, leaving = self.weights
        if not recipe.recurrent:
            feedback = feedback * 0
        hidden = on_grid([arriving, feedback], recipe.threshold[0], recipe.weight_bits)
        return [*hidden, *on_grid([leaving], recipe.threshold[1], recipe.weight_bits)]

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, int]:
        """Loss of a batch, and how many of its decisions were right."""
        index = torch.from_numpy(chosen)
        labels = self.labels[index]
        _, readout = self.layers(self.spikes[index].float())
        loss = torch.nn.functional.cross_entropy(readout[-1] / self.recipe.threshold[1], labels)
        return loss, int((readout[-1].argmax(dim=1) == labels).sum())

    def layers(self, spikes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden spikes and potentials of the read-out, both [T, B, neurons], for input spikes [B, T, inputs]."""
        recipe = self.recipe
        arriving, feedback, leaving = self.integers()
        leak_v, leak_o = self.leaks.of(0), self.leaks.of(1)
        current = (spikes @ arriving.T).transpose(0, 1)
        i = v = s = torch.zeros_like(current[0])
        o, fired, values = torch.zeros(len(spikes), len(leaving)), [], []
        for given in current:
            i = clamp(leak(i, recipe.current_shift) + given + s @ feedback.T, recipe.current_bits)
            u = clamp(leak_v(v) + i, recipe.potential_bits)
            s = fire(u, recipe.threshold[0])
            v = u * (1 - s.detach())
            o = clamp(leak_o(o) + s @ leaving.T, recipe.potential_bits)
            fired.append(s)
            values.append(o)
        return torch.stack(fired), torch.stack(values)
