"""Durable runs on a real Temporal server: the whole contract, and what this engine promises beyond it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from tests.servers.temporal import Temporal, new_temporal, temporal, temporal_queue  # noqa: F401

from safelight.adapters.workflows.temporal import TemporalOptions, TemporalWorkflows
from safelight.adapters.workflows.temporal_run import RunFlow
from safelight.errors import BackendUnavailable, BadField, BadOption, Busy, CorruptImage
from safelight.flows import Step
from safelight.ports.workflows import RunState
from safelight.testing.contracts.workflows import NO_REST, Stage, WorkflowsContract, ended, failing, gated, until


class TestTemporalWorkflows(WorkflowsContract):
    # Every step is a few answers of a server that shares this machine; its turns are fair on the whole, not one by one.
    AT_ONCE_S = 10.0
    SOON_S = 15.0
    CROWD = 80
    LATEST_TURN = 20
    MANY = 60

    @pytest.fixture
    def options(self, temporal, temporal_queue):
        return TemporalOptions.from_url(temporal.url(), queue=temporal_queue)

    @pytest.fixture(autouse=True)
    def _known(self, options):
        self.options = options

    async def in_line(self, run_id):
        client = await self.options.connect()
        handle = client.get_workflow_handle(f"{self.options.queue}/{run_id}")

        async def is_scheduled() -> bool:
            return bool((await handle.describe()).raw_description.pending_activities)

        await until(is_scheduled)

    @pytest.fixture
    def build(self, options):
        return partial(TemporalWorkflows, options, concurrency=4, grace_s=5.0)

    async def test_two_installations_in_one_namespace_are_kept_apart(self, options, opened):
        stage = Stage()
        engine = await opened(stage)
        other_stage = Stage()
        other = TemporalWorkflows(
            dataclasses.replace(options, queue=f"{options.queue}-other"), other_stage.bound(), concurrency=1
        )
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
                "flow",
                "r" * 2000 if long == "id" else "r1",
                {"run": "x" * (3_000_000 if long == "payload" else 1)},
                is_urgent=True,
            )
        await engine.start("flow", "well", {"run": "well"}, is_urgent=True)

        assert (await ended(engine, "well")).state is RunState.DONE

    async def test_a_namespace_that_is_not_there_is_refused_by_name(self, temporal):
        engine = TemporalWorkflows(TemporalOptions.from_url(temporal.url("nowhere")), Stage().bound(), concurrency=1)

        with pytest.raises(BadOption, match="namespace"):
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

    @pytest.mark.parametrize("more", ({"api_key": "k"}, {"ca": Path("/ca.pem")}))
    async def test_keys_are_not_sent_without_tls(self, more):
        with pytest.raises(BadOption, match="temporals://"):
            await TemporalOptions.from_url("temporal://host", **more).connect()


class TestTls:
    async def test_a_server_is_believed_by_its_authority_and_asks_for_our_certificate(self, temporal, temporal_queue, tmp_path):
        authority = Authority(tmp_path)
        own, theirs = authority.certificate("safelight"), authority.certificate("localhost")
        asked = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
        asked.load_cert_chain(*theirs)
        asked.verify_mode = ssl.CERT_REQUIRED
        asked.set_alpn_protocols(["h2"])
        async with before(temporal, asked) as port:
            url = f"temporals://localhost:{port}/default"
            options = TemporalOptions.from_url(url, queue=temporal_queue, ca=authority.file, certificate=own[0], key=own[1])
            stage = Stage()
            engine = TemporalWorkflows(options, stage.bound(), concurrency=1, grace_s=1.0)
            await engine.open()
            await engine.start("flow", "r1", {"run": "r1"}, is_urgent=True)
            run = await ended(engine, "r1")
            await engine.close()
            for missing in ({"ca": None}, {"certificate": None, "key": None}):
                with pytest.raises(BackendUnavailable):
                    await dataclasses.replace(options, **missing).connect()

        assert run.state is RunState.DONE


class Authority:
    """Signs certificates, and is known by its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._signed(self._name, self._key.public_key(), is_authority=True))

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate.write_bytes(self._signed(subject, key.public_key(), is_authority=False))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, secret

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool) -> bytes:
        now = datetime.now(UTC)
        name = subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        builder = (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(str(name))]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


@contextlib.asynccontextmanager
async def before(server: Temporal, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """What ends TLS before the server, as a gateway does; its port."""

    writers: list[asyncio.StreamWriter] = []
    gates: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def carry_both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        writers.extend((writer, back))
        await asyncio.gather(carry(reader, back), carry(there, writer))

    def gate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gates.add(asyncio.create_task(carry_both(reader, writer)))

    listening = await asyncio.start_server(gate, "localhost", 0, ssl=tls, family=socket.AF_INET)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*gates, return_exceptions=True)
