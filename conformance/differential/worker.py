"""One of the two processes: plays episodes with the implementation that its environment chose.

Started by `twins`, spoken to in JSON lines as an adapter of the suite is (`cra.conformance.process`). `digests` answers a
generated episode with a few bytes for each case and for its end; `answers` plays an episode that is given, and shows all it
came to; `open`, `play` and `close` do so step by step.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from typing import Any

import cra
from conformance.differential.answers import digest, shown
from conformance.differential.episode import Episode
from conformance.differential.generators import GENERATORS
from conformance.differential.world import Player, use_small_rings
from cra import hotpath


def handshake(_: Any) -> dict[str, Any]:
    """Which implementation this is, and how many names of `cra.hotpath` are compiled."""
    compiled = [
        name for name in hotpath.__all__ if getattr(getattr(hotpath, name), "__module__", "") == "cra._speedups"
    ]
    return {
        "implementation": cra.implementation(),
        "version": cra.__version__,
        "compiled": compiled,
        "process": os.getpid(),
    }


def digests(question: Any) -> str:
    """The digests of the cases of a generated episode, and of its end, in hex, one behind the other."""
    episode = GENERATORS[question["generator"]].make(question["seed"], question["number"], question["size"])
    player = Player(episode.options)
    found = [digest([player.play(operation) for operation in case]) for case in episode.cases]
    found.append(digest(*player.close()))
    return b"".join(found).hex()


def answers(question: Any) -> list[str]:
    """What each operation of an episode came to, one by one, and its end."""
    episode = Episode.from_json(question)
    player = Player(episode.options)
    found = [shown(player.play(operation)) for operation in episode.operations()]
    return [*found, shown(player.close())]


class Stepwise:
    """One episode that is not known beforehand: opened, played operation by operation, closed."""

    def __init__(self) -> None:
        self._player: Player | None = None

    def open(self, options: Any) -> None:
        """Begin; what was not closed before is."""
        if self._player is not None:
            self.close(None)
        self._player = Player(options)

    def play(self, operation: Any) -> str:
        """What an operation comes to."""
        assert self._player is not None
        return shown(self._player.play(operation))

    def close(self, _: Any) -> str:
        """What is left to say."""
        assert self._player is not None
        player, self._player = self._player, None
        return shown(player.close())


_stepwise = Stepwise()
_OPERATIONS = {
    "handshake": handshake,
    "digests": digests,
    "answers": answers,
    "open": _stepwise.open,
    "play": _stepwise.play,
    "close": _stepwise.close,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutant", help="break this process first; conformance/mutants has the names")
    options = parser.parse_args()
    if options.mutant:
        from conformance.mutants import apply

        apply(options.mutant)
    use_small_rings()
    gc.freeze()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = {"result": _OPERATIONS[message["operation"]](message["input"])}
        except Exception as error:
            answer = {"failure": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps({"id": message["id"], **answer}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
