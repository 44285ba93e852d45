"""`python -m benchmarks [SUBJECT ...]`: run the benchmarks on one pinned thread and print the tables."""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import sys

from benchmarks import SUBJECTS, harness


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)} (default all)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each subject, instead of its own")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--quick", action="store_true", help="compare with the stored ratios; fail if worse")
    other.add_argument("--store", action="store_true", help="store the ratios that --quick compares with")
    other.add_argument("--page", action="store_true", help="only write the page of results.json again")
    return parser.parse_args(arguments)


def fault(given: argparse.Namespace) -> str | None:
    """Return a sentence about a fault in the command line; None if there is none."""
    unknown = [name for name in given.subjects if name not in SUBJECTS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], SUBJECTS, n=1)
        hint = f"did you mean {near[0]}?" if near else "there are no others"
        return f"there is no subject {unknown[0]!r} among {', '.join(SUBJECTS)}; {hint}"
    if given.subjects and (given.quick or given.store or given.page):
        return f"subjects ({', '.join(given.subjects)}) are for a run; leave them out with the other options"
    if given.rounds is not None and (given.quick or given.store or given.page):
        return f"--rounds {given.rounds} is for a run of subjects; leave it out with the other options"
    if given.rounds is not None and given.rounds < 1:
        return f"--rounds must be at least 1, not {given.rounds}"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for, and return the exit status."""
    given = parse(arguments)
    if problem := fault(given):
        print(f"benchmarks: {problem}", file=sys.stderr)
        return 2
    harness.pin_to_one_thread()
    try:
        return act(given)
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from tinygrad_mnist.cli.output import explain

        explained = (str(error), 1) if isinstance(error, harness.FileError) else explain(error)
        if explained is None:
            raise
        print(f"benchmarks: {explained[0]}", file=sys.stderr)
        return 1


def act(given: argparse.Namespace) -> int:
    """Run what a sound command line asks for, and return the exit status."""
    if given.page:
        return write_page()
    if given.quick or given.store:
        from benchmarks import quick

        if given.store:
            quick.store()
            return 0
        return 0 if quick.compare() else 1
    return measure(given.subjects or list(SUBJECTS), given.rounds)


def measure(subjects: list[str], rounds: int | None) -> int:
    """Run subjects, print their tables, keep them, and write the page."""
    from benchmarks import results

    whole = set(subjects) == set(SUBJECTS)
    if not whole:
        results.read()  # new results are put into these: a faulty file must fail now, not after measuring
    here = results.machine()
    print(f"{here['processor']}, {here['cores']} cores, {here['system']}")
    print(", ".join(f"{name} {version}" for name, version in here["versions"].items()))
    if warning := results.busy(results.load_average()):
        print(f"WARNING: {warning}")
    entries, tables, status = {}, [], 0
    for name in subjects:
        load = results.load_average()
        run = importlib.import_module(f"benchmarks.{name}").run
        turns = rounds or inspect.signature(run).parameters["rounds"].default
        try:
            measured = run(turns)
        except harness.SkippedError as error:
            print(f"\n{name} is left out: {error}")
            entries[name] = {"skipped": str(error)}
            continue
        except harness.DisagreementError as error:
            print(f"benchmarks: {name}: {error}", file=sys.stderr)
            entries[name], status = {"skipped": str(error)}, 1
            continue
        for table in measured:
            print(f"\n{results.printed(table)}", flush=True)
        tables += measured
        entries[name] = results.entry(measured, load, turns)
    print(f"\n{results.summary(tables)}")
    if problem := results.keep(entries, all_of_them=whole):
        print(f"benchmarks: {problem}", file=sys.stderr)
        return status
    return write_page() or status


def write_page() -> int:
    """Write the sections and the picture that are made of results.json."""
    from benchmarks import page

    if problem := page.write():
        print(f"benchmarks: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
