r"""Studies: the protocol of the experiments, what each compares, and how its tables are drawn."""
