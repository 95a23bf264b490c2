"""The sandbox against code that has been taken over: each costs its own job, with the right error, and the next job works."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from tests.hostile.family import grandchildren, zygotes
from tests.pictures import animation, jpeg

from safelight.errors import CorruptImage, DecodeBudgetExceeded, SafelightError, SandboxLost
from safelight.imaging import Format, Limits, Sandbox
from safelight.imaging.sandbox.client import JOBS

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED = ("echo", "crash", "hang", "hoard", "attempt", "thread", "secrets", "babble", "lie", "nap")
LIMITS = Limits(wall_s=1.5, cpu_s=1, memory_bytes=1 << 30)


async def until(condition, within_s=60.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "still not so"
        await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("SAFELIGHT_SECRET_KEY", "do not tell")
        planted = {name: f"planted:{name}" for name in PLANTED}
        async with Sandbox(slots=2, limits=LIMITS, jobs={**JOBS, **planted}) as sandbox:
            yield sandbox
    assert zygotes() == []


@pytest.fixture
def fd():
    fd = os.memfd_create("input")
    os.write(fd, b"bytes of a stranger")
    yield fd
    os.close(fd)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def unharmed(sandbox, fd):
    """Whatever a test did: nothing is left, and the next job works."""
    yield
    await until(lambda: not grandchildren())
    assert (await sandbox.run("echo", fd, "still there")).value["argument"] == "still there"


async def test_all_four_layers_hold_here(sandbox):
    assert sandbox.protections() == ("rlimits", "no_new_privs", "landlock", "seccomp")


async def test_a_job_sees_the_file_and_its_argument(sandbox, fd):
    reply = await sandbox.run("echo", fd, {"a": [1, None, "é"]})

    assert reply.value == {"size": 19, "argument": {"a": [1, None, "é"]}}
    assert reply.blobs == [b"bytes of a stranger"]


async def test_the_descriptor_may_be_closed_and_stand_anywhere(sandbox):
    fd = os.memfd_create("input")
    os.write(fd, b"12345")
    waiting = asyncio.create_task(sandbox.run("echo", fd))
    await asyncio.sleep(0.05)
    os.close(fd)

    assert (await waiting).value["size"] == 5


@pytest.mark.parametrize("how", ("segfault", "abort", "exit"))
async def test_a_crash_is_the_inputs_fault(sandbox, fd, how):
    with pytest.raises(CorruptImage, match="safely"):
        await sandbox.run("crash", fd, how)


async def test_a_refusal_arrives_as_it_was_said(sandbox, fd):
    with pytest.raises(CorruptImage, match="It says so itself"):
        await sandbox.run("crash", fd, "refusal")


async def test_a_fault_of_ours_is_not_blamed_on_the_input(sandbox, fd):
    with pytest.raises(SafelightError, match="KeyError") as caught:
        await sandbox.run("crash", fd, "exception")

    assert caught.value.code == "internal"


@pytest.mark.parametrize("how", ("asleep", "busy"))
async def test_a_hang_ends_in_time(sandbox, fd, how):
    started = time.monotonic()
    with pytest.raises(DecodeBudgetExceeded):
        await sandbox.run("hang", fd, how)

    assert time.monotonic() - started < 30


@pytest.mark.parametrize("how", ("at once", "by and by"))
async def test_ten_gigabytes_are_not_given(sandbox, fd, how):
    with pytest.raises(DecodeBudgetExceeded):
        await sandbox.run("hoard", fd, how)


@pytest.mark.parametrize(
    "what",
    (
        "read a file",
        "write a file",
        "list a folder",
        "remove a file",
        "open a socket",
        "open a unix socket",
        "fork",
        "execute",
        "kill the parent",
        "trace the parent",
        "read the parent's memory",
        "map a new kernel program",
        "raise a limit",
        "make a file in memory",
        "take another identity",
        "change the input",
    ),
)
async def test_nothing_but_computing_is_allowed(sandbox, fd, what):
    assert (await sandbox.run("attempt", fd, what)).value in {"EPERM", "EACCES"}


async def test_threads_are_allowed(sandbox, fd):
    assert (await sandbox.run("thread", fd)).value == [7]


async def test_there_is_nothing_to_steal(sandbox, fd):
    seen = (await sandbox.run("secrets", fd)).value

    assert "do not tell" not in seen["environment"].values()
    # standard streams (nowhere), /dev/null, the landlock ruleset, the input and the reply, at most
    assert len(seen["handles"]) <= 8


@pytest.mark.parametrize("how", ("noise", "endless head", "many blobs", "half a head"))
async def test_nonsense_is_not_believed(sandbox, fd, how):
    with pytest.raises(CorruptImage, match="safely"):
        await sandbox.run("babble", fd, how)


async def test_a_page_cannot_pass_for_a_picture(fd):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        async with Sandbox(slots=1, jobs={"develop": "planted:lie"}) as lying:
            with pytest.raises(CorruptImage, match="safely"):
                await lying.develop(fd)


async def test_at_most_so_many_run_at_once_and_in_turn(sandbox, fd):
    ended = await asyncio.gather(*(sandbox.run("nap", fd, 0.2) for _ in range(6)))

    times = [reply.value for reply in ended]
    assert all(later > earlier for earlier, later in zip(times, times[2:], strict=False))
    assert times[-1] - times[0] > 0.35


async def test_probes_do_not_queue_behind_developments(sandbox, fd):
    naps = [asyncio.create_task(sandbox.run("nap", fd, 1.0)) for _ in range(4)]
    await asyncio.sleep(0.05)
    picture = os.memfd_create("picture")
    os.write(picture, jpeg(64, 48))

    assert (await sandbox.probe(picture)).format is Format.JPEG
    assert not all(nap.done() for nap in naps)
    await asyncio.gather(*naps)
    os.close(picture)


async def test_a_cancelled_caller_ends_the_child_and_frees_its_slot(sandbox, fd):
    hanging = [asyncio.create_task(sandbox.run("hang", fd, "asleep")) for _ in range(2)]
    await until(lambda: len(grandchildren()) == 2)
    for task in hanging:
        task.cancel()

    await asyncio.gather(*hanging, return_exceptions=True)
    assert (await sandbox.run("echo", fd)).value["size"] == 19
    await until(lambda: not grandchildren(), within_s=1.0)  # before their own time was up


async def test_a_caller_cancelled_in_the_queue_takes_no_slot(sandbox, fd):
    naps = [asyncio.create_task(sandbox.run("nap", fd, 0.2)) for _ in range(2)]
    waiting = asyncio.create_task(sandbox.run("hang", fd, "asleep"))
    await asyncio.sleep(0.05)
    waiting.cancel()

    await asyncio.gather(*naps, waiting, return_exceptions=True)
    assert waiting.cancelled()


async def test_a_lost_zygote_costs_the_jobs_under_way_and_is_replaced(sandbox, fd):
    under_way = asyncio.create_task(sandbox.run("hang", fd, "asleep"))
    await until(lambda: len(grandchildren()) == 1)
    (zygote,) = zygotes()
    zygote.send_signal(signal.SIGKILL)

    with pytest.raises(SandboxLost):
        await under_way
    assert (await sandbox.run("echo", fd)).value["size"] == 19
    await sandbox.ping()
    assert len(zygotes()) == 1
    assert zygotes() != [zygote]


@pytest.mark.parametrize("number", (signal.SIGKILL, signal.SIGTERM))
async def test_a_decoder_that_somebody_else_ends_is_not_blamed_on_the_input(sandbox, fd, number):
    """A machine short of memory, or a service manager that stops everything at once: the picture is tried again, not refused."""
    under_way = asyncio.create_task(sandbox.run("hang", fd, "asleep"))
    await until(lambda: len(grandchildren()) == 1)
    grandchildren()[0].send_signal(number)

    with pytest.raises(SandboxLost):
        await under_way
    assert (await sandbox.run("echo", fd)).value["size"] == 19


async def test_an_idle_lost_zygote_is_replaced_unnoticed(sandbox, fd):
    zygotes()[0].send_signal(signal.SIGKILL)
    await asyncio.sleep(0.1)

    assert (await sandbox.run("echo", fd)).value["size"] == 19


async def test_the_event_loop_goes_on_while_pictures_are_developed(sandbox):
    picture = os.memfd_create("picture")
    os.write(picture, animation(frames=4, width=160, height=120))
    gaps = []

    async def beat():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - before)

    heart = asyncio.create_task(beat())
    await asyncio.gather(*(sandbox.develop(picture) for _ in range(3)))
    heart.cancel()
    os.close(picture)
    gaps.sort()
    assert gaps[len(gaps) // 2] < 0.05
    assert len(gaps) > 10


async def test_a_closed_sandbox_says_so(fd):
    closed = Sandbox(slots=1)
    with pytest.raises(SandboxLost):
        await closed.run("probe", fd)
    assert closed.protections() == ()


async def test_a_job_module_that_cannot_be_imported_is_told_at_the_start(capfd):
    with pytest.raises(SandboxLost):
        await Sandbox(slots=1, jobs={"x": "no_such_module:x"}).open()
    assert "no_such_module" in capfd.readouterr().err


async def test_nothing_outlives_a_killed_server(tmp_path):
    code = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
os.environ["PYTHONPATH"] = sys.argv[1]
from safelight.imaging import Sandbox
async def main():
    sandbox = Sandbox(slots=2, jobs={"hang": "planted:hang"})
    await sandbox.open()
    fd = os.memfd_create("x")
    asyncio.create_task(sandbox.run("hang", fd, "asleep"))
    await asyncio.sleep(0.3)
    print("up", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    server = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent)], stdout=subprocess.PIPE)
    await asyncio.to_thread(server.stdout.readline)
    family = psutil.Process(server.pid).children(recursive=True)
    server.kill()
    await asyncio.to_thread(server.wait)
    server.stdout.close()

    assert len(family) == 2  # the zygote and its child
    await until(lambda: not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family))


async def test_a_missing_layer_is_told_and_the_others_hold(fd, caplog):
    with pytest.MonkeyPatch.context() as patch:
        # A module of that name that cannot be imported stands for a machine without libseccomp.
        without = Path(__file__).parent / "without_seccomp"
        patch.setenv("PYTHONPATH", str(without))
        async with Sandbox(slots=1) as weaker:
            assert weaker.protections() == ("rlimits", "no_new_privs", "landlock")
            picture = os.memfd_create("picture")
            os.write(picture, jpeg(64, 48))
            assert (await weaker.develop(picture)).header.width == 64
            os.close(picture)

    (record,) = [record for record in caplog.records if record.message == "sandbox.protection_missing"]
    assert record.protection == "seccomp"
