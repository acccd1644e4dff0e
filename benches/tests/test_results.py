"""Results of known times: ratios, goals, tables, the plot."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import msgspec
import pytest

from steelyard_bench._machine import Machine
from steelyard_bench._model import Goal
from steelyard_bench._plot import svg
from steelyard_bench._report import markdown, table
from steelyard_bench._results import Report, Sample, judge, result_of

from .making import contestant, report_of, result, row_of


class TestRatios:
    def test_a_ratio_is_the_median_of_each_rounds_own(self) -> None:
        """The machine was ten times as slow in the second round: a ratio of medians would be 3.0."""
        row = result((Goal(contestant="ours", at_most=1.5),), H=[1.0, 10.0, 2.0], ours=[1.2, 12.0, 6.0])

        (ours,) = [entry for entry in row.contestants if entry.name == "ours"]
        assert (6.0, 1.2, 1.2) == (ours.median_seconds, ours.least_seconds, ours.ratio_to_h)
        assert [(1.2, True)] == [(goal.value, goal.met) for goal in row.goals]

    def test_rounds_that_only_one_took_part_in_do_not_count(self) -> None:
        row = result((Goal(contestant="ours", at_most=1.0, to="slow peer"),), ours=[4.0, 1.0, 1.0], slow_peer=[2.0])

        assert [(2.0, False)] == [(goal.value, goal.met) for goal in row.goals]

    def test_a_goal_can_be_a_time_of_each_or_the_most_of_a_metric(self) -> None:
        samples = [
            Sample(round=n, seconds=n, cpu_seconds=n, metrics={"stall_seconds": stall})
            for n, stall in ((1, 0.3), (2, 0.1), (3, 0.2))
        ]
        ours = result_of(contestant("ours", items=100), row_of(contestant("ours")), samples)
        each = Goal(contestant="ours", at_most=0.02, to=None, metric="each_seconds")
        most = Goal(contestant="ours", at_most=0.25, to=None, metric="stall_seconds", over="most")
        middle = replace(most, over="median")

        assert [(0.02, True), (0.3, False), (0.2, True)] == [
            (found.value, found.met) for found in (judge(goal, [ours]) for goal in (each, most, middle))
        ]
        assert {"stall_seconds": 0.2} == ours.metrics

    def test_a_goal_over_the_most_compares_the_largest_values(self) -> None:
        most = Goal(contestant="ours", at_most=1.5, to="theirs", over="most")
        row = result((most, replace(most, over="median")), ours=[1.0, 3.0, 1.0], theirs=[2.0, 2.0, 1.0])

        assert [(1.5, True), (1.0, True)] == [(goal.value, goal.met) for goal in row.goals]

    def test_a_goal_without_its_rival_is_unknown(self) -> None:
        row = result((Goal(contestant="ours", at_most=1.0, to="gone"),), ours=[1.0])

        assert [(None, None)] == [(goal.value, goal.met) for goal in row.goals]

    def test_a_row_refuses_goals_for_contestants_it_does_not_have(self) -> None:
        with pytest.raises(ValueError, match="gone"):
            row_of(contestant("ours"), goals=(Goal(contestant="ours", at_most=1.0, to="gone"),))
        with pytest.raises(ValueError, match="one name"):
            row_of(contestant("ours"), contestant("ours"))


class TestReport:
    def test_a_table_keeps_durable_and_not_durable_apart(self) -> None:
        row = result((Goal(contestant="ours", at_most=1.1, stretch=1.0),), H=[1.0], ours=[0.95], loose=[0.5])
        contestants = [
            msgspec.structs.replace(entry, durable={"H": None, "ours": True, "loose": False}[entry.name])
            for entry in row.contestants
        ]

        lines = table(msgspec.structs.replace(row, contestants=contestants)).splitlines()

        heads = [line.strip() for line in lines if line.startswith("  ") and not line.startswith("   ")]
        assert [
            "durable",
            "NOT DURABLE",
            "writes nothing",
            "met  ours at most 1.10 H: 0.95 H (the stretch goal too)",
        ] == heads

    def test_goals_are_said_as_people_say_them(self, machine: Machine) -> None:
        goals = (
            Goal(contestant="ours", at_most=0.125, to="ctr"),
            Goal(contestant="ours", at_most=1.0, to="hashfs"),
            Goal(contestant="ours", at_most=1.3, to="batch"),
            Goal(contestant="ours", at_most=0.005, to=None),
            Goal(contestant="ours", at_most=1.0, to="gone"),
        )
        row = result(goals, ours=[1.0], ctr=[4.0], hashfs=[2.0], batch=[0.8])

        text = markdown(report_of(row, machine=machine))

        cells = [line.split(" | ")[3:] for line in text.splitlines() if line.startswith("| 1 |")]
        assert [
            ["at least 8 times as fast as ctr", "4 times as fast", "MISSED |"],
            ["faster than hashfs", "2 times as fast", "met |"],
            ["at most 1.30 × batch", "1.25 ×", "met |"],
            ["at most 5.00 ms", "1.00 s", "MISSED |"],
            ["faster than gone", "–", "unknown |"],
        ] == cells
        assert "- Weak: a busy machine" in text

    def test_a_missed_goal_says_why_where_that_is_known(self, machine: Machine) -> None:
        goal = Goal(contestant="ours", at_most=1.1, reason="the disk; next: a faster one")
        missed, met = result((goal,), H=[1.0], ours=[1.2]), result((goal,), H=[1.0], ours=[1.0])

        assert "  known: the disk; next: a faster one" in table(missed)
        assert "known" not in table(met)
        assert "- Row 1, ours at most 1.10 H: the disk; next" in markdown(report_of(missed, machine=machine))

    def test_what_was_measured_comes_back_from_json(self, machine: Machine) -> None:
        report = report_of(result((Goal(contestant="ours", at_most=1.1),), H=[1.0], ours=[1.2]), machine=machine)

        assert report == msgspec.json.decode(msgspec.json.encode(report), type=Report)

    def test_the_plot_is_well_formed_and_has_every_contestant(self, machine: Machine) -> None:
        row = result((Goal(contestant="ours", at_most=1.1),), H=[1.0], ours=[1.2], a_b=[0.5], far=[99.0])
        odd = msgspec.structs.replace(row, title="<work> & more")

        root = ET.fromstring(svg(report_of(odd, machine=machine)))

        space = "{http://www.w3.org/2000/svg}"
        texts = [element.text for element in root.iter(f"{space}text")]
        bars = [element.get("d") or "" for element in root.iter(f"{space}path")]
        assert {"1 · <work> & more", "ours", "a b", "far", "sha256 alone (H)", "1.20 H", "99.0 H"} <= set(texts)
        assert 4 == len(bars)
        assert 1 == sum("L" in bar for bar in bars), "only the one that is far off is cut"
        assert 1 == len([line for line in root.iter(f"{space}line") if line.get("class") == "goal"])
