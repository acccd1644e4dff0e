"""The order of the programs in a round, the part that is timed, and the files that remain."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from steelyard_bench._ground import LARGE, Ground, check_space, open_ground
from steelyard_bench._model import Goal, H, Work
from steelyard_bench._report import table
from steelyard_bench._rounds import Step, measure, order

from .making import contestant, doing, names_in, row_of, sizes, spend


class TestOrder:
    def test_each_contestant_takes_one_turn_in_every_round(self) -> None:
        assert all(sorted(order("abcd", number)) == list("abcd") for number in range(9))

    def test_each_contestant_is_first_and_last_equally_often(self) -> None:
        rounds = [order("abcd", number) for number in range(8)]

        assert [2, 2, 2, 2] == [sum(turns[0] == name for turns in rounds) for name in "abcd"]
        assert [2, 2, 2, 2] == [sum(turns[-1] == name for turns in rounds) for name in "abcd"]

    def test_no_contestant_always_comes_after_the_same_one(self) -> None:
        before = {
            pair for number in range(8) for pair in zip(order("abc", number), order("abc", number)[1:], strict=False)
        }

        assert {("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("c", "a"), ("a", "c")} == before


@pytest.mark.anyio
class TestRounds:
    async def test_a_round_is_prepared_timed_and_tidied_up_in_a_fresh_place(self, memory: Path) -> None:
        events: list[str] = []
        places: list[Path] = []

        @asynccontextmanager
        async def start(_material: None, place: Path) -> AsyncIterator[Work]:
            places.append(place)
            assert [] == names_in(place)
            events.append("prepare")
            spend(0.05)

            async def work() -> dict[str, float]:
                events.append("work")
                return {"stall_seconds": 1.0}

            yield work
            events.append("tidy up")
            spend(0.05)

        found = await measure(row_of(contestant("ours", start)), Ground(memory), rounds=2)

        assert ["prepare", "work", "tidy up"] * 3 == events
        assert 3 == len(set(places))
        ours = found.find("ours")
        assert [1, 2] == [sample.round for sample in ours.samples]
        assert all(sample.cpu_seconds < 0.05 and sample.metrics == {"stall_seconds": 1.0} for sample in ours.samples)
        assert [1, 2] == [sample.round for sample in found.find(H).samples]

    async def test_processor_time_of_threads_and_programs_counts(self, memory: Path) -> None:
        program = ["python3", "-c", "import time\nwhile time.process_time() < 0.05: pass"]

        def run_program() -> None:
            subprocess.run(program, check=True)

        row = row_of(contestant("thread", doing(lambda: spend(0.05))), contestant("program", doing(run_program)))

        found = await measure(row, Ground(memory), rounds=1)

        assert 0.05 <= found.find("thread").samples[0].cpu_seconds
        assert 0.05 <= found.find("program").samples[0].cpu_seconds

    async def test_one_that_does_a_part_is_scaled_up_and_one_that_times_itself_is_believed(self, memory: Path) -> None:
        part = contestant("part", doing(lambda: {"seconds": 0.5}), share=0.25)

        found = await measure(row_of(part), Ground(memory), rounds=1)

        assert [2.0] == [sample.seconds for sample in found.find("part").samples]

    async def test_who_is_missing_fails_or_has_had_enough_takes_no_part(self, memory: Path) -> None:
        turns: list[Step] = []

        def fail() -> None:
            raise ValueError("no luck")

        row = row_of(
            contestant("ours"),
            contestant("slow", most_rounds=1),
            contestant("broken", doing(fail), kind="peer"),
            contestant("absent", missing=lambda: "pip install it", kind="peer"),
        )

        found = await measure(row, Ground(memory), rounds=3, watch=turns.append)

        assert {"H": 3, "ours": 3, "slow": 1, "broken": 0, "absent": 0} == {
            entry.name: len(entry.samples) for entry in found.contestants
        }
        assert "ValueError: no luck" == found.find("broken").failed
        assert "pip install it" == found.find("absent").missing
        assert ["broken"] == [step.contestant for step in turns if step.contestant in {"broken", "absent"}]
        assert [None] == [step.seconds_left for step in turns if step.round == 0][:1]
        assert turns[-1].seconds_left is not None
        text = table(found)
        assert "FAILED: ValueError: no luck" in text
        assert "pip install it" in text

    async def test_peers_can_be_left_out(self, memory: Path) -> None:
        goals = (Goal(contestant="ours", at_most=1.0, to="theirs"), Goal(contestant="ours", at_most=1.0))
        row = row_of(contestant("ours"), contestant("theirs", kind="peer"), goals=goals)

        found = await measure(row, Ground(memory), rounds=1, peers=False)

        assert [H, "ours"] == [entry.name for entry in found.contestants]
        assert [H] == [goal.to for goal in found.goals]


@pytest.mark.anyio
class TestGround:
    async def test_large_files_are_cut_between_rounds_and_nothing_is_deleted(self, tmp_path: Path) -> None:
        async with open_ground(tmp_path) as ground:
            place = await ground.fresh("round")
            (place / "large").write_bytes(bytes(LARGE + 1))
            (place / "large").chmod(0o444)
            (place / "small").write_bytes(bytes(100))

            await ground.spent(place)

            assert {"large": 0, "small": 100} == sizes(place)
        assert [] == names_in(tmp_path)

    async def test_a_full_disk_is_reported_before_anything_is_written(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match=r"the rounds need \d+ MiB, \d+ MiB are free") as full:
            check_space(tmp_path, large=1 << 60, small=0)
        with pytest.raises(OSError, match="the rounds need"):
            check_space(tmp_path, large=0, small=1 << 50)
        check_space(tmp_path, large=1, small=1)

        assert str(tmp_path) == full.value.filename
