"""`callwarden vocabulary`: what it keeps, prints, audits, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compliance.audit.audit_log import AuditFilter
from console.cli import main
from console.data_folder import DataFolder
from console.settings import load_settings
from console.site_vocabulary import vocabulary_file, vocabulary_sources
from console.wiring import Wiring
from events.audit_entry import Action
from tests.builders.small_packs import tiny_ctc_pack

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `callwarden vocabulary ARGUMENTS` on the data folder; return exit status and what was printed."""

    def callwarden(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["callwarden", "vocabulary", *arguments, "--data", str(tmp_path / "data")])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return callwarden


def test_words_are_added_listed_and_removed(run: Run, tmp_path: Path) -> None:
    status, printed, _ = run("add", "Northwind Energy", "ISA", "--boost", "4")
    assert status == 0
    assert "Northwind Energy: N AO R TH W IH N D" in printed
    assert "2 entries, version 1" in printed
    status, printed, _ = run("list")
    assert status == 0
    assert "Northwind Energy" in printed
    kept = vocabulary_file(DataFolder.at(tmp_path / "data")).read()
    assert kept.fingerprint in printed
    assert run("remove", "isa")[0] == 0
    status, printed, _ = run("list", "--json")
    told = json.loads(printed)
    assert [entry["text"] for entry in told["entries"]] == ["Northwind Energy"]
    assert told["version"] == 2
    assert told["in_recognisers"] != told["fingerprint"]


def test_a_pronunciation_is_kept(run: Run) -> None:
    assert run("add", "Nguyen", "--pronunciation", "W IH N", "--pronunciation", "n uw y eh n")[0] == 0
    told = json.loads(run("list", "--json")[1])
    assert told["entries"][0]["pronunciations"] == [[["W", "IH", "N"]], [["N", "UW", "Y", "EH", "N"]]]


