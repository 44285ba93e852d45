"""Reports on trainings that are over: the report of a run, runs side by side, the list of runs.

A run's directory has all that is needed: `finished_run` reads it, `sections` draws it, `page` writes it down.
"""
