"""What reaches the terminal: nothing that steers it, one line a row in a pipe, and a moving bar only for slow work."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cra.cli import terminal
from cra.cli.layout import column_widths


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _screen(monkeypatch: pytest.MonkeyPatch, width: int) -> Screen:
    """A screen of that width as stdout."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    return screen


@given(st.text(st.characters()))
def test_clean_text_has_nothing_that_steers_a_terminal(text):
    """No control, format, surrogate or line-separating character is left, and printable text is unchanged."""
    result = terminal.clean(text)
    assert not {unicodedata.category(char) for char in result} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "".join(char if char.isprintable() else "" for char in text) == text or result != text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain [bold]not markup[/bold] naïve ✓", "plain [bold]not markup[/bold] naïve ✓"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("\ud800", r"\ud800"),
    ],
)
def test_clean_spells_escapes_out(text, expected):
    """Escape sequences, bidirectional overrides, C1 controls and surrogates become readable escapes; markup stays text."""
    assert expected == terminal.clean(text)


def test_markup_in_data_is_shown_as_it_is(capsys, monkeypatch):
    """Tables and lines do not interpret brackets."""
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.say("[red]x[/red] :smile:")
    terminal.say_table("T", ("[a]",), [("[link=https://example.com]y[/link]",)])
    out = capsys.readouterr().out
    assert "[red]x[/red] :smile:" in out
    assert "[link=https://example.com]y[/link]" in out


def test_a_pipe_gets_one_line_a_row(capsys, monkeypatch):
    """What is not a terminal is not wrapped, so that rows can be searched."""
    monkeypatch.delenv("COLUMNS", raising=False)
    terminal.say_table("T", ("id", "text"), [("a", "word " * 200)])
    assert 1 == sum("word" in line for line in capsys.readouterr().out.splitlines())


def test_a_narrow_terminal_folds_the_last_column(monkeypatch):
    """In 80 columns ids stay whole and the last column is folded; no line is wider."""
    screen = _screen(monkeypatch, 80)
    terminal.say_table("T", ("id", "text"), [("i" * 40, "word " * 50)])
    lines = re.sub(r"\x1b\[\d*m", "", screen.getvalue()).splitlines()
    assert any("i" * 40 in line for line in lines)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [20, 40, 80])
def test_nothing_is_cropped_on_any_screen(monkeypatch, width):
    """Where even the ids do not fit they are folded too: every character of every cell is shown."""
    screen = _screen(monkeypatch, width)
    terminal.say_table("T", ("name", "size", "more"), [("J" * 70, "K" * 20, "L" * 100)])
    assert (70, 20, 100) == tuple(screen.getvalue().count(letter) for letter in "JKL")


def test_a_pipe_gets_nothing_behind_the_last_word(capsys):
    """No trailing spaces, no rules: the header and the rows, aligned."""
    terminal.say_table("T", ("id", "n", "text"), [("abc", 5, "two words"), ("d", 10, "")], numbers=("n",))
    assert "\nT\nid    n  text\nabc   5  two words\nd    10\n" == capsys.readouterr().out


def test_a_full_screen_breaks_between_words(monkeypatch):
    """As long as the longest words fit, no word is broken, and what needs more room gets more."""
    screen = _screen(monkeypatch, 60)
    actions = ", ".join(f"thing.{number:020}" for number in range(5))
    terminal.say_table("T", ("id", "actions", "notes"), [("i" * 12, actions, "word " * 9)], folded=2)
    shown = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    assert 60 >= max(map(len, shown.splitlines()))
    assert "─" in shown
    for word in ("i" * 12, *actions.split()):
        assert word in shown


def test_a_small_screen_gets_records(monkeypatch):
    """Where a word would have to be broken, a row becomes a record: what is never folded first, then a line for each column."""
    screen = _screen(monkeypatch, 40)
    terminal.say_table(
        "T",
        ("id", "n", "actions", "notes"),
        [("i" * 12, 7, "a" * 24, ""), ("j", 8, "b", "c")],
        numbers=("n",),
        folded=2,
    )
    lines = [line.rstrip() for line in re.sub(r"\x1b\[\d*m", "", screen.getvalue()).splitlines()]
    assert [
        "",
        "T",
        "i" * 12 + "  n 7",
        "    actions: " + "a" * 24,
        "j  n 8",
        "    actions: b",
        "    notes: c",
    ] == lines


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=6), st.integers(0, 200))
def test_columns_fit_or_are_refused(columns, room):
    """No column is narrower than its least width or wider than its content, and together they fit into the room."""
    least = [min(pair) for pair in columns]
    natural = [max(pair) for pair in columns]
    widths = column_widths(natural, least, room)
    if widths is None:
        assert sum(least) > room
    else:
        assert sum(widths) <= room
        assert all(narrow <= width <= wide for narrow, width, wide in zip(least, widths, natural))


