"""The Cdn contract, in memory and on CloudFront's API; then what is CloudFront's alone."""

from __future__ import annotations

import pytest
from tests.servers.cloudfront import CREDENTIALS, CloudFront
from tests.servers.faulty import Answer, Faulty
from tests.servers.seaweedfs import Moto

from safelight.adapters.cdn.cloudfront import CloudFrontCdn
from safelight.adapters.cdn.memory import MemoryCdn
from safelight.errors import BackendUnavailable, Busy, WrongState
from safelight.testing.contracts.cdn import PATHS, CdnContract

SETTING = "SAFELIGHT_CLOUDFRONT__FRONT_DISTRIBUTIONS"


@pytest.fixture(scope="module")
def cloudfront(tmp_path_factory):
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield CloudFront(server)


def cdn_of(distribution, url):
    return CloudFrontCdn(distribution, setting=SETTING, endpoint_url=url, **CREDENTIALS)


class TestMemory(CdnContract):
    @pytest.fixture
    async def cdn(self):
        cdn = MemoryCdn("one")
        await cdn.open()
        return cdn

    @pytest.fixture
    async def other(self):
        other = MemoryCdn("two")
        await other.open()
        return other


class TestCloudFront(CdnContract):
    @pytest.fixture
    async def cdn(self, cloudfront):
        cdn = cdn_of(cloudfront.distribution(), cloudfront.url)
        await cdn.open()
        yield cdn
        await cdn.close()

    @pytest.fixture
    async def other(self, cloudfront):
        other = cdn_of(cloudfront.distribution(), cloudfront.url)
        await other.open()
        yield other
        await other.close()

    async def test_it_is_told_the_paths_under_the_reference(self, cdn, cloudfront):
        await cdn.invalidate(PATHS, reference="one")

        assert cloudfront.told(cdn.name) == [("one", sorted(PATHS))]

    async def test_a_distribution_that_is_not_there_stops_the_start_and_is_named(self, cloudfront):
        with pytest.raises(WrongState, match=SETTING):
            await cdn_of("E00000000000", cloudfront.url).open()

    async def test_an_api_that_does_not_answer_stops_no_start_but_is_unavailable(self):
        cdn = cdn_of("E00000000000", "http://127.0.0.1:9")
        await cdn.open()

        with pytest.raises(BackendUnavailable):
            await cdn.invalidate(PATHS, reference="one")
        await cdn.close()

    @pytest.mark.parametrize(
        ("status", "code", "told"),
        (
            (400, "TooManyInvalidationsInProgress", Busy),
            (400, "Throttling", Busy),
            (403, "AccessDenied", WrongState),
            (500, "InternalError", BackendUnavailable),
        ),
    )
    async def test_what_it_answers_is_told_as_one_of_our_errors(self, cloudfront, status, code, told):
        async with Faulty(cloudfront.port) as proxy:
            cdn = cdn_of(cloudfront.distribution(), proxy.url)
            await cdn.open()
            proxy.spoil(Answer(status, code=code), times=10)

            with pytest.raises(told):
                await cdn.invalidate(PATHS, reference="one")
            with pytest.raises(told):
                await cdn.is_done("I00000000000000")
            await cdn.close()
