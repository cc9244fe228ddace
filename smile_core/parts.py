r"""Parts of the method that can be left out, one at a time, to see what each is worth.

`Settings(without="branches")` unmixes without that part; `ablate` of `smile_core.studies.ablation`
and its notebook measure what follows. What takes the place of a part is the plainest thing that
works.
"""

__all__ = ["PARTS"]

#: What is done instead of each part.
PARTS = {
    "shared encoder": "each task has a stem and blocks of its own",
    "branches": "both heads read the shared features",
    "anchoring": "the network starts from uniform abundances, not from lifted ones",
    "brightness": "the unweighted operator D in training and lifting",
    "rehearsal": "the correction is trusted wholly, and always",
    "lifting": "bicubic interpolation, to start from",
    "network": "no training: lifting alone",
    "accessible solve": "the lifted and corrected abundances, as they are",
    "restart choice": "the restart of the smallest misfit, whatever its volume",
}
