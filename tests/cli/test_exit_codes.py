"""Every exit code that a command can have, each reached."""

from __future__ import annotations

import signal

from steelyard.cli.exits import MEANINGS, Exit

from .runner import COMMAND, Shell, end, feed, sha256

# To root every permission is given unless it does without the two capabilities that are responsible for that.
WITHOUT_OVERRIDE = (
    "import ctypes, os, sys; p = ctypes.CDLL(None).prctl; p(24, 1); p(24, 2); os.execv(sys.argv[1], sys.argv[1:])"
)
UNPRIVILEGED = [COMMAND[0], "-c", WITHOUT_OVERRIDE, *COMMAND]
ZERO = f"sha256:{'0' * 64}"


def test_help_prints_them_all(stocked: Shell) -> None:
    shown = stocked.run("help", "exit-codes").lines

    assert [f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items()] == shown
    assert set(Exit) == set(MEANINGS)


def test_1_is_for_errors_of_several_kinds(stocked: Shell) -> None:
    stocked.run("info", ZERO, "nonsense", code=1)


def test_2_is_for_a_wrong_command_line(shell: Shell) -> None:
    wrong = (
        (["frobnicate"], 'Unknown command "frobnicate"'),
        (["put"], "requires an argument"),
        (["put", "--nope", "x"], "Unknown option: --nope"),
        (["ls", "--format", "xml"], 'Invalid value "xml" for --format'),
        (["put", "-", "-"], "standard input can be read only once"),
        (["put", "a", "b", "--ref", "x"], "--ref: expected one source, found 2"),
        (["put", "a", "--label", "novalue"], "label 'novalue': expected KEY=VALUE"),
        (["verify"], "expected DIGEST… or --all, found neither"),
        (["rm"], "expected DIGEST… or --filter, found neither"),
        (["rm", ZERO, "--filter", "size>1"], "expected DIGEST… or --filter, found both"),
        (["rm", "--filter", "size>1"], "expected --yes"),
        (["rm", "--filter", "sise==1", "-y"], "no such field"),
        (["rm", "--filter", "", "-y"], "--filter: expected a filter, found an empty one"),
        (["label"], "expected DIGEST or --filter"),
        (["label", ZERO], "expected DIGEST or --filter, and KEY=VALUE or KEY-"),
        (["label", "--filter", "size>1"], "and KEY=VALUE or KEY-"),
        (["label", "--filter", "size>1", ZERO, "a=b"], "expected KEY=VALUE or KEY-"),
        (["label", "--filter", "", "a=b"], "found an empty one"),
        (["stat", "--by", "size"], "stat --by 'size': expected labels.KEY"),
        (["ls", "--sort", "labels"], 'Invalid value "labels" for --sort'),
        (["ls", "a b=="], "filter 'a b=='"),
    )
    for words, message in wrong:
        (shell.home / "store").mkdir(exist_ok=True)
        done = shell.run(*words, code=2)

        assert message in done.err
        assert "  next: " in done.err
        assert "Traceback" not in done.err
        assert "" == done.out


def test_3_is_for_what_is_not_there(stocked: Shell) -> None:
    for words in (["info", ZERO], ["get", ZERO], ["rm", "00000000"], ["label", ZERO, "a=b"], ["abort", "none"]):
        assert "not found" in stocked.run(*words, code=3).err
    assert "next: steelyard --store nowhere doctor" in stocked.run("--store", "nowhere", "ls", code=3).err
    assert not (stocked.home / "nowhere").exists()


def test_4_is_for_content_that_was_to_be_new(shell: Shell) -> None:
    shell.run("put", "-", "--fail-if-exists", stdin=b"x")

    assert f"blob {sha256(b'x')}: already exists" in shell.run("put", "-", "--fail-if-exists", stdin=b"x", code=4).err


def test_5_is_for_another_digest(shell: Shell) -> None:
    (shell.home / "file").write_bytes(b"x")

    done = shell.run("put", "file", "--expected", ZERO, code=5)

    assert f"file: expected digest {ZERO}, found {sha256(b'x')}\n  next: sha256sum file" in done.err
    assert "" == shell.run("ls").out


def test_6_is_for_an_ingest_that_is_held(shell: Shell) -> None:
    process = feed(shell, b"x", "put", "-", "--ref", "held")

    done = shell.run("put", "-", "--ref", "held", stdin=b"y", code=6)

    assert f"ingest held: held by process {process.pid} for " in done.err
    assert "  next: steelyard ingests --watch" in done.err
    assert "held by process" in shell.run("abort", "held", code=6).err
    out, _ = process.communicate()
    assert f"{sha256(b'x')}  -\n" == out.decode()


def test_8_is_for_what_is_not_permitted(shell: Shell) -> None:
    (shell.home / "closed").mkdir()
    (shell.home / "secret").write_bytes(b"secret")
    (shell.home / "secret").chmod(0)
    (shell.home / "closed").chmod(0o500)

    no_store = shell.execute(*UNPRIVILEGED, "--store", "closed/store", "put", "-", code=8)
    no_source = shell.execute(*UNPRIVILEGED, "put", "secret", code=8)

    assert "Permission denied" in no_store.err
    assert "closed" in no_store.err
    assert "Permission denied: secret\n  next: ls -ld secret" in no_source.err
    assert "Traceback" not in no_store.err + no_source.err


def test_9_is_for_a_full_disk(shell: Shell) -> None:
    shell.run("put", "-", stdin=b"x" * 100_000)
    script = f"{' '.join(COMMAND)} get {sha256(b'x' * 100_000)} > /dev/full; echo $?"

    done = shell.execute("sh", "-c", script)

    assert "9\n" == done.out
    assert "steelyard: error: No space left on device: standard output" in done.err


def test_130_and_143_are_for_the_signals(shell: Shell) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        assert code == end(feed(shell, b"x", "put", "-"), number)[0]


def test_a_dash_too_many_is_shown_as_it_was_typed(shell: Shell) -> None:
    assert "['-']" in shell.run("get", sha256(b""), "-", code=2).err
