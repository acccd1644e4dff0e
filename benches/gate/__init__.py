"""The gate: what repeats from run to run, held against a record, so that a change that costs something is seen.

    PYTHONPATH=benches python -m gate                 # or .ci/run gate: fails if a value is more than 20 % above its record
    PYTHONPATH=benches python -m gate --record        # or .ci/run gate --record: write a new record
    PYTHONPATH=benches python -m gate --spread 10     # how well each value repeats, as the README tells

Values are **counts** (system calls, bytes, wakes of the event loop), which hold for every machine, and **ratios** of
processor times, which hold for one model of processor and one Python. What is above its record is measured again, and
fails only if it stays there.

| Module | Holds |
| --- | --- |
| `jobs` | the work that is counted |
| `calls` | what strace wrote, as counts |
| `ratios` | the pairs of contestants of `steelyard-bench` whose ratio is held |
| `child` | the program that does one job or one row, on two processors |
| `measure` | runs it, with strace where that is to be had |
| `record` | `benches/gate.json`, comparison, table |
"""
