"""The kernels know nothing of the package; the package asks for Numba when it calls one."""

import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    shown = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", shown], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("kernel", ["ssimbad.kernels.warp", "ssimbad.kernels.ssim"])
def test_a_kernel_stands_by_itself(kernel: str) -> None:
    imported = modules_after(
        "from numba import config\n"
        "before = config.SLP_VECTORIZE\n"
        f"import {kernel}\n"
        "assert config.SLP_VECTORIZE == before"
    )
    assert "torch" not in imported
    ours = {name for name in imported if name.split(".")[0] == "ssimbad"}
    assert ours == {"ssimbad", "ssimbad.kernels", kernel}


def test_numba_waits_for_the_first_kernel() -> None:
    assert "numba" not in modules_after(
        "import ssimbad.noise.search, ssimbad.noise.degradation, ssimbad.training.batches"
    )
