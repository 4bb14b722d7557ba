"""The interception task written again from its description: one pursuit at a time, plain Python, slow.

Nothing is shared with `spikeloom.network.interception`; paths of prey and weights are given as lists.
"""

import math


def bankers(x):
    """Round to the nearest integer, ties to the even one, without using `round`."""
    floor = math.floor(x)
    rest = x - floor
    if rest > 0.5 or (rest == 0.5 and floor % 2):
        return floor + 1
    return floor


def spike_steps(x):
    """The steps with a spike, of one value."""
    n = bankers(25 * x)
    if n == 0:
        return []
    interval = max(1, bankers(49 / (n + 1)))
    return [k * interval for k in range(1, n + 1) if k * interval < 50]


def answer(values, first, second, threshold):
    """Number of output spikes: weights first[j][i], second[j]."""
    trains = [set(spike_steps(x)) for x in values]
    v, u, count = [0.0] * len(first), 0.0, 0
    for t in range(50):
        for j, weights in enumerate(first):
            for i, train in enumerate(trains):
                if t in train:
                    v[j] += weights[i]
        for j, weight in enumerate(second):
            if v[j] >= threshold:
                v[j] = 0.0
                u += weight
        if u >= threshold:
            u = 0.0
            count += 1
    return count


def turn(angle):
    """An angle in degrees in [-180, 180)."""
    while angle >= 180:
        angle -= 360
    while angle < -180:
        angle += 360
    return angle


def clamp(x):
    return min(max(x, 0.0), 1.0)


def pursue(prey, controller):
    """One pursuit; `controller(values)` gives out. Returns (capture step or 0, values seen, answers, path)."""
    x = y = 0.0
    heading = math.degrees(math.atan2(prey[0][1], prey[0][0]))
    before, theta1 = math.dist(prey[0], (x, y)), 0.0
    seen, answers, path = [], [], [(x, y)]
    for step in range(1, 50):
        x += 1.3 * math.cos(math.radians(heading))
        y += 1.3 * math.sin(math.radians(heading))
        path.append((x, y))
        after = math.dist(prey[step], (x, y))
        if after <= 1.0:
            return step, seen, answers, path
        sight = math.degrees(math.atan2(prey[step][1] - y, prey[step][0] - x))
        theta2 = turn(heading - sight)
        values = [clamp(before / 10), clamp(after / 10), clamp((theta1 + 60) / 120), clamp((theta2 + 100) / 200)]
        out = controller(values)
        seen.append(values)
        answers.append(out)
        theta1 = 120 * out - 60  # new heading - line of sight
        heading, before = sight + theta1, after
    return 0, seen, answers, path
