"""The papers that studies and claims are about. They are read from data/papers.yaml, checked, and named in pages and texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flows.data_files import papers_file
from pipeline.errors import UsageError, near_miss
from pipeline.study import Source, Study, validate
from pipeline.values import read_yaml


class Paper(BaseModel):
    """A paper, as data/papers.yaml describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: str = Field(pattern=r"^\d{3}$", description="number by which code and claims cite the paper")
    title: str = Field(min_length=1)
    authors: tuple[str, ...] = Field(min_length=1)
    year: int | None = Field(None, ge=1900, le=2100)
    doi: str | None = Field(None, pattern=r"^10\.\d{4,}/\S+$")
    arxiv: str | None = Field(None, pattern=r"^\d{4}\.\d{4,5}$")
    about: str = Field(min_length=1, description="one line on what the paper is about")

    @property
    def byline(self) -> str:
        """Return authors and year."""
        *first, last = self.authors
        names = f"{', '.join(first)} and {last}" if first else last
        return names if self.year is None else f"{names}, {self.year}"

    @property
    def links(self) -> dict[str, str]:
        """Return the paper's addresses by their labels: the DOI and the arXiv number, as far as they are known."""
        found = {}
        if self.doi:
            found[f"doi:{self.doi}"] = f"https://doi.org/{self.doi}"
        if self.arxiv:
            found[f"arXiv:{self.arxiv}"] = f"https://arxiv.org/abs/{self.arxiv}"
        return found


def read_papers(file: Path | None = None) -> dict[str, Paper]:
    """Read the papers; return them by their short names.

    Parameters
    ----------
    file
        File that lists the papers; default: the list of this installation.

    Raises
    ------
    UsageError
        If the file cannot be used as written; the sentence names file, line, key path and value.
    """
    file = papers_file() if file is None else file
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error
    content, lines = read_yaml(text, str(file))
    origin = Source(str(file), lines)
    if not isinstance(content, dict):
        raise origin.error((), "expected a mapping of short names to papers")
    papers: dict[str, Paper] = {}
    for name, described in content.items():
        paper: Paper = validate(Paper, described, origin, (name,))
        other = next((n for n, p in papers.items() if p.number == paper.number), None)
        if other is not None:
            raise origin.error((name, "number"), f"'{paper.number}' is already the number of '{other}'")
        papers[name] = paper
    return papers


def check_paper(study: Study) -> Study:
    """Return the study unchanged, if the paper that it names is listed.

    Raises
    ------
    UsageError
        If the paper is not listed.
    """
    if study.paper and study.paper not in (known := read_papers()):
        there = f"there are {', '.join(known)}, which data/papers.yaml lists"
        raise study.source.error(("paper",), f"no paper '{study.paper}'{near_miss(study.paper, known)}; {there}")
    return study


def split_at_papers(text: str, papers: Mapping[str, Paper]) -> list[str | Paper]:
    """Split a text into pieces of plain text and papers; each paper stands in place of its number.

    Only a number that stands alone names a paper: 002 in "002, (24)" does, 002 in "0.002" and "1,002" does not.
    """
    by_number = {paper.number: paper for paper in papers.values()}
    if not by_number:
        return [text]
    pieces = re.split(rf"(?<![\w.,])({'|'.join(by_number)})(?!\w|[.,]\d)", text)
    return [by_number[piece] if place % 2 else piece for place, piece in enumerate(pieces)]


def papers_page(papers: Mapping[str, Paper]) -> str:
    """Return the papers as a page in Markdown; each number is a heading, so that other pages can link to it."""
    parts = ["# Papers\n\nCode and claims cite a paper by its number. Studies and claims name it by its short name.\n"]
    for name, paper in papers.items():
        links = "".join(f", [{words}]({address})" for words, address in paper.links.items())
        parts.append(f"## {paper.number}\n\n*{paper.title}* (`{name}`)\n\n{paper.byline}{links}\n\n{paper.about}\n")
    return "\n".join(parts)
