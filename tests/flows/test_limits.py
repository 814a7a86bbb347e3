"""What a run may spend, and who is told when it has ended."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows.limits import budget_of
from flows.on_end import OnEnd
from pipeline.errors import UsageError

NOW = datetime(2026, 11, 27, 18, 0).astimezone()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90m", 90), ("2.5h", 150), ("1d", 1440), ("1 hour", 60), ("18:30", 30), ("17:30", 23.5 * 60), ("00:00:00", 360),
        ("2026-11-27T19:00", 60), ("2026-11-28", 360),
    ],
)  # fmt: skip
def test_a_deadline_is_a_duration_a_time_of_day_or_a_moment(text: str, minutes: float) -> None:
    budget = budget_of(None, text, now=NOW)
    assert budget.ends_at - time.monotonic() == pytest.approx(60.0 * minutes, abs=5.0)
    assert budget.core_seconds == math.inf


@pytest.mark.parametrize("text", ["90", "", "soon", "25:00", "18:61", "2026-13-01", "1e9", "99999999999d", "NaT", "-5m"])
def test_a_deadline_that_is_none_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(UsageError, match=r"--deadline .*accepted"):
        budget_of(None, text, now=NOW)


@pytest.mark.parametrize("text", ["2026-11-27T17:00", "0s"])
def test_a_deadline_that_has_passed_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="it has passed; it is 2026-11-27 18:00"):
        budget_of(None, text, now=NOW)


def test_a_moment_may_name_its_offset() -> None:
    text = (NOW.astimezone(timezone(timedelta(hours=7))) + timedelta(minutes=30)).isoformat()
    assert budget_of(None, text, now=NOW).ends_at - time.monotonic() == pytest.approx(1800.0, abs=5.0)


def test_core_hours_are_seconds_of_one_core() -> None:
    assert budget_of(1.5, None).core_seconds == 5400.0
    assert budget_of(None, None).ends_at == math.inf


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, object]]]]:
    heard: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", heard
        http.shutdown()
        thread.join()


def test_a_url_is_told_once(server: tuple[str, list[dict[str, object]]]) -> None:
    url, heard = server
    on_end = OnEnd(f"{url}/done", {"study": "toy", "store": "results"})
    assert on_end.tell(3, "The deadline has come.", present=4) == ""
    assert on_end.tell(0, "again") == ""
    (message,) = heard
    assert {k: message[k] for k in ("study", "exit_code", "sentence", "present")} == {
        "study": "toy", "exit_code": 3, "sentence": "The deadline has come.", "present": 4
    }  # fmt: skip


def test_what_does_not_arrive_is_a_sentence(server: tuple[str, list[dict[str, object]]]) -> None:
    url, _ = server
    assert "it answered 500" in OnEnd(f"{url}/broken", {"study": "toy"}).tell(0, "")
    assert "--on-end http://127.0.0.1:9/" in OnEnd("http://127.0.0.1:9/", {"study": "toy"}).tell(0, "")
    assert "it ended with exit code 4" in OnEnd("exit 4", {"study": "toy"}).tell(0, "")
    assert OnEnd(None, {}).tell(0, "") == ""


def test_a_command_gets_the_message_and_its_environment(tmp_path: Path) -> None:
    command = f"cat > {tmp_path}/message; echo $DISAC_STUDY $DISAC_EXIT_CODE > {tmp_path}/words"
    assert OnEnd(command, {"study": "toy"}).tell(1, "Two cells failed.") == ""
    assert json.loads((tmp_path / "message").read_text())["sentence"] == "Two cells failed."
    assert (tmp_path / "words").read_text() == "toy 1\n"


@pytest.mark.slow
def test_the_example_of_the_document_runs(
    disac: Callable[..., subprocess.Popen[str]], study_file: Callable[..., Path], tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "--max-core-hours" in line and line.startswith("    disac run")]
    words = shlex.split(line)
    assert [word for word in words if word.startswith("--")] == ["--max-core-hours", "--deadline", "--on-end"]
    words[words.index("--max-core-hours") + 1] = "0.0002"
    words[words.index("--on-end") + 1] = "cat > told.json"
    words[2] = str(study_file(("experiment: toy", "experiment: toy\noptions: {act: sleep}"), ('"0:40:10"', '"14:28.5:0.5"')))
    out, err = disac(*words[1:]).communicate(timeout=120)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["exit_code"] == 3, out + err
    assert 0 < told["present"] < told["planned"] == 180
    assert "Stopped: the budget of 0.0002 core hours leaves no room for another task." in out
    assert f"{180 - told['present']} cells are left; run again to go on." in out
