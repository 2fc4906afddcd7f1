"""The benchmark of the switch: what each of its processes is started with."""

from __future__ import annotations

import json
import subprocess

import pytest

from benchmarks import switch


@pytest.fixture
def started(monkeypatch):
    """Records the environment and code of each process; those with the switch are twice as fast."""
    processes = []

    def run(command, env, **_):
        processes.append((env.get(switch.SWITCH), command[-1]))
        fast = env.get(switch.SWITCH) == "1" or "import tensorflow" not in command[-1]
        times = {"wall": 1.0 if fast else 2.0, "processor": 1.0}
        return subprocess.CompletedProcess(command, 0, f"noise\n{json.dumps(times)}\n", "")

    monkeypatch.setattr(switch.subprocess, "run", run)
    monkeypatch.setenv(switch.SWITCH, "1")
    return processes


def test_every_setting_is_a_process_of_its_own(started):
    sheet = switch.measure("demo", rounds=2, threads=1)
    assert [setting for setting, _ in started] == 2 * [None, "1", "0", None]
    assert ["import tensorflow; " in code for _, code in started] == 2 * [False, False, False, True]
    assert sheet.rows[switch.CHOICE].milliseconds == [2000, 2000]
    (ratio,) = sheet.ratios
    assert (ratio.name, ratio.other, ratio.value) == (switch.COMES, switch.BY_HAND, 1.0)


def test_a_process_times_its_work(monkeypatch, capsys):
    monkeypatch.setattr(switch, "make", lambda work: lambda: sum(range(1000)))
    monkeypatch.setattr("benchmarks.machine.hold", lambda threads: None)
    switch.report("demo", 1)
    assert set(json.loads(capsys.readouterr().out)) == {"wall", "processor"}


def test_the_flags_have_defaults_that_absl_takes():
    from absl import flags

    values = flags.FlagValues()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flags, "FLAGS", values)
        for kind in ("list", "integer", "string"):
            define = getattr(flags, f"DEFINE_{kind}")
            patch.setattr(
                flags,
                f"DEFINE_{kind}",
                lambda *a, define=define, **k: define(*a, flag_values=values, **k),
            )
        switch.define_flags()
    values(["switch"])
    assert values.works == [*switch.WORKS]