def test_a_file_of_entries_is_added_as_a_whole_or_not(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "words.tsv"
    file.write_text("# products\nZelle\nNorthwind Plus\t5\nNguyen\t\tW IH N\n\n")
    assert run("add", "--from", str(file))[0] == 0
    entries = json.loads(run("list", "--json")[1])["entries"]
    assert [(entry["text"], entry["boost"]) for entry in entries] == [
        ("Nguyen", 3.0),
        ("Northwind Plus", 5.0),
        ("Zelle", 3.0),
    ]
    file.write_text("one\ntwo\t99\n")
    status, _, said = run("add", "--from", str(file))
    assert status == 1
    assert "Line 2 of the file" in said
    assert len(json.loads(run("list", "--json")[1])["entries"]) == 3


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("add",), "There is no word to add."),
    (("add", "a b", "--boost", "-1"), "must lie between 0 and 12"),
    (("add", "one", "two", "--pronunciation", "W AH N"), "for one word or phrase at a time"),
    (("add", "one", "--pronunciation", "QQ"), "has no phone QQ"),
    (("add", "<b>"), "not made of letters and digits"),
    (("add", "--from", "/nowhere/words"), "cannot be read: No such file"),
    (("remove", "secretname"), "are not in the vocabulary; nothing was removed"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_sentence(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    status, _, said = run(*arguments)
    assert status == 1
    assert sentence in said
    assert said.count("\n") == 1
    assert "secretname" not in said


def test_removing_is_all_or_nothing(run: Run) -> None:
    assert run("add", "Zelle", "Northwind Energy", "ZELLE")[0] == 0
    status, _, said = run("remove", "zelle", "Nortwind")
    assert status == 1
    assert "1 of the 2 words or phrases" in said
    entries = json.loads(run("list", "--json")[1])["entries"]
    assert [entry["text"] for entry in entries] == ["Northwind Energy", "ZELLE"], "what was written last stands"
    status, printed, _ = run("remove", "NORTHWIND energy", "zelle")
    assert status == 0
    assert "0 entries, version 2" in printed
    assert run("list")[1].startswith("0 entries, version 2")


def test_json_for_programs_has_all_that_is_kept(run: Run) -> None:
    run("add", "Nguyen Bank", "--pronunciation", "W IH N | B AE NG K", "--boost", "0.5")
    told = json.loads(run("list", "--json")[1])
    assert set(told) == {"version", "fingerprint", "in_recognisers", "why_not", "entries"}
    assert (told["version"], told["why_not"], len(told["in_recognisers"])) == (1, "", 16)
    assert told["entries"] == [
        {"text": "Nguyen Bank", "boost": 0.5, "pronunciations": [[["W", "IH", "N"], ["B", "AE", "NG", "K"]]]}
    ]


def test_files_that_are_no_list_of_words_are_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "words"
    for content, sentence in (
        (b"\xff\xfe\x00", "it is not UTF-8"),
        (b"one\tfive", "Line 1 of the file"),
        (b"# nothing\n\n", "There is no word to add."),
        (b"a\x00b", "not made of letters"),
        (b"one\t2\tQQ", "has no phone QQ"),
    ):
        file.write_bytes(content)
        status, printed, said = run("add", "--from", str(file))
        assert (status, printed) == (1, "")
        assert sentence in said
    assert "Is a directory" in run("add", "--from", str(tmp_path))[2]
    assert "larger than 16 MiB" in run("add", "--from", "/dev/zero")[2], "a file without an end"
    assert json.loads(run("list", "--json")[1])["version"] == 0


def test_a_model_that_takes_no_words_is_told_where_somebody_would_expect_them(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaldifst", reason="needs kaldifst: pip install 'callwarden[onnx]'")
    tiny_ctc_pack(tmp_path / "data" / "models" / "tiny-ctc")
    monkeypatch.setenv("CALLWARDEN_ENGINE__MODEL", "tiny-ctc")
    told = "The model in use, tiny-ctc, is of the kind onnx-ctc and takes no words yet: recognisers start without."
    sentence = f"{told}\n"
    status, printed, said = run("add", "Northwind", "Nguyen", "--from", "/dev/null")
    assert (status, said) == (0, sentence), "they are kept for the day when another model is chosen"
    assert "Northwind: N AO R TH W IH N D" in printed
    assert "next start" not in printed
    assert "has no phone QQ" in run("add", "one", "--pronunciation", "QQ")[2]
    status, printed, said = run("list")
    assert (status, said) == (0, sentence)
    assert "Northwind" in printed
    told = json.loads(run("list", "--json")[1])
    assert told["in_recognisers"] is None
    assert f"{told['why_not']}\n" == sentence
    monkeypatch.setenv("CALLWARDEN_ENGINE__MODEL", "nobody-has-this")
    status, printed, said = run("list")
    assert status == 0, "the words are there whatever becomes of the model"
    assert "There is no model pack 'nobody-has-this'" in said


def test_changes_are_audited_without_the_words(run: Run, tmp_path: Path) -> None:
    run("add", "Northwind")
    run("remove", "Northwind")
    wiring = Wiring(DataFolder.at(tmp_path / "data"), load_settings())
    try:
        logged = wiring.audit_log.page(AuditFilter(action=Action.VOCABULARY_CHANGED), None, 10)
    finally:
        wiring.close()
    assert len(logged) == 2
    assert not any("northwind" in repr(entry).lower() for entry in logged)


def test_the_rulebooks_phrases_are_looked_for(tmp_path: Path) -> None:
    sources = vocabulary_sources(DataFolder.at(tmp_path), load_settings())
    assert ("recorded", "line") not in sources.rules
    assert ("on", "a", "recorded", "line") in sources.rules
    assert not sources.empty
    assert sources.fingerprint() == vocabulary_sources(DataFolder.at(tmp_path), load_settings()).fingerprint()


def test_a_damaged_file_is_told(run: Run, tmp_path: Path) -> None:
    path = vocabulary_file(DataFolder.at(tmp_path / "data")).path
    path.parent.mkdir()
    path.write_text("{")
    status, _, said = run("list")
    assert status == 1
    assert "The vocabulary's file cannot be read" in said