def test_a_line_to_copy_is_never_folded(monkeypatch):
    """What is there to be copied stays one line on any screen."""
    screen = _screen(monkeypatch, 40)
    terminal.say("word " * 20, fold=False)
    assert 1 == screen.getvalue().rstrip().count("\n") + 1


def test_a_terminal_breaks_lines_between_words(monkeypatch):
    """A sentence longer than the screen is broken where a person would."""
    screen = _screen(monkeypatch, 80)
    terminal.say("word " * 50)
    assert {"word"} == set(screen.getvalue().split())
    assert max(map(len, screen.getvalue().splitlines())) <= 80


def test_colour_is_for_terminals_that_want_it(monkeypatch):
    """Colour on a terminal; none where NO_COLOR is set."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", coloured)
    terminal.say("yes", "green")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", plain)
    terminal.say("yes", "green")
    assert "\x1b[32myes" in coloured.getvalue()
    assert "\x1b[3" not in plain.getvalue()


def test_json_is_ascii(capsys):
    """The JSON document holds no character that a terminal could interpret."""
    terminal.say_json({"reason": "\u202e\x9b✓"})
    assert capsys.readouterr().out.isascii()


def test_lines_are_bytes_for_programs_and_clean_for_people(capfd, monkeypatch):
    """In a pipe lines come out as they are; a terminal gets them without anything that steers it."""
    line = '{"reason":"é\x9b31m"}\n'
    terminal.say_lines([line.encode()])
    assert line == capfd.readouterr().out
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    terminal.say_lines([line.encode()])
    assert r'{"reason":"é\x9b31m"}' in screen.getvalue()
    assert "\x9b" not in screen.getvalue()


@pytest.mark.parametrize(
    "say", [lambda: terminal.say("x"), lambda: terminal.say_json({}), lambda: terminal.say_lines([b"x"])]
)
def test_a_closed_pipe_is_one_exception(monkeypatch, say):
    """Text, JSON and lines report a reader that has gone in the same way."""

    class Closed(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise BrokenPipeError

    closed = io.TextIOWrapper(io.BufferedWriter(Closed()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", closed)
    with pytest.raises(terminal.ReaderGone):
        say()
    with contextlib.suppress(BrokenPipeError):  # what is left in the buffer
        closed.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full to write to")
@pytest.mark.parametrize(
    "say",
    [
        lambda: terminal.say("x"),
        lambda: terminal.say_json({}),
        lambda: terminal.say_lines([b"x"]),
        lambda: terminal.say_table("T", ("a",), []),
    ],
)
def test_a_full_disk_is_one_exception(monkeypatch, say):
    """Text, JSON, lines and tables report an output that takes no more in the same way, with the system's reason."""
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(terminal.OutputFailed, match="No space left on device"):
        say()
    with contextlib.suppress(OSError):  # what is left in the buffer
        full.close()


@pytest.mark.parametrize(("stream", "shown"), [(Screen, True), (io.StringIO, False)])
def test_slow_work_shows_a_bar_on_a_terminal_only(monkeypatch, stream, shown):
    """After a while a bar appears on stderr, where that is a terminal."""
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "PROGRESS_AFTER_SECONDS", 0.01)
    with terminal.working("verifying x"):
        deadline = time.monotonic() + 60
        while shown and "verifying" not in stderr.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert shown == ("verifying x" in stderr.getvalue())


def test_quick_work_shows_nothing(monkeypatch):
    """Work that is done before the bar is due leaves stderr alone."""
    stderr = Screen()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(terminal, "PROGRESS_AFTER_SECONDS", 60)
    with terminal.working("verifying x"):
        pass
    assert "verifying" not in stderr.getvalue()
