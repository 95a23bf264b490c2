"""memory_limit: whatever container we are in, the least limit counts."""

import os

import pytest

from safelight.memory import memory_limit

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    (
        ({}, MACHINE),
        ({"proc/self/cgroup": ""}, MACHINE),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, MACHINE),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "300000000\n"}, 300_000_000),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "200000000\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            200_000_000,
        ),
        ({"proc/self/cgroup": "0::/docker/1f\n", "sys/fs/cgroup/memory.max": "100000000\n"}, 100_000_000),
        ({"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/memory.max": "100000000\n"}, 100_000_000),
        (
            {"proc/self/cgroup": "5:cpu:/x\n4:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "150000000\n"},
            150_000_000,
        ),
        (
            {"proc/self/cgroup": "4:memory:/x\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
            MACHINE,
        ),
    ),
)
def test_the_least_limit_counts(tmp_path, files, limit):
    assert memory_limit(tree(tmp_path, files)) == limit
