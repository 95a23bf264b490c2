"""The whole product while PostgreSQL or S3 is stopped, frozen, slow and wrong, or cuts off transfers."""

from __future__ import annotations

import pytest
from tests.acceptance.trouble import World, costs_patience_and_nothing_else
from tests.servers.cuttable import Line
from tests.servers.faulty import Answer, CutAnswer, CutRequest

pytestmark = pytest.mark.xdist_group("product-faults")


@pytest.fixture(scope="module")
def world(tmp_path_factory, postgres_cluster):
    world = World(tmp_path_factory.mktemp("faults"), postgres_cluster)
    yield world
    world.close()


FAULTS = {
    "postgres stops": ({"catalog", "search", "workflows"}, lambda w: w.postgres.stop(), lambda w: w.postgres.start()),
    "postgres freezes": ({"catalog", "search", "workflows"}, lambda w: w.postgres.pause(), lambda w: w.postgres.resume()),
    "postgres is cut off amid what is asked": (
        {"catalog", "search", "workflows"},
        lambda w: w.line.cut_after(5_000),
        lambda w: w.line.be(Line.THROUGH),
    ),
    "postgres is cut off amid its answers": (
        {"catalog", "search", "workflows"},
        lambda w: w.line.be(Line.NO_ANSWERS),
        lambda w: w.line.be(Line.THROUGH),
    ),
    "s3 is killed": ({"storage"}, lambda w: w.s3.kill(), lambda w: w.s3.start()),
    "s3 freezes": ({"storage"}, lambda w: w.s3.pause(), lambda w: w.s3.resume()),
    "s3 answers 503 late": ({"storage"}, lambda w: w.proxy.spoil(Answer(503, after_s=0.7)), lambda w: w.proxy.heal()),
    "s3 answers 500 late": ({"storage"}, lambda w: w.proxy.spoil(Answer(500, after_s=0.7)), lambda w: w.proxy.heal()),
    "s3 cuts transfers": (
        {"storage"},
        lambda w: w.proxy.spoil(CutAnswer(50), CutRequest(100), CutAnswer(0)),
        lambda w: w.proxy.heal(),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_backend_in_trouble_costs_patience_and_nothing_else(world, fault):
    costs_patience_and_nothing_else(world, *FAULTS[fault])
