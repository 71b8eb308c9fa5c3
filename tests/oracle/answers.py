"""How answers are written, and how far two sets of them lie apart."""


def figures(row):
    """Seven digits, a little fewer than an f32 has."""
    return [float(f"{float(v):.7g}") for v in row]


def far(some, others):
    """Largest difference of any case, of the largest number of all: a lone logit may be near zero by chance."""
    pairs = [(a.double(), b.double()) for a, b in zip(some, others)]
    return float(max((a - b).abs().max() for a, b in pairs) / max(b.abs().max() for _, b in pairs))
