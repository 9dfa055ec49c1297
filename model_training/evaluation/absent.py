"""No-reference measures that need packages and weights of others, and why each is not taken."""

from importlib.util import find_spec

LEARNED = ("NIMA", "PaQ-2-PiQ", "DBCNN", "MUSIQ", "HyperIQA")
"""The learned measures of the paper's table III."""

PACKAGE = "pyiqa"


def absent_measures() -> dict[str, str]:
    """The learned measures of the paper's table III, each with the reason why it is absent."""
    if find_spec(PACKAGE) is None:
        reason = f"the package {PACKAGE} is not installed, and its weights are neither ours nor at hand offline"
    else:
        reason = f"{PACKAGE} is installed, but its weights come from the network, which an evaluation does not use"
    return dict.fromkeys(LEARNED, reason)
