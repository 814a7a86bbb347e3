"""Pages of the documentation name a paper by its title first, and link its number to the list of papers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.papers import Paper, read_papers, split_at_papers

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_a_page_that_cites_a_paper_names_its_title_first_with_a_link(page: Path) -> None:
    papers = read_papers()
    text = " ".join(page.read_text(encoding="utf-8").split())
    if page.name == "papers.md":
        return
    for paper in (piece for piece in split_at_papers(text, papers) if isinstance(piece, Paper)):
        first = text.find(f"*{paper.title}* ([{paper.number}](")
        assert first >= 0, f"{page.name} does not name {paper.number}"
        assert split_at_papers(text[:first], {"it": paper}) == [text[:first]], (
            f"{page.name} cites {paper.number} before its title"
        )
    for address in re.findall(r"\]\(((?:docs/)?papers\.md#\w+)\)", text):
        assert f"## {address.partition('#')[2]}\n" in (page.parent / address.partition("#")[0]).read_text(encoding="utf-8")
