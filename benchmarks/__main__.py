"""`python -m benchmarks`: run all benchmarks on one pinned thread and print what they compared."""

from benchmarks import harness

harness.pin_to_one_thread()

from benchmarks import training_step  # noqa: E402

print(harness.machine())
training_step.run()
