"""The first start: whatever cuts it off, the next one leads to an installation that its operator can enter."""

from __future__ import annotations

import pytest
from tests.faulty import read_only

from safelight.domain.accounts import Role
from safelight.errors import BackendUnavailable
from safelight.settings import Settings
from safelight.wiring import build


@pytest.fixture
async def safelight(tmp_path):
    safelight = build(Settings(data_dir=tmp_path / "data"))
    await safelight.catalog.migrate()
    await safelight.catalog.open()
    yield safelight
    await safelight.catalog.close()


async def test_a_first_start_that_was_cut_off_is_finished_by_the_next(safelight):
    accounts = safelight.accounts
    catalog, tokens = accounts.catalog, []
    object.__setattr__(accounts, "catalog", read_only(catalog))
    with pytest.raises(BackendUnavailable):
        await accounts.bootstrap(tokens.append)
    object.__setattr__(accounts, "catalog", catalog)

    token = await accounts.bootstrap(tokens.append)

    assert token == tokens[-1]
    assert (await accounts.authenticate(token)).role is Role.OPERATOR
    async with catalog.directory() as directory:
        assert [tenant.name for tenant in await directory.tenants()] == ["default"]


async def test_an_installation_that_is_finished_is_left_alone(safelight):
    token = await safelight.accounts.bootstrap(lambda _: None)
    told: list[str] = []

    assert await safelight.accounts.bootstrap(told.append) is None

    assert told == [], "the file with the first key is not written over"
    assert (await safelight.accounts.authenticate(token)).role is Role.OPERATOR
