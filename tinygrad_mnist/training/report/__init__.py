"""Reports on trainings that are over: the report of a run, runs side by side, the list of runs.

A run's directory has all that is needed. `read_run` reads it, `write_report` makes its page, and
`write_comparison` one of several; `list_runs` looks at all of them, and `mcnemar` tests two.

Examples
--------
>>> from tinygrad_mnist.training import report
>>> print(f"{report.mcnemar(6, 16):.4f}")
0.0525
"""

from tinygrad_mnist.training.report.listing import RunRow, list_runs
from tinygrad_mnist.training.report.statistics import holm, mcnemar
from tinygrad_mnist.training.report.trained_run import TrainedRun, data_hashes, read_run
from tinygrad_mnist.training.report.write import write_comparison, write_report

__all__ = [
    "RunRow",
    "TrainedRun",
    "data_hashes",
    "holm",
    "list_runs",
    "mcnemar",
    "read_run",
    "write_comparison",
    "write_report",
]
