"""The command line as a user meets it: what it prints, and how it fails."""

from __future__ import annotations

import io
import json
import socket
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer.main
from rich.console import Console

from console.call_view import print_call
from console.cli import app, main
from recognizer.evaluation.audio_file import read_audio
from tests.builders.made_calls import made_call

ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `callwarden ARGUMENTS`; return exit status, standard output, standard error."""

    def callwarden(*arguments: str | Path, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["callwarden", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return callwarden


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        found += [(name, inner) for inner in getattr(command, "commands", {})] or [(name,)]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_and_stands_in_the_readme(run: Run, command: tuple[str, ...]) -> None:
    status, printed, _ = run(*command, "--help")
    assert status == 0
    assert "Usage" in printed
    assert f"callwarden {' '.join(command)}" in (ROOT / "README.md").read_text()


def test_version_and_settings_are_printed(run: Run) -> None:
    assert run("version")[1].startswith("callwarden 0.")
    status, printed, _ = run("settings")
    assert status == 0
    assert "[sockets]" in printed
    assert "sip_port = 5060" in printed


def test_a_user_is_added_once(run: Run, tmp_path: Path) -> None:
    arguments = ("users", "add", "mia", "--role", "officer", "--data", tmp_path)
    assert run(*arguments, given="a long password\n")[0] == 0
    status, _, said = run(*arguments, given="a long password\n")
    assert status == 1
    assert said.count("\n") == 1
    assert "mia" not in said.replace("callwarden: ", "") or "taken" in said


@pytest.mark.parametrize("given", ["", "\n"])
def test_a_user_without_a_password_is_refused(run: Run, tmp_path: Path, given: str) -> None:
    status, _, said = run("users", "add", "mia", "--role", "officer", "--data", tmp_path, given=given)
    assert status == 1
    assert "No password came" in said


def silent_wav(path: Path, rate: int = 8000, seconds: float = 1.0) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.zeros(int(rate * seconds), np.int16).tobytes())
    return path


def two_voices_wav(path: Path) -> Path:
    said = ("1993-147149-0016", "2086-149220-0021", "1993-147964-0001", "2086-149220-0026")
    samples = np.concatenate([read_audio(ROOT / "tests" / "golden" / "speech" / f"{name}.wav") for name in said])
    soundfile.write(path, samples, 8000, subtype="PCM_16")
    return path


@pytest.mark.slow
def test_good_files_are_imported_and_bad_ones_refused_one_sentence_each(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    silent_wav(folder / "good.wav")
    two_voices_wav(folder / "two.wav")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "corrupt.wav").write_bytes(b"RIFF\x10\x00\x00\x00WAVEjunk")
    (folder / "text.wav").write_text("this is no audio at all, only some words\n")
    status, printed, said = run("import", folder, "--data", tmp_path / "data", "--json")
    lines = {Path(line["file"]).name: line for line in map(json.loads, printed.splitlines())}
    assert status == 1
    assert lines["good.wav"]["document"]["state"] == "complete"
    assert lines["good.wav"]["document"]["duration_ms"] == 1000
    assert lines["good.wav"]["document"]["speaker_turns"] == []
    (told,) = lines["two.wav"]["document"]["speaker_turns"]
    assert [turn["speaker"] for turn in told["turns"]][:2] == [0, 1]
    status, shown, _ = run("show", lines["two.wav"]["call"], "--data", tmp_path / "data")
    assert shown.index("Speaker A") < shown.index("Speaker B")
    for name in ("empty.wav", "corrupt.wav", "text.wav"):
        assert lines[name]["call"] is None
        assert lines[name]["refused"].endswith(".")
        assert name in said
    again, printed, _ = run("import", folder / "two.wav", "--data", tmp_path / "data", "--json")
    assert again == 0
    once_more = json.loads(printed)
    assert once_more["already_there"] is True
    assert once_more["document"]["speaker_turns"] == [told]


def test_importing_nothing_is_said(run: Run, tmp_path: Path) -> None:
    status, _, said = run("import", tmp_path / "nowhere.wav", "--data", tmp_path / "data")
    assert status == 1
    assert "There is no file or folder" in said


def test_an_unknown_call_and_a_nonsense_id_are_told_apart(run: Run, tmp_path: Path) -> None:
    assert "There is no call" in run("show", "0" * 32, "--data", tmp_path)[2]
    assert "32 lower-case hexadecimal digits" in run("show", "../../etc", "--data", tmp_path)[2]


def test_a_query_that_makes_no_sense_gets_one_sentence(run: Run, tmp_path: Path) -> None:
    status, _, said = run("search", '"unfinished', "--data", tmp_path)
    assert status == 1
    assert said.startswith("callwarden: ")
    assert said.count("\n") == 1


def test_rulebooks_are_checked_with_file_line_and_field(run: Run, tmp_path: Path) -> None:
    book = tmp_path / "book.yaml"
    shipped = ROOT / "compliance" / "rules" / "rulebooks" / "promissory-language.yaml"
    book.write_text(shipped.read_text().replace("severity:", "severty:", 1))
    status, _, said = run("rules", "check", book)
    line = next(n for n, text in enumerate(book.read_text().splitlines(), 1) if "severty" in text)
    assert status == 1
    assert f"line {line}" in said
    assert "severty" in said
    assert run("rules", "check", shipped)[0] == 0
    assert "FIN-GUARANTEE" in run("rules", "list")[1]


def test_a_port_in_use_is_named(run: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, _, said = run("up", "--sip", "127.0.0.1:0", "--http", address, "--data", tmp_path)
        assert status == 1
        assert f"Pages cannot be served at {address}" in said
        status, _, said = run("up", "--sip", address, "--http", "127.0.0.1:0", "--data", tmp_path)
        assert status == 1
        assert address in said


def test_a_wrong_address_is_refused(run: Run, tmp_path: Path) -> None:
    status, _, said = run("up", "--sip", "here", "--data", tmp_path)
    assert status == 1
    assert "HOST:PORT" in said


def test_an_export_that_is_none_does_not_verify(run: Run, tmp_path: Path) -> None:
    assert run("audit", "export", "--out", tmp_path / "log.jsonl", "--data", tmp_path / "data")[0] == 0
    key = tmp_path / "data" / "audit" / "public.key"
    assert run("audit", "verify", tmp_path / "log.jsonl", "--key", key)[0] == 0
    (tmp_path / "junk").write_bytes(b"\x00\xff junk")
    status, _, said = run("audit", "verify", tmp_path / "junk", "--key", key)
    assert status == 1
    assert said.strip()


def test_a_call_is_printed_for_reading_and_as_spoken() -> None:
    for as_spoken, said in ((False, "Thank you. I see it now."), (True, "thank you i see it now")):
        screen = Console(width=200, file=io.StringIO(), color_system=None)
        print_call(screen, made_call(1), as_spoken)
        printed = screen.file.getvalue()  # type: ignore[attr-defined]
        assert said in printed
        assert "[EMAIL_ADDRESS]" in printed
