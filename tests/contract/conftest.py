"""Servers that contract tests share: started once a process, when the first test asks for them."""

from __future__ import annotations

import pytest
from tests.servers.seaweedfs import SeaweedFS


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory):
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
