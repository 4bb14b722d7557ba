"""Walks over graphs given as {node: the nodes that it leads to}; iterative, since graphs may be deep."""

from collections.abc import Iterable, Mapping

__all__ = ["cycle", "depth_first", "reach"]


def reach(start: str, edges: Mapping[str, list[str]]) -> set[str]:
    """The nodes that `start` leads to, itself among them."""
    seen, waiting = {start}, [start]
    while waiting:
        for other in edges[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def depth_first(starts: Iterable[str], edges: Mapping[str, list[str]]) -> list[str]:
    """All nodes, each before those it leads to but for the edges that close a loop. Iterative: graphs may be deep."""
    done: list[str] = []
    seen: set[str] = set()
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(edges[start]))]
        while stack:
            key, rest = stack[-1]
            successor = next((other for other in rest if other not in seen), None)
            if successor is None:
                stack.pop()
                done.append(key)
            else:
                seen.add(successor)
                stack.append((successor, iter(edges[successor])))
    return done[::-1]


def cycle(following: Mapping[str, list[str]]) -> list[str] | None:
    """Names along one cycle, its first node repeated at the end, or None. Iterative: graphs may be deep."""
    done: set[str] = set()
    for start in following:
        if start in done:
            continue
        path, position, stack = [start], {start: 0}, [(start, iter(following[start]))]
        while stack:
            key, rest = stack[-1]
            successor = next(rest, None)
            if successor is None:
                stack.pop()
                path.pop()
                del position[key]
                done.add(key)
            elif successor in position:
                return [*path[position[successor] :], successor]
            elif successor not in done:
                position[successor] = len(path)
                path.append(successor)
                stack.append((successor, iter(following[successor])))
    return None
