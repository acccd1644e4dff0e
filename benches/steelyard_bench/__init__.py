"""`steelyard-bench`: how fast a store is on a machine, beside what the machine could do and what others do.

A **row** is one kind of work from the table of goals in `benches/README.md`. Its **contestants** do that work in the same
rounds: ours through the public API (kind ``steelyard``), the least that any program would have to do (``yardstick``:
Rust, in this process), and other programs and packages (``peer``, each with a note on what it leaves out). The unit is
**H**, the time that one thread needs for SHA-256 over the same bytes; the framework adds it to every row with a payload.

Rounds are interleaved and rotated over the contestants, after one warm-up. Every ratio is taken round by round, and the
median of these is reported. What a round writes is synced before the next is timed, and deleted only at the end of the
run. A contestant is durable, or not, or writes nothing, and tables keep these apart.

To add a row:

1. Write a function in a module of `_rows/` that takes a `Scale` and returns a `Row`. Sizes and counts go through the
   scale, so that ``--quick`` and the tests are quick.
2. `Row.material` makes what the contestants work on: `_sources.files`, `_sources.blobs`, or an async context manager
   of the row's own.
3. A contestant's `start` is an async context manager: what it does before its ``yield`` and after it is not timed; what
   it yields is a function or a coroutine function without arguments, and is. `_sources.blocking` makes one of a plain function
   ``(material, place)``, which runs on a thread; `_sources.in_store` of a coroutine function ``(store, material)``.
   What a round measures itself, it returns: ``{"stall_seconds": 0.003}``.
4. `durable` is True only if data and name survive the loss of power when the work is done; None if nothing is written.
5. `Goal` compares a contestant with another, with H, or a metric with a number. One that is out of reach says why: `reason`.
6. A row that creates many small files says so, `small_files`: it then runs on fresh file systems.
7. Put the function into `_rows.ROWS`. The command, the suites in `benches/suites` and the tests take it from there.

| Module | Holds |
| --- | --- |
| `_model` | rows, contestants, goals |
| `_rounds`, `_alone`, `_ground` | the rounds, H, where they write |
| `_disks` | fresh file systems for rows of many small files |
| `_results` | what was measured; the JSON |
| `_machine` | what the numbers depend on, and what makes them weak |
| `_run` | one run |
| `command`, `_output` | the command line |
| `_report`, `_plot`, `_text` | tables, the plot, numbers as people read them |
| `_rows`, `_sources` | the rows and what they put |
| `_peers` | other programs and packages, and the goals about them |
| `_service`, `_wire` | our server as a process, and a plain client of containerd's protocol |
| `_gateway` | a server of object storage as a process |
| `_inside` | what rows use of the library's inside |
| `_yardsticks` | the yardsticks, in Rust: `benches/yardsticks` |
| `_bare`, `_memory` | a bare thread to compare calls with; a process that tells the memory it took |
"""
