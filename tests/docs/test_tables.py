"""What the declarations of the catalog's tables promise to `safelight move`."""

from __future__ import annotations

import pytest
from sqlalchemy import LargeBinary

from safelight.adapters.catalog.tables import Word, metadata


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)
def test_a_table_can_be_carried_elsewhere(table):
    """Its primary key sorts the same everywhere, and each of its binary columns says whether it is a sealed secret."""
    assert len(table.primary_key.columns) > 0
    for column in table.primary_key.columns:
        assert "TEXT" not in str(column.type) or column.type is Word, f"{column} does not sort by code point on PostgreSQL"
    for column in table.columns:
        if isinstance(column.type, LargeBinary):
            assert "sealed_for" in column.info, f"say sealed_for(...) of {column}"
