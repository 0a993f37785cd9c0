"""What stands in for torchmetrics while Lightning is imported leaves nothing behind."""

import subprocess
import sys

CODE = """
import sys
{before}
import ssimbad.training.loop
print(*("torchmetrics" in sys.modules, "torchvision" in sys.modules, "scipy.signal" in sys.modules))
import torchmetrics
print(torchmetrics.functional.mean_squared_error.__name__, torchmetrics.Metric.__module__)
"""


def run(before: str) -> list[str]:
    command = [sys.executable, "-c", CODE.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_training_loop_imports_no_metrics_and_who_asks_for_them_has_them() -> None:
    assert run("") == ["False False False", "mean_squared_error torchmetrics.metric"]


def test_torchmetrics_that_is_there_already_stays() -> None:
    first, second = run("import torchmetrics")
    assert first.startswith("True")
    assert second == "mean_squared_error torchmetrics.metric"
