"""The officer's pages: search, a call, its picture, its recording, its export."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from compliance.audit.audit_log import AuditFilter
from console.users import UserRole
from console.web.access import PageRefused
from console.web.playback import piece_of
from console.web.search_form import SearchForm
from console.web.waveform import WIDTH, outline, picture_of
from events.audit_entry import Action, AuditEntry, Outcome
from events.identity import RecordId
from events.recording import Peaks
from events.topics import Key
from indexer.index import BadQuery
from tests.builders.made_calls import kept_recording, made_call, made_sound
from tests.builders.made_console import MadeConsole
from tests.builders.web_visitor import Visitor, text_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeConsole]:
    made = MadeConsole(tmp_path_factory.mktemp("console"), calls=8)
    made.keep(made_call(20, recorded=False))
    yield made
    made.close()


@pytest.fixture(scope="module")
def officer(made: MadeConsole) -> Visitor:
    return Visitor(made.app(), UserRole.OFFICER)


def newest(made: MadeConsole) -> AuditEntry:
    return made.audit_log.page(AuditFilter(), None, 1)[0].entry


class TestSearch:
    def test_words_are_found_and_marked(self, officer: Visitor) -> None:
        answer = officer.get('/search?q="guaranteed return"')
        assert "<b>3</b> calls" in answer.text
        assert (
            "<mark>guaranteed</mark> <mark>return</mark>" in answer.text
            or "<mark>guaranteed return</mark>" in answer.text
        )
        assert "FIN-GUARANTEE" in answer.text
        assert "about the call" not in answer.text

    def test_no_query_lists_the_newest_first(self, officer: Visitor) -> None:
        answer = officer.get("/search")
        assert "<b>9</b> calls, newest first" in answer.text

    def test_filters_narrow_and_can_be_taken_out(self, officer: Visitor, made: MadeConsole) -> None:
        answer = officer.get("/search?severity=low&by=customer")
        assert "<b>2</b> calls" in answer.text
        assert 'href="/search?by=customer"' in answer.text
        assert 'href="/search?severity=low"' in answer.text

    def test_facets_of_filters_that_leave_nothing_stay_removable(self, officer: Visitor) -> None:
        answer = officer.get("/search?q=xylophone&rule=COMPLAINT")
        assert "Nothing found" in answer.text
        assert 'href="/search?q=xylophone"' in answer.text

    def test_pages_follow_each_other(self, made: MadeConsole) -> None:
        made.services = replace(made.services, settings=replace(made.services.settings, page_size=4))
        visitor, seen, path = Visitor(made.app(), UserRole.OFFICER), [], "/search"
        while path:
            text = visitor.get(path).text
            seen += re.findall(r'<h2><a href="/calls/([0-9a-f]{32})">', text)
            path = next(iter(re.findall(r'href="([^"]+)" rel="next"', text)), "").replace("&amp;", "&")
        assert len(seen) == len(set(seen)) == 9

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ('q="open', "quotation mark"),
            ("severity=awful", "no such severity"),
            ("from=yesterday", "year-month-day"),
            ("from=2026-02-02&to=2026-01-01", "lies behind"),
            ("shortest=minus", "number of minutes"),
            ("shortest=9&longest=1", "longer than"),
            ("findings=maybe", "yes or no"),
            ("order=random", "no such order"),
            ("q=" + "x" * 1001, "at most 1000 characters"),
            ("cursor=nonsense", "page"),
            ("&".join(f"rule=R{n}" for n in range(30)), "too many filters"),
            ("from=9999-12-31&to=9999-12-31", "year-month-day"),
        ],
    )
    def test_queries_without_sense_get_a_sentence(
        self, officer: Visitor, made: MadeConsole, query: str, sentence: str
    ) -> None:
        answer = officer.get(f"/search?{query}")
        assert answer.status_code == 400
        assert sentence in text_of(answer)
        assert newest(made).outcome is Outcome.FAILED

    def test_search_words_are_recorded_sealed(self, officer: Visitor, made: MadeConsole) -> None:
        officer.get("/search?q=private+matter&rule=COMPLAINT")
        logged = made.audit_log.page(AuditFilter(), None, 1)[0]
        assert (logged.entry.action, logged.entry.actor, logged.entry.subject) == (Action.SEARCH, "olga", "index")
        fields = json.loads(made.services.audit.open_detail(logged))["fields"]
        assert fields == [["q", "private matter"], ["rule", "COMPLAINT"]]
        assert b"private" not in b"".join(leaf for _, leaf in made.audit_log.leaves(0, made.audit_log.size))

    def test_what_people_say_and_type_is_never_markup(self, officer: Visitor, made: MadeConsole) -> None:
        document = made_call(30, recorded=False)
        word = replace(document.segments[0].words[0], text="<img src=x onerror=alert(1)>pwn")
        first = replace(document.segments[0], words=(word, *document.segments[0].words[1:]))
        leg = replace(document.legs[0], speaker_name="<script>alert(2)</script>")
        nasty = replace(
            document,
            segments=(first, *document.segments[1:]),
            legs=(leg, *document.legs[1:]),
            external_id='"><b>x',
        )
        made.keep(nasty)
        for path in ("/search?q=pwn", f"/calls/{nasty.call}", "/search?q=%3Cscript%3Ealert(3)%3C/script%3E"):
            text = officer.get(path).text
            assert "<img" not in text.replace('<img src="/static/mark', "")
            assert "<script>" not in text
            assert "<b>x" not in text
        made.index.forget(nasty.call)

    def test_links_keep_the_form(self) -> None:
        form = SearchForm.read([("q", " a b "), ("rule", "R1"), ("rule", "R2"), ("junk", "x"), ("by", "agent")])
        assert form.toggled("rule", "R1") == "/search?q=a+b&rule=R2&by=agent"
        assert form.toggled("by", "customer") == "/search?q=a+b&rule=R1&rule=R2&by=customer"
        assert form.url(cursor="c") == "/search?q=a+b&rule=R1&rule=R2&by=agent&cursor=c"
        with pytest.raises(BadQuery):
            SearchForm.read([("rule", str(n)) for n in range(21)])


class TestCall:
    def test_everything_of_the_call_is_on_the_page(self, officer: Visitor, made: MadeConsole) -> None:
        document = made.calls[0]
        answer = officer.get(f"/calls/{document.call}")
        words = text_of(answer)
        for segment in document.segments:
            shown = " ".join(
                word.text.strip("[]").lower().replace("_", " ") if word.text.startswith("[") else word.text
                for word in segment.words
            )
            assert shown in words
        for finding in document.findings:
            assert finding.rule_title in words
            assert finding.why in words
            assert finding.rule in words
        assert answer.text.count('class="sound-of') == 2
        assert answer.text.count('class="hidden-span"') == 5
        assert answer.text.count('class="marker') == len(document.findings)
        assert f'src="/calls/{document.call}/recording.wav"' in answer.text
        assert (newest(made).action, newest(made).subject) == (Action.VIEW_CALL, document.call)

    def test_words_of_a_finding_lead_to_it(self, officer: Visitor, made: MadeConsole) -> None:
        text = officer.get(f"/calls/{made.calls[0].call}").text
        anchors = set(re.findall(r'data-finding="([^"]+)"', text))
        assert anchors
        for anchor in anchors:
            assert f'id="{anchor}"' in text
        assert re.search(r'class="w found high"[^>]*>guaranteed<', text)

    def test_turns_stand_in_time_order_with_their_speakers(self, officer: Visitor, made: MadeConsole) -> None:
        text = officer.get(f"/calls/{made.calls[0].call}").text
        times = [int(at) for at in re.findall(r'class="at" href="#t=(\d+)" id=', text)]
        assert times == [segment.start_ms for segment in made.calls[0].segments]
        assert len(re.findall(r'<li class="turn(?: again)? (?:agent|customer)"', text)) == len(times)

    def test_a_call_without_recording_shows_when_was_spoken(self, officer: Visitor) -> None:
        answer = officer.get(f"/calls/{made_call(20).call}")
        assert "<audio" not in answer.text
        assert "The recording appears here when the call has been processed." in answer.text
        assert '<rect class="sound-of' in answer.text

    def test_a_call_that_was_forgotten_is_gone(self, officer: Visitor, made: MadeConsole) -> None:
        document = made.keep(made_call(31, recorded=False))
        made.index.forget(document.call)
        assert officer.get(f"/calls/{document.call}").status_code == 404
        assert (newest(made).action, newest(made).outcome) == (Action.VIEW_CALL, Outcome.FAILED)

    def test_an_export_asks_why_and_tells_it_to_the_log(self, officer: Visitor, made: MadeConsole) -> None:
        path = f"/calls/{made.calls[0].call}/export"
        assert officer.post(path, {"reason": " x "}).status_code == 400
        answer = officer.post(path, {"reason": "Complaint 2211,\nfor the ombudsman"})
        assert answer.headers["content-disposition"].startswith("attachment")
        package = answer.json()
        assert package["call"]["call"] == made.calls[0].call
        assert len(package["call"]["segments"]) == len(made.calls[0].segments)
        assert package["reason"] == "Complaint 2211, for the ombudsman"
        entry = made.audit_log.get(package["audit_entry"]).entry  # type: ignore[union-attr]
        assert (entry.action, entry.reason) == (Action.EXPORT, package["reason"])


class TestRecording:
    def test_it_is_a_wav_file_of_what_was_kept(self, officer: Visitor, made: MadeConsole) -> None:
        answer = officer.get(f"/calls/{made.calls[1].call}/recording.wav")
        assert answer.headers["content-type"] == "audio/wav"
        with wave.open(io.BytesIO(answer.content)) as file:
            assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8_000, 2)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).T
        assert np.array_equal(samples, made_sound(made.calls[1]))

    @pytest.mark.parametrize(
        ("asked", "first", "last"),
        [("bytes=0-99", 0, 99), ("bytes=1000-", 1000, None), ("bytes=-100", -100, None), ("bytes=44-44", 44, 44)],
    )
    def test_ranges_are_answered_and_recorded(
        self, officer: Visitor, made: MadeConsole, asked: str, first: int, last: int | None
    ) -> None:
        path = f"/calls/{made.calls[2].call}/recording.wav"
        whole = officer.get(path).content
        answer = officer.get(path, range=asked)
        assert answer.status_code == 206
        assert answer.content == whole[first : None if last is None else last + 1]
        start = first % len(whole)
        end = len(whole) - 1 if last is None else last
        assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(whole)}"
        entry = newest(made)
        assert (entry.action, entry.subject) == (Action.PLAY, made.calls[2].call)
        assert f"(bytes {start}-{end})" in entry.reason

    def test_long_ranges_are_cut_so_that_entries_tell_what_was_heard(self) -> None:
        assert piece_of("bytes=0-", 5 << 20) == (0, (1 << 20) - 1)
        assert piece_of("bytes=5-9", 100) == (5, 9)
        assert piece_of("bytes=5-900", 100) == (5, 99)
        assert piece_of("bytes=-900", 100) == (0, 99)
        assert piece_of(None, 5 << 20) == (0, (5 << 20) - 1)

    @pytest.mark.parametrize(
        "asked", ["bytes=100-", "bytes=9-5", "bytes=-0", "bytes=-", "bytes=0-1,5-6", "lines=1-2"]
    )
    def test_ranges_without_sense_are_refused(self, asked: str) -> None:
        with pytest.raises(PageRefused) as refused:
            piece_of(asked, 100)
        assert refused.value.status == 416

    def test_an_erased_recording_cannot_be_heard(self, officer: Visitor, made: MadeConsole) -> None:
        document = made.keep(made_call(33))
        made.keys.destroy(document.call, Key.RECORD)
        answer = officer.get(f"/calls/{document.call}/recording.wav")
        assert answer.status_code == 410
        assert "erased" in text_of(answer)
        assert newest(made).outcome is Outcome.FAILED
        made.index.forget(document.call)


class TestPicture:
    def test_places_fit_the_call_s_time(self) -> None:
        document = made_call(0)
        picture = picture_of(document, {0: "a", 1: "c"})
        assert picture.ticks[0] == 0
        assert picture.ticks[-1] == picture.duration_ms == document.duration_ms
        for lane in picture.lanes:
            for box in (*lane.hidden, *lane.speech, *lane.silent):
                assert box.x >= 0
                assert box.x + box.width <= WIDTH + 0.01
                assert box.x == pytest.approx(WIDTH * box.start_ms / document.duration_ms, abs=2.1)
        assert [marker.severity for marker in picture.markers][-1] == "high", "the worst lies on top"

    def test_the_outline_is_as_high_as_the_sound(self) -> None:
        path = outline(Peaks(0, 50, bytes([0, 255, 64, 0])), 200, 0.0)
        heights = [28.0 - float(y) for _, y in re.findall(r"L(\d+\.\d) (\d+\.\d)", path)[:4]]
        assert heights[1] == pytest.approx(26.0)
        assert heights[0] == heights[3] < 1
        assert heights[0] < heights[2] < heights[1]

    def test_hostile_times_do_not_leave_the_picture(self) -> None:
        document = made_call(1)
        far = tuple(
            replace(finding, at_ms=10**9, id=RecordId(f"x{n}")) for n, finding in enumerate(document.findings)
        )
        picture = picture_of(replace(document, findings=far, interruptions=((10**9, 10**9 + 5),)), {})
        assert all(0 <= marker.x <= WIDTH for marker in picture.markers)
        assert all(box.x >= 0 and box.x + box.width <= WIDTH for box in picture.down)

    def test_recordings_longer_than_their_peaks_are_drawn(self) -> None:
        recording = kept_recording(made_call(2))
        assert outline(recording.peaks[0], recording.duration_ms * 2, 0.0)
        assert outline(Peaks(0, 50, b"\x01"), 1, 0.0)
