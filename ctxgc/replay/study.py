"""A study: every policy on every session of some transcripts, real and placebo, in worker processes.

    files ──read──▶ episodes, spilled to a private folder ──┐
                                                            ├──try──▶ a result a session ──▶ Study
    the next session's outputs (its placebo) ───────────────┘

A worker holds a single session (and the outputs of another) at a time, so memory does not grow with the corpus.
Sessions are ordered by agent and id: the results depend neither on the order of the files nor on the number of workers.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing import get_context
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeVar

from ctxgc.replay.demand import Output
from ctxgc.replay.recorded_files import read_recorded_file
from ctxgc.replay.terms import StudyTerms
from ctxgc.replay.trace import Episode
from ctxgc.replay.trial import TrialResult, choose_placebo_sessions, outputs_of_episodes, simulate_session

WORKERS_DEFAULT = 2

Progress = Callable[[float, str], None]
"""Told how much of the work is done, from 0 to 1, and what is being worked on."""

_Task = TypeVar("_Task")
_Found = TypeVar("_Found")


class SkippedRecording(NamedTuple):
    """A file, or a session of a file, that is not in the study or only in part, and why."""

    path: str
    why: str


@dataclass(slots=True)
class Study:
    """The results, ordered by agent and session id."""

    terms: StudyTerms
    results: list[TrialResult] = field(default_factory=list)
    files: int = 0
    """Files that gave at least one session."""
    skipped: list[SkippedRecording] = field(default_factory=list)
    skipped_records: Counter[str] = field(default_factory=Counter)


class _SessionStub(NamedTuple):
    """A session that was read: where its episodes lie, and how much there is."""

    source: str
    session: str
    turns: int
    spill: str
    path: str


class _FileRead(NamedTuple):
    path: str
    stubs: tuple[_SessionStub, ...]
    skipped: Counter[str]
    trouble: str


class _Trial(NamedTuple):
    spill: str
    placebo: tuple[str, ...]
    """Spills of other sessions of the same agent, in whose words its placebo speaks."""
    terms: StudyTerms


def run_study(
    files: Iterable[str],
    terms: StudyTerms,
    *,
    workers: int = WORKERS_DEFAULT,
    tell: Progress = lambda share, note: None,
) -> Study:
    """Play every policy on every session of these transcripts. Deterministic but for the measured times.

    Files that cannot be read are listed in the result. Raises `OSError` if the folder for spills cannot be written.
    """
    paths = sorted(set(files))
    study = Study(terms)
    # Private to this user (mode 0700), and gone at the end: it holds text of the sessions.
    with tempfile.TemporaryDirectory(prefix="ctxgc-replay-") as folder, _worker_pool(min(workers, len(paths))) as run:
        stubs = _read_files(study, paths, folder, run, tell)
        total = sum(stub.turns for stub in stubs) or 1
        done = 0
        for stub, result in zip(stubs, run(_run_trial, _build_trials(stubs, terms)), strict=True):
            study.results.append(result)
            done += stub.turns
            tell(0.5 + 0.5 * done / total, f"{stub.source} {stub.session}")
    return study


class _TaskRunner(Protocol):
    """Applies a function to tasks, results in the order of the tasks."""

    def __call__(self, work: Callable[[_Task], _Found], tasks: Iterable[_Task], /) -> Iterator[_Found]: ...


@contextmanager
def _worker_pool(workers: int) -> Iterator[_TaskRunner]:
    """Run tasks in order of their results: in worker processes, or right here for a single worker."""
    if workers < 2:
        yield map
        return
    # Spawned, not forked: a fork of a process with threads may hang, and not every system has it.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C is the parent's to answer: each worker would print a trace of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read_files(study: Study, paths: list[str], folder: str, run: _TaskRunner, tell: Progress) -> list[_SessionStub]:
    """Read every file and keep the fullest copy of each session; in order of agent and session id."""
    sizes = {path: _file_size_bytes(path) for path in paths}
    total = sum(sizes.values()) or 1
    tasks = [(path, os.path.join(folder, str(number))) for number, path in enumerate(paths)]
    stubs: dict[tuple[str, str], _SessionStub] = {}
    done = 0
    for read in run(_read_and_spill_file, tasks):
        done += sizes[read.path]
        tell(0.5 * done / total, os.path.basename(read.path))
        study.files += bool(read.stubs)
        study.skipped_records += read.skipped
        if read.trouble:
            study.skipped.append(SkippedRecording(read.path, read.trouble))
        for stub in read.stubs:
            known = stubs.setdefault(stub[:2], stub)
            if known is stub:
                continue
            best, other = (stub, known) if stub.turns > known.turns else (known, stub)
            stubs[stub[:2]] = best
            study.skipped.append(SkippedRecording(other.path, f"session {stub.session} is fuller in {best.path}"))
    return [stubs[key] for key in sorted(stubs)]


def _file_size_bytes(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _build_trials(stubs: list[_SessionStub], terms: StudyTerms) -> list[_Trial]:
    """Each session with other sessions of the same agent as the placebo."""
    trials = []
    for _, group in groupby(stubs, attrgetter("source")):
        kin = list(group)
        turns = [stub.turns for stub in kin]
        for at, stub in enumerate(kin):
            spills = tuple(kin[other].spill for other in choose_placebo_sessions(turns, at))
            trials.append(_Trial(stub.spill, spills, terms))
    return trials


def _read_and_spill_file(task: tuple[str, str]) -> _FileRead:
    """In a worker: read a file and spill its sessions."""
    path, prefix = task
    reading = read_recorded_file(path)
    stubs = []
    for number, (session, episodes) in enumerate(reading.sessions.items()):
        spill = f"{prefix}.{number}"
        with open(spill, "wb") as file:
            pickle.dump(outputs_of_episodes(episodes), file, pickle.HIGHEST_PROTOCOL)
            pickle.dump(episodes, file, pickle.HIGHEST_PROTOCOL)
        turns = sum(len(episode.turns) for episode in episodes)
        stubs.append(_SessionStub(episodes[0].source, session, turns, spill, path))
    return _FileRead(path, tuple(stubs), reading.skipped, reading.trouble)


def _run_trial(trial: _Trial) -> TrialResult:
    """In a worker: play every policy on a session."""
    placebo: list[Output] = []
    for spill in trial.placebo:
        with open(spill, "rb") as file:
            placebo += pickle.load(file)  # noqa: S301 - written by `_read_and_spill_file`, in a folder of this user alone.
    with open(trial.spill, "rb") as file:
        pickle.load(file)  # noqa: S301 - its own outputs, which come first.
        episodes: list[Episode] = pickle.load(file)  # noqa: S301
    return simulate_session(episodes, placebo, trial.terms)
