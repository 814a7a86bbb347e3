"""The code that this process has loaded, and the refusal to compute under the key of other code (rule I3).

A worker may have started before or after an edit. The modules that it has imported decide its numbers. So the digest is taken
once, when the modules of an experiment are imported, and every module that the digest covers is imported at the same time.
Later edits of the files change neither the digest nor the loaded code.
"""

from __future__ import annotations

import functools
import importlib
import sys
import time
from pathlib import Path

from pipeline.digest import CodeDigest, code_digest, explain_change, source_file
from pipeline.environment import revision
from pipeline.errors import SurroundingsError
from pipeline.experiment import EARLIEST_IMPORT, Experiment, load_experiment


class CodeMismatchError(SurroundingsError):
    """The code that this process has loaded is not the code that the work was planned for."""


@functools.cache
def loaded_code(name: str) -> tuple[Experiment, CodeDigest]:
    """Return an experiment and the digest of its code as this process has loaded it.

    Raises
    ------
    CodeMismatchError
        If a file may have changed between its import and the digest.
    """
    before, already = time.time(), set(sys.modules)
    experiment = load_experiment(name)
    digest = code_digest(experiment.modules)
    for module in digest.manifest:
        importlib.import_module(module)  # noqa: TID251 - the modules come from the digest itself
    if code_digest(experiment.modules).digest != digest.digest:
        raise CodeMismatchError("code was edited while it was being loaded; run again")
    for module in digest.manifest:
        since = EARLIEST_IMPORT if module in already else before
        file = source_file(module)
        if Path(file).stat().st_mtime > since:
            raise CodeMismatchError(
                f"{file} was edited after this process had loaded it or while it did; start the process again"
            )
    return experiment, digest


def experiment_as_planned(name: str, planned: CodeDigest, planned_revision: str) -> Experiment:
    """Return the experiment, if the loaded code is the code that the work was planned for.

    Raises
    ------
    CodeMismatchError
        If the loaded code differs; the sentence names files and revisions.
    """
    experiment, here = loaded_code(name)
    if here.digest != planned.digest:
        named = explain_change(_by_file(planned), _by_file(here))
        changes = ", ".join(named) or "the same modules in another arrangement"
        here_revision = revision() or "unknown revision"
        raise CodeMismatchError(
            f"this worker has loaded other code ({here_revision}) than the run was planned for "
            f"({planned_revision or 'unknown revision'}): {changes}. Nothing was stored. Start the workers again, or run "
            "again so that the plan follows the edited files"
        )
    return experiment


def _by_file(code: CodeDigest) -> dict[str, str]:
    return {f"{module.replace('.', '/')}.py": digest for module, digest in code.manifest.items()}
