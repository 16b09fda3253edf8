"""How far the presets are from the libraries that they are named after, on real speech."""

import interleave  # first: it sets the limits on threads
from libraries import PEERS
from pairs import PAIRS, distance


def main() -> None:
    options = interleave.arguments(__doc__, rounds=1)
    signals, what = interleave.utterances(8)
    lines = []
    for name, (needs, make) in PEERS.items():
        if interleave.present(needs):
            pair = PAIRS[name]
            found = distance(pair.ours, make(), signals)
            cells = (f"{value:.1e} (≤ {bar:.0e})" for value, bar in zip(found, pair.bar, strict=True))
            lines.append([name, needs.split()[0], *cells])
    header = ["recipe", "library", "greatest", "99.99th percentile", "mean"]
    text = f"|ours - theirs| over all features of {what}, and the bar of the test (`pytest tests/test_parity.py`)."
    modules = sorted({module for needs, _ in PEERS.values() for module in needs.split()})
    interleave.report(__file__, "Parity", [text, interleave.table(header, lines)], modules, options.output)


if __name__ == "__main__":
    main()
