"""The report names everything that makes its numbers weak."""

from __future__ import annotations

import re
import time

import msgspec

from steelyard_bench._machine import Clock, Machine, weaknesses, weaknesses_of_rows

from .making import result


class TestMachine:
    def test_each_weakness_is_named(self, machine: Machine) -> None:
        strong = msgspec.structs.replace(
            machine, debug_build=False, filesystem="ext4", journal=True, governor="performance", load=0.0
        )
        weak = {
            "debug build": msgspec.structs.replace(strong, debug_build=True),
            "tmpfs is memory": msgspec.structs.replace(strong, filesystem="tmpfs"),
            "overlay": msgspec.structs.replace(strong, filesystem="overlay"),
            "not a local disk": msgspec.structs.replace(strong, filesystem="fuse.sshfs"),
            "no journal": msgspec.structs.replace(strong, journal=False),
            "a busy machine: load 9.00": msgspec.structs.replace(strong, load=9.0),
            "governor is powersave": msgspec.structs.replace(strong, governor="powersave"),
        }

        assert [] == weaknesses(strong, divisor=1, rounds=5)
        for words, found in weak.items():
            (said,) = weaknesses(found, divisor=1, rounds=5)
            assert words in said
        assert ["divided by 32", "only 1 round:"] == [
            re.findall(r"divided by 32|only 1 round:", said)[0] for said in weaknesses(strong, divisor=32, rounds=1)
        ]
        (said,) = weaknesses(strong, divisor=1, rounds=5, busy=0.5)
        assert "other work took 50%" in said

    def test_a_row_in_which_h_moved_is_named(self) -> None:
        steady, moved = result((), H=[1.0, 1.1]), result((), H=[1.0, 1.5])

        assert [] == weaknesses_of_rows([steady])
        assert ["row 1: H itself took between 1 and 1.5 s"] == weaknesses_of_rows([moved])

    def test_other_work_is_what_is_not_our_own(self) -> None:
        spent = iter((0.0, 1e9))
        clock = Clock(lambda: next(spent))
        begun = time.monotonic()
        while time.monotonic() - begun < 0.03:  # the kernel counts in steps of 10 ms
            pass

        assert 0.0 == clock.others()

    def test_the_machine_is_described(self, machine: Machine) -> None:
        assert machine.cores > 0
        assert machine.memory > 1 << 20
        assert machine.filesystem
        assert machine.python.startswith("CPython")
