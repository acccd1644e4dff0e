"""One suite for each row of the table of goals; `conftest.py` gives it the row's contestants, sizes and backends."""

from __future__ import annotations

from cases import Case, Take

from steelyard_bench._rows import ROWS


def test_row_01_put_one_large_file(case: Case, take: Take) -> None:
    take(case)


def test_row_02_one_large_file_by_other_algorithms(case: Case, take: Take) -> None:
    take(case)


def test_row_03_put_many_large_files_at_once(case: Case, take: Take) -> None:
    take(case)


def test_row_04_put_many_small_blobs_in_batches(case: Case, take: Take) -> None:
    take(case)


def test_row_05_put_many_small_blobs_at_once(case: Case, take: Take) -> None:
    take(case)


def test_row_06_many_ingests_in_small_writes(case: Case, take: Take) -> None:
    take(case)


def test_row_07_a_call_that_does_nothing(case: Case, take: Take) -> None:
    take(case)


def test_row_08_read_one_large_blob(case: Case, take: Take) -> None:
    take(case)


def test_row_09_read_cached_ranges(case: Case, take: Take) -> None:
    take(case)


def test_row_10_verify_all(case: Case, take: Take) -> None:
    take(case)


def test_row_11_resume_and_checkpoints(case: Case, take: Take) -> None:
    take(case)


def test_row_12_list_and_filter(case: Case, take: Take) -> None:
    take(case)


def test_row_13_the_longest_stall(case: Case, take: Take) -> None:
    take(case)


def test_row_14_the_most_memory(case: Case, take: Take) -> None:
    take(case)


def test_row_15_import_an_image_of_large_layers(case: Case, take: Take) -> None:
    take(case)


def test_row_16_import_an_image_of_many_small_layers(case: Case, take: Take) -> None:
    take(case)


def test_row_17_export_an_image(case: Case, take: Take) -> None:
    take(case)


def test_row_18_a_large_blob_over_a_socket(case: Case, take: Take) -> None:
    take(case)


def test_row_19_small_blobs_over_a_socket(case: Case, take: Take) -> None:
    take(case)


def test_row_20_put_a_large_blob_in_a_bucket(case: Case, take: Take) -> None:
    take(case)


def test_row_21_read_a_large_blob_from_a_bucket(case: Case, take: Take) -> None:
    take(case)


def test_row_22_small_blobs_in_a_bucket(case: Case, take: Take) -> None:
    take(case)


def test_row_23_list_a_bucket(case: Case, take: Take) -> None:
    take(case)


SUITES = sorted(int(name.split("_")[2]) for name in dict(globals()) if name.startswith("test_row_"))
assert list(ROWS) == SUITES, "a row without a suite, or a suite without a row"
