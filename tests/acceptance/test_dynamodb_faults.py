"""The whole product while DynamoDB is away, stands still, is slow and wrong, cuts off transfers, or has had enough of us."""

from __future__ import annotations

import pytest
from tests.acceptance.trouble import World, costs_patience_and_nothing_else
from tests.servers.faulty import Answer, CutAnswer, CutRequest
from tests.servers.moto import MotoServer

pytestmark = pytest.mark.xdist_group("dynamodb-faults")


@pytest.fixture(scope="module")
def world(tmp_path_factory, postgres_cluster):
    world = World(tmp_path_factory.mktemp("faults"), postgres_cluster, dynamodb=MotoServer().start())
    yield world
    world.close()


def throttles(world: World) -> None:
    """The table is hot: reads find no capacity, and transactions meet others, or none either."""
    cancelled = [
        Answer(400, code="TransactionCanceledException", causes=(cause, "None"))
        for cause in ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
    ]
    world.records.spoil(*cancelled, method="TransactWriteItems")
    world.records.spoil(*(Answer(400, code=code) for code in ("ProvisionedThroughputExceededException", "ThrottlingException")))


FAULTS = {
    # The emulator keeps everything in memory, so that it is its address that goes away, and not the emulator itself.
    "is away": (lambda w: w.records.leave(), lambda w: w.records.come_back()),
    "freezes": (lambda w: w.dynamodb.pause(), lambda w: w.dynamodb.resume()),
    "answers 503 and 500 late": (
        lambda w: w.records.spoil(Answer(503, after_s=0.7), Answer(500, after_s=0.7)),
        lambda w: w.records.heal(),
    ),
    "cuts transfers": (
        lambda w: w.records.spoil(CutAnswer(50), CutRequest(20), CutAnswer(0)),
        lambda w: w.records.heal(),
    ),
    "throttles": (throttles, lambda w: w.records.heal()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_dynamodb_in_trouble_costs_patience_and_nothing_else(world, fault):
    costs_patience_and_nothing_else(world, {"catalog"}, *FAULTS[fault])
