"""The Inbox contract, in memory and on an SQS server; then what is SQS's alone, and what the listener makes of messages."""

from __future__ import annotations

import asyncio
import json

import botocore.session
import pytest
from tests.servers.seaweedfs import Moto

from safelight.adapters.inbox.memory import MemoryInbox
from safelight.adapters.inbox.sqs import SqsInbox
from safelight.errors import BackendUnavailable, WrongState
from safelight.testing.contracts.inbox import InboxContract


@pytest.fixture(scope="module")
def sqs(tmp_path_factory):
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield botocore.session.Session().create_client(
            "sqs", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
        )


@pytest.fixture
def queues(sqs, request):
    """A queue whose messages are put aside after three receipts, and where they go."""
    name = f"q{abs(hash(request.node.nodeid))}"
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "3"})
    return sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})["QueueUrl"], dead


def inbox_of(url, **options):
    return SqsInbox(url, access_key_id="x", secret_access_key="y", **options)


class TestMemory(InboxContract):
    @pytest.fixture
    async def inbox(self):
        inbox = MemoryInbox(hidden_s=2, most=3)
        await inbox.open()
        return inbox

    @pytest.fixture
    def send(self, inbox):
        return inbox.send

    @pytest.fixture
    def dead(self, inbox):
        async def dead():
            return inbox.dead

        return dead


class TestSqs(InboxContract):
    @pytest.fixture
    async def inbox(self, queues):
        inbox = inbox_of(queues[0], hidden_s=2)
        await inbox.open()
        yield inbox
        await inbox.close()

    @pytest.fixture
    def send(self, sqs, queues):
        async def send(body):
            await asyncio.to_thread(sqs.send_message, QueueUrl=queues[0], MessageBody=body)

        return send

    @pytest.fixture
    def dead(self, sqs, queues):
        async def dead():
            found = await asyncio.to_thread(sqs.receive_message, QueueUrl=queues[1], WaitTimeSeconds=5)
            return [message["Body"] for message in found.get("Messages", [])]

        return dead

    async def test_a_queue_without_dead_letters_says_so(self, sqs):
        inbox = inbox_of(sqs.create_queue(QueueName="plain")["QueueUrl"])
        await inbox.open()

        assert not inbox.has_dead_letters
        await inbox.close()

    async def test_a_queue_that_is_not_there_stops_the_start_and_is_named(self, queues):
        with pytest.raises(WrongState, match="SAFELIGHT_EVENTS__SQS_URL"):
            await inbox_of(queues[0] + "-gone").open()

    async def test_a_server_that_does_not_answer_is_unavailable(self):
        with pytest.raises(BackendUnavailable):
            await inbox_of("http://127.0.0.1:9/1/q").open()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-central-1.amazonaws.com/1/q", "eu-central-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("http://localhost:9324/1/q", "us-east-1"),
    ],
)
def test_the_region_is_that_of_the_address(url, region):
    assert inbox_of(url)._region == region
