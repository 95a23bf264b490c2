"""Durable runs on a real Temporal server: the whole contract, and what this engine promises beyond it."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial

import pytest
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from safelight.adapters.workflows.temporal import TemporalOptions, TemporalWorkflows
from safelight.adapters.workflows.temporal_run import RunFlow
from safelight.errors import BackendUnavailable, BadField, BadOption, Busy, CorruptImage
from safelight.flows import Step
from safelight.ports.workflows import RunState
from safelight.testing.contracts.workflows import NO_REST, Stage, WorkflowsContract, ended, failing, gated, until
from tests.servers.temporal import new_temporal, temporal, temporal_queue  # noqa: F401


class TestTemporalWorkflows(WorkflowsContract):
    # Every step is a few answers of a server that shares this machine; its turns are fair on the whole, not one by one.
    AT_ONCE_S = 10.0
    SOON_S = 15.0
    LATEST_TURN = 60
    MANY = 60

    @pytest.fixture
    def options(self, temporal, temporal_queue):
        return TemporalOptions.from_url(temporal.url(), queue=temporal_queue)

    @pytest.fixture
    def build(self, options):
        return partial(TemporalWorkflows, options, concurrency=4, grace_s=5.0)

    async def test_two_installations_in_one_namespace_are_kept_apart(self, options, opened):
        stage = Stage()
        engine = await opened(stage)
        other_stage = Stage()
        other = TemporalWorkflows(dataclasses.replace(options, queue=f"{options.queue}-other"), other_stage.bound(), concurrency=1)
        await other.open()
        for one in (engine, other):
            await one.start("flow", "a/b c", {"run": "a/b c"}, is_urgent=True)
        runs = [await ended(one, "a/b c") for one in (engine, other)]
        await other.close()

        assert [run.id for run in runs] == ["a/b c"] * 2
        assert stage.did == other_stage.did == [("a/b c", "one"), ("a/b c", "two")]

    async def test_another_engine_goes_on_where_the_first_ended(self, opened):
        before = Stage(steps={"two": gated(asyncio.Event())})
        first = await opened(before, grace_s=0.1)
        await first.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: before.of("r1") == ["one", "two"])
        after = Stage()
        await opened(after)
        await first.close()

        await until(lambda: after.of("r1") == ["two"])

    async def test_a_run_whose_process_went_without_a_word_is_taken_up_elsewhere_until_it_is_given_up(self, options):
        gone = Stage(steps={"one": gated(asyncio.Event())})
        stage = Stage(steps={"one": failing(Busy())})
        engine = TemporalWorkflows(options, gone.bound(), concurrency=1, lost_s=1.0, max_recoveries=0, grace_s=0.1)
        await engine.open()
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: gone.of("r1") == ["one"])
        # Its signs of life stop, as those of a process do that is frozen.
        beats = [task for task in asyncio.all_tasks() if "beat" in getattr(task.get_coro(), "__qualname__", "")]
        for task in beats:
            task.cancel()
        run = await ended(engine, "r1")
        await engine.close()

        assert beats
        assert (run.state, run.attempts, run.error) == (
            RunState.DEAD,
            1,
            "SafelightError: Given up: the process ended 1 times while this was running.",
        )
        assert [str(error) for _, _, error in gone.deaths] == ["Given up: the process ended 1 times while this was running."]
        assert stage.did == []

    async def test_a_step_that_this_version_does_not_have_is_a_dead_letter(self, opened, build):
        first = await opened(Stage(steps={"one": gated(asyncio.Event())}), grace_s=0.1)
        await first.start("flow", "r1", {"run": "r1"})
        await first.close()
        engine = await opened(Stage(flow_steps=(Step(name="other", retry=NO_REST),)))
        run = await ended(engine, "r1")

        assert (run.state, run.error) == (RunState.DEAD, "Missing: The flow flow has no step one.")

    async def test_what_histories_tell_is_what_this_code_would_decide_again(self, options, opened):
        """A worker of another version replays what was begun: whoever changes the workflow's decisions must version them."""
        stage = Stage(steps={"one": failing(Busy()), "two": failing(CorruptImage())})
        engine = await opened(stage)
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await ended(engine, "r1")
        await engine.retry("r1")
        await ended(engine, "r1")
        client = await options.connect()
        history = await client.get_workflow_handle(f"{options.queue}/r1").fetch_history()

        await Replayer(workflows=[RunFlow], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(history)

    @pytest.mark.parametrize("long", ("id", "payload"))
    async def test_what_the_server_finds_too_long_is_refused_and_leaves_no_place_taken(self, opened, long):
        engine = await opened(Stage(), concurrency=1)
        with pytest.raises(BadField):
            await engine.start(
                "flow", "r" * 2000 if long == "id" else "r1", {"run": "x" * (3_000_000 if long == "payload" else 1)}, is_urgent=True
            )
        await engine.start("flow", "well", {"run": "well"}, is_urgent=True)

        assert (await ended(engine, "well")).state is RunState.DONE

    async def test_a_namespace_that_is_not_there_is_refused_by_name(self, temporal):
        engine = TemporalWorkflows(TemporalOptions.from_url(temporal.url("nowhere")), Stage().bound(), concurrency=1)

        with pytest.raises(BadOption, match="nowhere"):
            await engine.open()

    async def test_a_server_that_is_not_there_is_unavailable(self):
        engine = TemporalWorkflows(TemporalOptions.from_url("temporal://127.0.0.1:1"), Stage().bound(), concurrency=1)

        with pytest.raises(BackendUnavailable):
            await engine.open()

    async def test_a_server_that_dies_is_unavailable_and_one_that_comes_back_goes_on(self, new_temporal, temporal_queue):
        gate = asyncio.Event()
        stage = Stage(steps={"one": gated(gate)})
        options = TemporalOptions.from_url(new_temporal.url(), queue=temporal_queue)
        engine = TemporalWorkflows(options, stage.bound(), concurrency=2, grace_s=1.0, lost_s=5.0)
        await engine.open()
        await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
        await until(lambda: stage.of("r1") == ["one"])
        new_temporal.kill()
        questions = (engine.ping(), engine.start("flow", "r2", {"run": "r2"}), engine.get("r1"), engine.dead())
        outcomes = await asyncio.gather(*questions, return_exceptions=True)
        gate.set()
        new_temporal.start()
        run = await ended(engine, "r1")
        await engine.start("flow", "r2", {"run": "r2"}, is_urgent=True)
        after = await ended(engine, "r2")
        await engine.close()

        assert [type(outcome) for outcome in outcomes] == [BackendUnavailable] * 4
        assert (run.state, after.state) == (RunState.DONE, RunState.DONE)


class TestTemporalOptions:
    @pytest.mark.parametrize(
        ("url", "address", "namespace", "has_tls"),
        (
            ("temporal://host", "host:7233", "default", False),
            ("temporal://host:1/pictures", "host:1", "pictures", False),
            ("temporals://[::1]:7233/a.b1c2", "[::1]:7233", "a.b1c2", True),
        ),
    )
    def test_a_url_names_address_namespace_and_tls(self, url, address, namespace, has_tls):
        options = TemporalOptions.from_url(url)

        assert (options.address, options.namespace, options.has_tls) == (address, namespace, has_tls)

    @pytest.mark.parametrize("url", ("", "temporal://", "postgresql://host/d", "temporal://host:x/n", "temporal://host/a/b"))
    def test_another_url_is_refused(self, url):
        with pytest.raises(BadOption):
            TemporalOptions.from_url(url)

    async def test_a_certificate_without_its_key_is_refused(self, tmp_path):
        with pytest.raises(BadOption):
            await TemporalOptions.from_url("temporals://host", certificate=tmp_path / "c.pem").connect()

    async def test_a_certificate_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(BadOption, match="ca.pem"):
            await TemporalOptions.from_url("temporals://host", ca=tmp_path / "ca.pem").connect()
