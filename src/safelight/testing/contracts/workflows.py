"""What every keeper of the Workflows port must do. An adapter's tests inherit WorkflowsContract and say how to build one.

    class TestMine(WorkflowsContract):
        @pytest.fixture
        def build(self):
            return lambda bound, **settings: MyWorkflows(bound, **settings)

`build` takes a Bound and the keywords `concurrency`, `grace_s` (seconds) and `per_party`. Engines are opened and closed by the contract, on the
test's own event loop. Needs pytest with pytest-asyncio in auto mode, and hypothesis.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest

from safelight.concurrency import beat
from safelight.errors import BackendUnavailable, BadField, Busy, CorruptImage, Missing, WrongState
from safelight.flows import Bound, Flow, Retry, Step, StepFunction
from safelight.ports.workflows import Letters, Run, RunState, Workflows

PATIENCE_S = 60.0
ENDED = (RunState.DONE, RunState.DEAD, RunState.CANCELLED)
NO_REST = Retry(attempts=3, first_wait_s=0.0)

AWKWARD_PAYLOADS: tuple[dict[str, Any], ...] = (
    {},
    {"": ""},
    {"image": "01JD", "version": 3, "tenant": "t"},
    {"nested": {"list": [1, [2, {"deep": None}]], "yes": True, "no": False}},
    {"text": "Grüße 写真 🖼 \u2028 \" \\ ' %s {} \n\t", "nul": "a\x00b", "half": "\ud83d"},
    {"large": 2**63, "negative": -(2**70), "float": 0.1, "tiny": 5e-324, "huge": 1.7976931348623157e308, "zero": -0.0},
    {"looks like a date": "2026-11-21T05:00:00Z", "looks like json": '{"a":1}'},
    {"long": "x" * 100_000},
)


class Keeper(Workflows, Protocol):
    """The port, and what the clock asks of its keepers."""

    async def prune(self, older_than: timedelta = ...) -> int:
        """Forget runs that were done so long ago (7 days unless said); dead letters stay. Returns how many went."""
        ...


class Builder(Protocol):
    """Builds a closed engine on a store of this test."""

    def __call__(self, bound: Bound, *, concurrency: int = 4, grace_s: float = 5.0, per_party: int | None = None) -> Keeper: ...


class Opener(Protocol):
    """Builds an engine and opens it; the contract closes it."""

    async def __call__(
        self, stage: Stage, *, concurrency: int = 4, grace_s: float = 5.0, per_party: int | None = None
    ) -> Keeper: ...


@dataclass
class Stage:
    """Flows that note what happens to them: `did` holds (run, step) in order, `deaths` what on_dead was told."""

    steps: dict[str, StepFunction] = field(default_factory=dict)
    flow_steps: tuple[Step, ...] = (Step(name="one", retry=NO_REST), Step(name="two", retry=NO_REST))
    did: list[tuple[str, str]] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)
    loops: list[asyncio.AbstractEventLoop] = field(default_factory=list)
    deaths: list[tuple[str, dict[str, Any], BaseException]] = field(default_factory=list)
    on_dead_failures: int = 0

    def bound(self) -> Bound:
        flow = Flow(name="flow", steps=self.flow_steps)
        return Bound(
            flows={"flow": flow},
            functions={f"flow.{step.name}": self._noting(step.name) for step in flow.steps},
            on_dead=self._on_dead,
        )

    def of(self, run_id: str) -> list[str]:
        return [step for run, step in self.did if run == run_id]

    def _noting(self, name: str) -> StepFunction:
        async def step(payload: Mapping[str, Any]) -> None:
            self.did.append((str(payload.get("run")), name))
            self.payloads.append(dict(payload))
            self.loops.append(asyncio.get_running_loop())
            if name in self.steps:
                await self.steps[name](payload)

        return step

    async def _on_dead(self, flow: str, payload: Mapping[str, Any], error: BaseException) -> None:
        self.loops.append(asyncio.get_running_loop())
        self.deaths.append((flow, dict(payload), error))
        if self.on_dead_failures > 0:
            self.on_dead_failures -= 1
            raise ConnectionError("nobody listens")


def failing(*errors: BaseException) -> StepFunction:
    """A step that raises these errors, one a try, and then does well."""
    left = list(errors)

    async def step(payload: Mapping[str, Any]) -> None:
        if left:
            raise left.pop(0)

    return step


def gated(gate: asyncio.Event) -> StepFunction:
    """A step that waits for the gate."""

    async def step(payload: Mapping[str, Any]) -> None:
        await gate.wait()

    return step


async def until(true: Callable[[], bool | Awaitable[bool]], within_s: float = PATIENCE_S) -> None:
    """Wait for something to become true, and fail when it does not."""
    deadline = time.monotonic() + within_s
    while True:
        answer = true()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


async def ended(engine: Workflows, run_id: str, within_s: float = PATIENCE_S) -> Run:
    """The run, once it has ended."""

    async def has_ended() -> bool:
        return (await engine.get(run_id)).state in ENDED

    await until(has_ended, within_s)
    return await engine.get(run_id)


async def letters(engine: Workflows, *expected: str) -> list[str]:
    """The ids of these dead letters once they are as expected, and in the end whatever they are: a list may lag behind by a moment."""
    found: list[str] = []
    deadline = time.monotonic() + PATIENCE_S / 4
    while time.monotonic() < deadline:
        found = [run.id for run in await engine.dead()]
        if found == list(expected):
            break
        await asyncio.sleep(0.05)
    return found


class WorkflowsContract:
    """Inherit it, and give a `build` fixture; say how prompt an engine is whose work comes from a server of its own."""

    AT_ONCE_S = 0.5
    """An urgent run is done within that, while there is room."""
    SOON_S = 1.0
    """What waits is done within that, once a place is free."""
    MANY = 300
    CROWD = 200
    LATEST_TURN = 6
    """The turn by which each of two runs has begun whose party comes after that crowd of another."""

    async def in_line(self, run_id: str) -> None:
        """Wait until a run that was started waits for its turn, where that takes an engine a moment."""

    @pytest.fixture
    async def opened(self, build: Builder) -> AsyncIterator[Opener]:
        engines: list[Keeper] = []

        async def opened(stage: Stage, *, concurrency: int = 4, grace_s: float = 5.0, per_party: int | None = None) -> Keeper:
            engine = build(stage.bound(), concurrency=concurrency, grace_s=grace_s, per_party=per_party)
            engines.append(engine)
            await engine.open()
            return engine

        yield opened
        for engine in engines:
            await engine.close()

    @pytest.mark.parametrize("is_urgent", (True, False))
    async def test_every_step_runs_once_and_in_order(self, opened: Opener, *, is_urgent: bool) -> None:
        stage = Stage()
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=is_urgent)
        run = await ended(engine, "r1")

        assert run.state is RunState.DONE
        assert stage.of("r1") == ["one", "two"]
        assert (run.id, run.flow, run.payload, run.error, run.attempts) == ("r1", "flow", {"run": "r1"}, None, 1)

    @pytest.mark.parametrize("is_urgent", (True, False))
    async def test_the_payload_arrives_as_it_was_given(self, opened: Opener, *, is_urgent: bool) -> None:
        stage = Stage()
        engine = await opened(stage)

        for number, payload in enumerate(AWKWARD_PAYLOADS):
            stage.payloads.clear()
            await engine.start("flow", f"r{number}", payload, is_urgent=is_urgent)
            run = await ended(engine, f"r{number}")

            assert run.payload == payload
            assert stage.payloads == [payload, payload]

    async def test_what_a_step_does_to_its_payload_reaches_no_other_step(self, opened: Opener) -> None:
        async def spoil(payload: Mapping[str, Any]) -> None:
            payload["list"].append(1)

        stage = Stage(steps={"one": spoil})
        engine = await opened(stage)

        await engine.start("flow", "r1", {"list": []}, is_urgent=True)
        await ended(engine, "r1")

        assert stage.payloads[1] == {"list": []}

    @pytest.mark.parametrize("is_urgent", (True, False))
    async def test_steps_and_on_dead_run_on_the_loop_of_the_opener(self, opened: Opener, *, is_urgent: bool) -> None:
        stage = Stage(steps={"two": failing(CorruptImage())})
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=is_urgent)
        await ended(engine, "r1")

        assert len(stage.loops) == 3
        assert set(stage.loops) == {asyncio.get_running_loop()}

    async def test_the_same_id_again_changes_nothing(self, opened: Opener) -> None:
        stage = Stage()
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        before = await ended(engine, "r1")
        await engine.start("flow", "r1", {"run": "other"}, is_urgent=True)
        await engine.start("flow", "r1", {"run": "r1"})
        await asyncio.sleep(0.1)

        assert stage.did == [("r1", "one"), ("r1", "two")]
        assert await engine.get("r1") == before

    @pytest.mark.parametrize("is_urgent", (True, False))
    async def test_a_hundred_starts_of_one_id_at_once_are_one_run(self, opened: Opener, *, is_urgent: bool) -> None:
        stage = Stage()
        engine = await opened(stage)

        await asyncio.gather(*(engine.start("flow", "r1", {"run": "r1"}, is_urgent=is_urgent) for _ in range(100)))
        await ended(engine, "r1")
        await asyncio.sleep(0.1)

        assert stage.did == [("r1", "one"), ("r1", "two")]

    async def test_a_transient_error_is_tried_again(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(Busy(), ConnectionError("any other"))})
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        run = await ended(engine, "r1")

        assert run.state is RunState.DONE
        assert stage.of("r1") == ["one", "one", "one", "two"]
        assert stage.deaths == []

    async def test_tries_rest_longer_each_time(self, opened: Opener) -> None:
        times: list[float] = []

        async def fail(payload: Mapping[str, Any]) -> None:
            times.append(time.monotonic())
            raise Busy

        patient = Retry(attempts=3, first_wait_s=0.1, backoff=3.0)
        stage = Stage(steps={"one": fail}, flow_steps=(Step(name="one", retry=patient),))
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")

        assert len(times) == 3
        assert times[1] - times[0] >= 0.1
        assert times[2] - times[1] >= 0.3

    async def test_a_step_that_uses_up_its_tries_makes_a_dead_letter(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(*(ConnectionError(f"try {n}") for n in range(1, 9)))})
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        run = await ended(engine, "r1")

        assert run.state is RunState.DEAD
        assert stage.of("r1") == ["one"] * 3
        assert run.attempts == 3
        assert run.error == "ConnectionError: try 3"

    @pytest.mark.parametrize("is_urgent", (True, False))
    async def test_a_permanent_error_makes_a_dead_letter_at_once(self, opened: Opener, *, is_urgent: bool) -> None:
        stage = Stage(steps={"two": failing(CorruptImage("half a file"), CorruptImage("never seen"))})
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=is_urgent)
        run = await ended(engine, "r1")

        assert run.state is RunState.DEAD
        assert stage.of("r1") == ["one", "two"]
        assert run.attempts == 1
        assert run.error == "CorruptImage: half a file"

    async def test_on_dead_is_told_flow_payload_and_error(self, opened: Opener) -> None:
        error = CorruptImage("half a file")
        stage = Stage(steps={"one": failing(error)})
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1", "more": [1]}, is_urgent=True)
        await ended(engine, "r1")

        assert stage.deaths == [("flow", {"run": "r1", "more": [1]}, error)]

    async def test_on_dead_is_told_again_when_it_fails(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(CorruptImage())}, on_dead_failures=1)
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        run = await ended(engine, "r1")

        assert run.state is RunState.DEAD
        assert len(stage.deaths) == 2

    async def test_on_dead_is_not_called_for_a_run_that_ends_well(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(Busy())})
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")

        assert stage.deaths == []

    async def test_an_error_text_no_database_likes_is_kept_as_text(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(CorruptImage("nul \x00 half \ud83d Grüße"))})
        engine = await opened(stage)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        run = await ended(engine, "r1")

        assert run.error == "CorruptImage: nul \\x00 half \\ud83d Grüße"

    async def test_steps_tell_names_times_and_the_failure(self, opened: Opener) -> None:
        stage = Stage(steps={"two": failing(CorruptImage("half a file"))})
        engine = await opened(stage)
        before = datetime.now(UTC) - timedelta(seconds=1)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")
        one, two = await engine.steps("r1")

        assert (one.name, one.error) == ("one", None)
        assert (two.name, two.error) == ("two", "CorruptImage: half a file")
        times = [moment for step in (one, two) for moment in (step.started_at, step.ended_at) if moment is not None]
        assert len(times) == 4
        assert times == sorted(times)
        assert before <= times[0]
        assert times[3] <= datetime.now(UTC)

    async def test_steps_of_an_unknown_run_are_none(self, opened: Opener) -> None:
        engine = await opened(Stage())

        assert list(await engine.steps("nobody")) == []
        assert list(await engine.steps("no\x00body")) == []

    @pytest.mark.parametrize("run_id", ("nobody", "no\x00body", "x" * 3000, "' OR 1=1 --"))
    async def test_an_unknown_run_is_missing(self, opened: Opener, run_id: str) -> None:
        engine = await opened(Stage())

        for question in (engine.get, engine.retry, engine.discard):
            with pytest.raises(Missing):
                await question(run_id)

    async def test_an_unknown_flow_is_missing(self, opened: Opener) -> None:
        engine = await opened(Stage())

        with pytest.raises(Missing):
            await engine.start("nothing", "r1", {})

    @pytest.mark.parametrize(("run_id", "payload"), (("", {}), (" ", {}), ("r1", {"bytes": b"x"}), ("r1", {"set": {1}})))
    async def test_a_run_without_id_or_json_is_refused(self, opened: Opener, run_id: str, payload: Any) -> None:
        engine = await opened(Stage())

        with pytest.raises(BadField):
            await engine.start("flow", run_id, payload)

    async def test_a_run_tells_its_state_on_the_way(self, opened: Opener) -> None:
        gate = asyncio.Event()
        stage = Stage(steps={"two": gated(gate)})
        engine = await opened(stage, concurrency=1)

        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await engine.start("flow", "r2", {"run": "r2"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one", "two"])
        states = ((await engine.get("r1")).state, (await engine.get("r2")).state)
        finished = [step.name for step in await engine.steps("r1")]
        gate.set()
        await ended(engine, "r2")

        assert states == (RunState.RUNNING, RunState.WAITING)
        assert finished == ["one"]

    async def test_an_urgent_run_begins_at_once_while_there_is_room(self, opened: Opener) -> None:
        stage = Stage()
        engine = await opened(stage)

        began = time.monotonic()
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one", "two"])

        assert time.monotonic() - began < self.AT_ONCE_S

    async def test_what_waits_begins_soon_after_a_place_is_free(self, opened: Opener) -> None:
        gate = asyncio.Event()
        stage = Stage(steps={"one": gated(gate)})
        engine = await opened(stage, concurrency=2)
        for number in range(6):
            await engine.start("flow", f"r{number}", {"run": f"r{number}"}, is_urgent=number % 2 == 0)

        gate.set()
        began = time.monotonic()
        await until(lambda: len(stage.did) == 12)

        assert time.monotonic() - began < self.SOON_S

    async def test_bulk_yields_to_urgent_runs(self, opened: Opener) -> None:
        gate = asyncio.Event()
        stage = Stage(steps={"one": gated(gate)})
        engine = await opened(stage, concurrency=1)
        await engine.start("flow", "first", {"run": "first"}, is_urgent=True)
        await until(lambda: stage.of("first") == ["one"])

        for number in range(10):
            await engine.start("flow", f"bulk{number}", {"run": f"bulk{number}"})
        await engine.start("flow", "urgent", {"run": "urgent"}, is_urgent=True)
        await self.in_line("urgent")
        gate.set()
        await ended(engine, "urgent")
        await until(lambda: len(stage.did) == 24)

        assert stage.did[2][0] == "urgent"

    async def test_bulk_leaves_a_place_for_urgent_runs(self, opened: Opener) -> None:
        gate = asyncio.Event()

        async def bulk_waits(payload: Mapping[str, Any]) -> None:
            if payload["run"].startswith("bulk"):
                await gate.wait()

        stage = Stage(steps={"one": bulk_waits})
        engine = await opened(stage, concurrency=3)
        for number in range(6):
            await engine.start("flow", f"bulk{number}", {"run": f"bulk{number}"})
        await until(lambda: len(stage.did) == 2)

        await engine.start("flow", "urgent", {"run": "urgent"}, is_urgent=True)
        urgent = await ended(engine, "urgent")
        gate.set()
        await until(lambda: len(stage.did) == 14)

        assert urgent.state is RunState.DONE

    async def test_many_runs_never_pass_the_limit_and_each_runs_once(self, opened: Opener) -> None:
        afoot = 0
        most = 0

        async def count(payload: Mapping[str, Any]) -> None:
            nonlocal afoot, most
            afoot += 1
            most = max(most, afoot)
            await asyncio.sleep(0.002)
            afoot -= 1

        stage = Stage(steps={"one": count, "two": count})
        engine = await opened(stage, concurrency=4)

        await asyncio.gather(
            *(engine.start("flow", f"r{n}", {"run": f"r{n}"}, is_urgent=n % 3 == 0) for n in range(self.MANY)),
        )
        await until(lambda: len(stage.did) == 2 * self.MANY)
        runs = [await ended(engine, f"r{n}") for n in range(self.MANY)]

        assert most <= 4
        assert all(run.state is RunState.DONE for run in runs)
        assert set(Counter(stage.did).values()) == {1}

    async def test_dead_letters_come_newest_first_and_no_more_than_asked(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(*(CorruptImage() for _ in range(2)))})
        engine = await opened(stage)
        for run_id in ("r1", "r2"):
            await engine.start("flow", run_id, {"run": run_id}, is_urgent=True)
            await ended(engine, run_id)
            # A durable engine may keep times in whole seconds.
            await asyncio.sleep(1.05)
        await engine.start("flow", "well", {"run": "well"}, is_urgent=True)
        await ended(engine, "well")

        assert await letters(engine, "r2", "r1") == ["r2", "r1"]
        assert [run.id for run in await engine.dead(limit=1)] == ["r2"]
        assert list(await engine.dead(limit=0)) == []

    async def test_retry_goes_on_from_the_failed_step_under_the_same_id(self, opened: Opener) -> None:
        stage = Stage(steps={"two": failing(CorruptImage())})
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")

        await engine.retry("r1")
        run = await ended(engine, "r1")

        assert run.state is RunState.DONE
        assert (run.id, run.error, run.payload) == ("r1", None, {"run": "r1"})
        assert stage.of("r1") == ["one", "two", "two"]
        assert [(step.name, step.error) for step in await engine.steps("r1")] == [("one", None), ("two", None)]
        assert await letters(engine) == []

    async def test_a_run_may_die_and_be_retried_twice(self, opened: Opener) -> None:
        stage = Stage(
            flow_steps=tuple(Step(name=name, retry=NO_REST) for name in ("one", "two", "three")),
            steps={"two": failing(CorruptImage("first")), "three": failing(CorruptImage("second"))},
        )
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")

        await engine.retry("r1")
        second = await ended(engine, "r1")
        listed = await letters(engine, "r1")
        await engine.retry("r1")
        third = await ended(engine, "r1")

        assert (second.state, second.error) == (RunState.DEAD, "CorruptImage: second")
        assert listed == ["r1"]
        assert third.state is RunState.DONE
        assert stage.of("r1") == ["one", "two", "two", "three", "three"]
        assert [str(error) for _, _, error in stage.deaths] == ["first", "second"]

    async def test_only_a_dead_run_can_be_retried_or_discarded(self, opened: Opener) -> None:
        gate = asyncio.Event()
        stage = Stage(steps={"one": gated(gate)})
        engine = await opened(stage, concurrency=1)
        await engine.start("flow", "runs", {"run": "runs"}, is_urgent=True)
        await engine.start("flow", "waits", {"run": "waits"}, is_urgent=True)
        await until(lambda: stage.of("runs") == ["one"])

        for run_id in ("runs", "waits"):
            with pytest.raises(WrongState):
                await engine.retry(run_id)
            with pytest.raises(WrongState):
                await engine.discard(run_id)
        gate.set()
        await ended(engine, "waits")
        with pytest.raises(WrongState):
            await engine.retry("waits")

    async def test_many_retries_at_once_are_one(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(CorruptImage())})
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")

        answers = await asyncio.gather(*(engine.retry("r1") for _ in range(8)), return_exceptions=True)
        await ended(engine, "r1")

        assert sum(answer is None for answer in answers) == 1
        assert all(answer is None or isinstance(answer, WrongState) for answer in answers)
        assert stage.of("r1") == ["one", "one", "two"]

    async def test_a_discarded_run_is_forgotten_and_its_id_free(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(CorruptImage())})
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")

        await engine.discard("r1")
        with pytest.raises(Missing):
            await engine.get("r1")
        listed = await letters(engine)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        run = await ended(engine, "r1")

        assert listed == []
        assert run.state is RunState.DONE

    async def test_prune_forgets_old_runs_that_are_done_and_keeps_dead_letters(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(CorruptImage())})
        engine = await opened(stage)
        for run_id in ("dead", "done1", "done2"):
            await engine.start("flow", run_id, {"run": run_id}, is_urgent=True)
            await ended(engine, run_id)

        early = await engine.prune()
        pruned = 0

        async def are_gone() -> bool:
            # A server may list what ended a moment later, and forget it in its own time.
            nonlocal pruned
            pruned += await engine.prune(timedelta(0))
            outcomes = await asyncio.gather(*(engine.get(name) for name in ("done1", "done2")), return_exceptions=True)
            return all(isinstance(outcome, Missing) for outcome in outcomes)

        await until(are_gone)

        assert early == 0
        assert pruned >= 2
        assert await letters(engine, "dead") == ["dead"]

    async def test_a_closed_engine_does_not_answer(self, build: Builder) -> None:
        engine = build(Stage().bound())
        questions = (
            engine.ping,
            lambda: engine.start("flow", "r1", {}),
            lambda: engine.get("r1"),
            lambda: engine.steps("r1"),
            engine.dead,
            lambda: engine.retry("r1"),
            lambda: engine.discard("r1"),
        )

        for question in questions:
            with pytest.raises(BackendUnavailable):
                await question()
        await engine.open()
        await engine.ping()
        await engine.close()
        for question in questions:
            with pytest.raises(BackendUnavailable):
                await question()

    async def test_open_and_close_may_be_repeated(self, opened: Opener) -> None:
        engine = await opened(Stage())

        await engine.open()
        await engine.close()
        await engine.close()
        await engine.open()

        await engine.ping()

    async def test_close_lets_a_step_finish_and_the_next_open_does_the_rest(self, opened: Opener) -> None:
        gate = asyncio.Event()
        stage = Stage(steps={"one": gated(gate)})
        engine = await opened(stage, concurrency=1)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await engine.start("flow", "r2", {"run": "r2"})
        await until(lambda: stage.of("r1") == ["one"])

        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0.1)
        gate.set()
        await closing
        at_close = list(stage.did)
        await engine.open()
        runs = [await ended(engine, "r1"), await ended(engine, "r2")]

        assert at_close == [("r1", "one")]
        assert stage.of("r1") == ["one", "two"]
        assert stage.of("r2") == ["one", "two"]
        assert [(run.state, run.attempts) for run in runs] == [(RunState.DONE, 1), (RunState.DONE, 1)]

    async def test_close_does_not_wait_longer_than_its_grace_and_the_step_runs_again(self, opened: Opener) -> None:
        stage = Stage(steps={"one": gated(asyncio.Event())})
        engine = await opened(stage, grace_s=0.2)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one"])

        began = time.monotonic()
        await engine.close()
        took_s = time.monotonic() - began
        stage.steps.clear()
        await engine.open()
        run = await ended(engine, "r1")

        assert took_s < 3.0
        assert run.state is RunState.DONE
        assert stage.of("r1") == ["one", "one", "two"]
        assert stage.deaths == []

    async def test_close_does_not_wait_for_a_run_that_rests(self, opened: Opener) -> None:
        patient = Retry(attempts=2, first_wait_s=4.0)
        stage = Stage(steps={"one": failing(Busy())}, flow_steps=(Step(name="one", retry=patient),))
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one"])

        began = time.monotonic()
        await engine.close()
        took_s = time.monotonic() - began
        await engine.open()
        run = await ended(engine, "r1")

        assert took_s < 3.0
        assert run.state is RunState.DONE

    async def test_a_dead_letter_outlives_a_close(self, opened: Opener) -> None:
        stage = Stage(steps={"two": failing(CorruptImage("half a file"))})
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")

        await engine.close()
        await engine.open()
        await letters(engine, "r1")
        listed = await engine.dead()
        await engine.retry("r1")
        run = await ended(engine, "r1")

        assert [(letter.id, letter.error) for letter in listed] == [("r1", "CorruptImage: half a file")]
        assert run.state is RunState.DONE
        assert stage.of("r1") == ["one", "two", "two"]

    async def test_the_loop_stays_free_while_runs_are_started_and_done(self, opened: Opener) -> None:
        stage = Stage()
        engine = await opened(stage)
        worst = 0.0

        async def watch() -> None:
            nonlocal worst
            while True:
                asked = time.monotonic()
                await asyncio.sleep(0.005)
                worst = max(worst, time.monotonic() - asked - 0.005)

        # Whoever blocks the loop does so each time; a machine that has other things to do does not.
        for attempt in range(3):
            worst = 0.0
            stage.did.clear()
            watcher = asyncio.create_task(watch())
            runs = [f"r{attempt}-{n}" for n in range(50)]
            await asyncio.gather(*(engine.start("flow", run, {"run": run}, is_urgent=True) for run in runs))
            await until(lambda: len(stage.did) == 100)
            watcher.cancel()
            if worst < 0.25:
                break

        assert worst < 0.25, f"the loop stood still for {math.ceil(worst * 1000)} ms"

    async def test_one_partys_thousands_do_not_hold_up_anothers_two(self, opened: Opener) -> None:
        gate = asyncio.Event()
        stage = Stage(steps={"one": gated(gate)}, flow_steps=(Step(name="one", retry=NO_REST),))
        engine = await opened(stage, concurrency=2)
        await engine.start("flow", "first", {"run": "first"}, party="large")
        await until(lambda: stage.of("first") == ["one"])

        many = [f"large{number}" for number in range(self.CROWD)]
        await asyncio.gather(*(engine.start("flow", run_id, {"run": run_id}, party="large") for run_id in many))
        for run_id in ("small0", "small1"):
            await engine.start("flow", run_id, {"run": run_id}, party="small")
            await self.in_line(run_id)
        gate.set()
        await until(lambda: len(stage.did) == self.CROWD + 3)
        order = [run_id for run_id, _ in stage.did]

        # One place is for runs that nobody waits for: after the first of the many, they take turns.
        assert max(order.index("small0"), order.index("small1")) <= self.LATEST_TURN
        assert set(Counter(order).values()) == {1}

    async def test_parties_that_all_have_many_get_the_same_share(self, opened: Opener) -> None:
        stage = Stage(flow_steps=(Step(name="one", retry=NO_REST),))
        engine = await opened(stage, concurrency=3)
        gate = asyncio.Event()
        stage.steps["one"] = gated(gate)
        for number in range(3):
            await engine.start("flow", f"w{number}", {"run": f"w{number}"}, is_urgent=True, party="wait")
        await until(lambda: len(stage.did) == 3)
        for party in ("a", "b", "c"):
            for number in range(20):
                run_id = f"{party}{number}"
                await engine.start("flow", run_id, {"run": run_id}, is_urgent=True, party=party)
        gate.set()
        await until(lambda: len(stage.did) == 63)

        first = Counter(run_id[0] for run_id, _ in stage.did[3:33])
        assert set(first) == {"a", "b", "c"}
        assert min(first.values()) >= 5

    async def test_a_party_has_no_more_places_than_it_may(self, opened: Opener) -> None:
        gate = asyncio.Event()
        stage = Stage(steps={"one": gated(gate)})
        engine = await opened(stage, concurrency=6, per_party=2)
        for number in range(4):
            for is_urgent in (True, False):
                run_id = f"large{number}-{is_urgent}"
                await engine.start("flow", run_id, {"run": run_id}, party="large", is_urgent=is_urgent)
        for run_id in ("small", "nobodys"):
            await engine.start("flow", run_id, {"run": run_id}, party="" if run_id == "nobodys" else run_id)
        await until(lambda: bool(stage.of("small")) and bool(stage.of("nobodys")))
        begun = [run_id for run_id, _ in stage.did if run_id.startswith("large")]
        gate.set()
        await until(lambda: len(stage.did) == 20)

        assert len(begun) == 2

    async def test_a_run_that_is_to_begin_later_waits(self, opened: Opener) -> None:
        began: dict[str, float] = {}

        async def note(payload: Mapping[str, Any]) -> None:
            began.setdefault(payload["run"], time.monotonic())

        stage = Stage(steps={"one": note})
        engine = await opened(stage)
        asked = time.monotonic()
        for is_urgent in (True, False):
            run_id = f"late-{is_urgent}"
            await engine.start("flow", run_id, {"run": run_id}, is_urgent=is_urgent, after_s=1.5, party="p")
        states = [(await engine.get(f"late-{is_urgent}")).state for is_urgent in (True, False)]
        await engine.start("flow", "now", {"run": "now"}, after_s=0.0)
        runs = [await ended(engine, run_id) for run_id in ("now", "late-True", "late-False")]

        assert states == [RunState.WAITING] * 2
        assert {run.state for run in runs} == {RunState.DONE}
        assert min(began["late-True"], began["late-False"]) - asked >= 1.4

    async def test_a_delay_outlives_a_close(self, opened: Opener) -> None:
        stage = Stage()
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, after_s=1.0)
        await engine.close()
        await engine.open()
        run = await ended(engine, "r1")

        assert run.state is RunState.DONE

    async def test_a_try_that_takes_longer_than_its_step_may_is_broken_off_and_tried_again(self, opened: Opener) -> None:
        broken_off: list[str] = []

        async def hang(payload: Mapping[str, Any]) -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                broken_off.append(payload["run"])
                raise

        stage = Stage(
            steps={"one": hang}, flow_steps=(Step(name="one", retry=Retry(attempts=2, first_wait_s=0.0), timeout_s=0.2),)
        )
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        run = await ended(engine, "r1")

        assert (run.state, run.attempts) == (RunState.DEAD, 2)
        assert run.error == "StepTimedOut: The step one took longer than 0.2 s and was broken off."
        assert broken_off == ["r1", "r1"]

    async def test_a_try_that_gives_signs_of_life_goes_on_and_one_that_does_not_is_broken_off(self, opened: Opener) -> None:
        async def live(payload: Mapping[str, Any]) -> None:
            if payload["run"] == "silent":
                await asyncio.sleep(3600)
            for _ in range(12):
                await asyncio.sleep(0.25)
                beat()

        flow_steps = (Step(name="one", retry=Retry(attempts=1), heartbeat_s=2.0),)
        engine = await opened(Stage(steps={"one": live}, flow_steps=flow_steps))
        for run_id in ("lively", "silent"):
            await engine.start("flow", run_id, {"run": run_id}, is_urgent=True)
        lively, silent = [await ended(engine, run_id) for run_id in ("lively", "silent")]

        assert lively.state is RunState.DONE
        assert silent.error == "StepTimedOut: The step one gave no sign of life for 2 s and was broken off."

    async def test_a_timeout_of_the_steps_own_is_an_error_like_any_other(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(TimeoutError("of my own"))})
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        run = await ended(engine, "r1")

        assert (run.state, stage.of("r1")) == (RunState.DONE, ["one", "one", "two"])

    async def test_a_dead_letter_tells_its_party_and_what_was_noted_of_its_tries(self, opened: Opener) -> None:
        stage = Stage(steps={"two": failing(*(ConnectionError(f"try {n} \x00") for n in range(1, 9)))})
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True, party="acme")
        run = await ended(engine, "r1")

        assert (run.party, run.attempts) == ("acme", 3)
        assert [line.split(" ", 1)[1] for line in run.log] == [
            f"try failed step=two tries={n} error=ConnectionError: try {n} \\x00" for n in (1, 2, 3)
        ]
        await letters(engine, "r1")
        assert [letter.log for letter in await engine.dead()] == [run.log]

    async def test_dead_letters_are_told_by_flow_party_cause_and_time(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(CorruptImage("half a file"), CorruptImage("No END"), CorruptImage("half a page"))})
        engine = await opened(stage)
        for run_id, party in (("r1", "acme"), ("r2", "acme"), ("r3", "other")):
            await engine.start("flow", run_id, {"run": run_id}, is_urgent=True, party=party)
            await ended(engine, run_id)

        async def are_listed() -> bool:
            return len(await engine.dead()) == 3

        await until(are_listed)
        died = {run.id: run.updated_at for run in await engine.dead()}

        async def found(**words: Any) -> set[str]:
            return {run.id for run in await engine.dead(Letters(**words))}

        assert await found(party="acme") == {"r1", "r2"}
        assert await found(cause="HALF A") == {"r1", "r3"}
        assert await found(cause="half", party="acme", flow="flow") == {"r1"}
        assert await found(flow="other") == set()
        assert await found(before=min(died.values())) == set()
        assert await found(after=min(died.values())) == {"r1", "r2", "r3"}
        assert await found(after=max(died.values()) + timedelta(seconds=1)) == set()
        assert [run.id for run in await engine.dead(Letters(party="acme"), limit=1)] in (["r1"], ["r2"])

    async def test_what_is_retried_waits_behind_what_is_urgent(self, opened: Opener) -> None:
        stage = Stage(steps={"one": failing(CorruptImage())}, flow_steps=(Step(name="one", retry=NO_REST),))
        engine = await opened(stage, concurrency=1)
        await engine.start("flow", "dead", {"run": "dead"}, is_urgent=True, party="p")
        await ended(engine, "dead")
        gate = asyncio.Event()
        stage.steps["one"] = gated(gate)
        await engine.start("flow", "busy", {"run": "busy"}, is_urgent=True)
        await until(lambda: stage.of("busy") == ["one"])

        await engine.retry("dead")
        await engine.start("flow", "urgent", {"run": "urgent"}, is_urgent=True)
        await asyncio.sleep(1.0)  # what looks for work may be on its way between the urgent and the others
        gate.set()
        await ended(engine, "dead")

        assert [run_id for run_id, _ in stage.did] == ["dead", "busy", "urgent", "dead"]
