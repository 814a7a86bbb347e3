"""The papers: one list, errors that name the place, and texts that cite by title."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.claims import load_claims
from flows.data_files import data_dir
from flows.papers import Paper, check_paper, papers_page, read_papers, split_at_papers
from pipeline.errors import UsageError
from pipeline.study import load_study

ROOT = Path(__file__).resolve().parents[2]
ONE = 'toy:\n  number: "000"\n  title: A Title\n  authors: [A. Author]\n  about: A toy.\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "papers.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_names_and_numbers_stay() -> None:
    found = {paper.number: name for name, paper in read_papers().items()}
    assert found == {"000": "robust", "001": "noncoherent", "002": "ofdm", "003": "network", "004": "dmimo"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"000"', '"0"', ("line 2", "toy.number", "'0'")),
        ("about:", "yeer: 2025\n  about:", ("line 5", "toy.yeer", "unknown key 'yeer'", "year")),
        ("[A. Author]", "[]", ("line 4", "toy.authors")),
        ("about: A toy.", "about: A toy.\n  year: '2025'", ("line 6", "toy.year", "'2025'")),
        ("about: A toy.", "about: A toy.\n  doi: doi.org/10", ("line 6", "toy.doi", "'doi.org/10'")),
        ("  about: A toy.\n", "", ("toy", "about", "required")),
        ("A toy.\n", "A toy.\n" + ONE.replace("toy:", "copy:"), ("line 7", "copy.number", "'000'", "'toy'")),
        ("A. Author", "!!python/object:os.system A", ("line 4",)),
    ],
)
def test_an_error_names_file_key_path_and_value(tmp_path: Path, old: str, new: str, words: tuple[str, ...]) -> None:
    file = written(tmp_path, ONE.replace(old, new, 1))
    with pytest.raises(UsageError) as raised:
        read_papers(file)
    for word in (str(file), *words):
        assert word in str(raised.value)


def test_a_list_that_is_right_is_read(tmp_path: Path) -> None:
    paper = read_papers(written(tmp_path, ONE))["toy"]
    assert (paper.byline, paper.links) == ("A. Author", {})


def test_a_study_names_a_paper_of_the_list_or_none() -> None:
    text = (data_dir() / "studies" / "quick.yaml").read_text(encoding="utf-8")
    check_paper(load_study(text))
    check_paper(load_study(re.sub(r"(?m)^paper:.*\n", "", text)))
    with pytest.raises(UsageError, match=r"line 4, paper: no paper 'odfm' \(did you mean 'ofdm'\?\); there are robust, "):
        check_paper(load_study(re.sub(r"(?m)^paper:.*", "paper: odfm", text)))


def test_every_file_of_claims_is_about_a_paper_of_the_list() -> None:
    named = {load_claims(file).paper for file in (data_dir() / "claims").glob("*.yaml")}
    assert named <= set(read_papers())


def test_a_number_that_stands_alone_is_a_paper() -> None:
    papers = read_papers()
    words = "002, (24) and 001's; 0.002, 1,002, 002.5, 2002, x002 and 003"
    found = [p.number if isinstance(p, Paper) else p for p in split_at_papers(words, papers)]
    assert found == ["", "002", ", (24) and ", "001", "'s; 0.002, 1,002, 002.5, 2002, x002 and ", "003", ""]
    assert split_at_papers(words, {}) == [words]


def test_the_page_of_the_papers_is_what_the_list_says() -> None:
    page = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    assert page == papers_page(read_papers()), "run `disac papers > docs/papers.md`"


def test_no_other_file_of_the_code_lists_the_papers() -> None:
    names = set(read_papers())
    for file in (*(ROOT / "flows").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        assert sum(f'"{name}"' in text for name in names) < 2, file
