"""What one file may cost."""

from dataclasses import replace

from safelight.imaging import Format, Limits
from safelight.imaging.spec import Header


def test_the_share_of_a_file_grows_with_what_it_says_of_itself():
    limits = Limits(cpu_s=20)
    icon, photograph, huge = (Header(format=Format.JPEG, width=side, height=side) for side in (16, 4900, 10_000))

    assert 2 <= limits.cpu_s_of(icon) < limits.cpu_s_of(photograph) / 2 < limits.cpu_s_of(huge) / 2 <= 10
    assert Limits(cpu_s=1).cpu_s_of(icon) == 1
    assert limits.cpu_s_of(replace(icon, frames=300)) == limits.cpu_s
