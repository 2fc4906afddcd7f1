"""The frame of every command: one sentence for an error, the right exit code, project flags first.

No TensorFlow in the script; each run is a process of its own because absl's flags are global.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tfrecords.utils import commandline

SCRIPT = """
import atexit
import logging
import os
import sys
from absl import flags
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError, UserError

_KIND = flags.DEFINE_string("kind", "good", "What happens.")
flags.DEFINE_integer("number", None, "A number.")


def main(arguments):
    print("TensorFlow" if "tensorflow" in sys.modules else "lean", arguments)
    if _KIND.value == "failure":
        raise UserError("The file a.mp4\\nis broken.")
    if _KIND.value == "usage":
        raise UsageError("Expected a, received b.")
    if _KIND.value == "interrupt":
        raise KeyboardInterrupt
    if _KIND.value.startswith("remote"):
        sys.modules["tensorflow_io"] = sys
        atexit.register(os.abort)
        if _KIND.value == "remote failure":
            raise UserError("The file is broken.")
    if _KIND.value == "system":
        open("/no such folder/file")
    if _KIND.value == "nameless":
        raise OSError("The line is dead.")
    if _KIND.value.startswith("/"):
        raise UserError(f"At home in {_KIND.value}.")
    if _KIND.value == "bar":
        from tfrecords.utils.progress import progress

        for _ in progress(range(9), desc="clips"):
            raise UserError("The file is broken.")
    if _KIND.value == "stopped import":
        from tfrecords.utils import interrupt

        try:
            interrupt._raise()
        except KeyboardInterrupt:
            raise UserError("The model cannot be loaded.") from None
    if _KIND.value == "script":
        print("\\u8df3\\udce9")
    if _KIND.value == "memory":
        raise MemoryError
    if _KIND.value == "messages":
        logging.getLogger("aacf_tf.training").info("3 epochs")
        logging.getLogger("tfrecords").warning("Warning: few clips")
        logging.getLogger("other").warning("not ours")
    if _KIND.value == "fault":
        raise ZeroDivisionError


if __name__ == "__main__":
    commandline.run(main, "usage: script [flags]")
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    path = tmp_path_factory.mktemp("command") / "script.py"
    path.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            capture_output=True,
            text=True,
            env={**environment, **more},
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ([], 0, ""),
        (["--kind=failure"], 1, "error: The file a.mp4 is broken.\n"),
        (["--kind=usage"], 2, "error: Expected a, received b.\n"),
        (["--kind=system"], 1, "error: No such file or directory: /no such folder/file\n"),
        (["--kind=nameless"], 1, "error: The line is dead.\n"),
        (["--kind=memory"], 1, "error: There is not enough memory; "),
        (["--kind=~/x"], 1, f"error: At home in {os.path.expanduser('~')}/x.\n"),
        (["--kind=interrupt"], 130, "error: Interrupted; "),
        (["--kind=stopped import"], 130, "error: Interrupted; "),
        (["--kind=/a,~/b"], 1, f"error: At home in /a,{os.path.expanduser('~')}/b.\n"),
        (["--kinds=good"], 2, "error: Unknown command line flag 'kinds'. Did you mean: kind ?"),
        (["--number=x"], 2, "error: flag --number=x"),
    ],
)
def test_one_sentence_and_an_exit_code(command, arguments, code, error):
    done = command(*arguments)
    assert done.returncode == code
    assert done.stderr.startswith(error) and done.stderr.count("\n") == (1 if error else 0)


def test_an_error_beside_a_progress_bar_has_a_line_of_its_own(command):
    done = command("--kind=bar")
    assert done.returncode == 1
    assert done.stderr.endswith("\nerror: The file is broken.\n")  # in a log file, too


def test_labels_that_a_terminal_cannot_show_are_escaped(command):
    done = command("--kind=script", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "lean []\n\\u8df3\\udce9\n")


def test_a_fault_of_the_program_shows_where(command):
    done = command("--kind=fault")
    assert done.returncode == 1 and "in main" in done.stderr


def test_a_library_that_aborts_at_exit_does_not_change_the_exit_code(command):
    done = command("--kind=remote")
    assert (done.returncode, done.stdout) == (0, "lean []\n")
    done = command("--kind=remote failure")
    assert (done.returncode, done.stderr) == (1, "error: The file is broken.\n")


def test_messages_of_the_packages_are_plain_lines_of_the_output(command):
    done = command("--kind=messages")
    assert (done.stdout, done.stderr) == ("lean []\n3 epochs\nWarning: few clips\n", "")


@pytest.mark.parametrize(
    "message",
    [
        "OOM when allocating\n\nHint: ...",
        "{{function_node __wrapped__SaveV2}} OOM when allocating [Op:SaveV2]",
        "Graph execution error:\n\nDetected at node a/Assert defined at (most recent call last):\n"
        '  File "x.py", line 1, in <module>\n\nDetected at node b defined at (most recent call '
        "last):\n<stack traces unavailable>\nOOM when allocating\n\t [[{{node a/Assert}}]]",
    ],
)
def test_an_error_of_tensorflow_is_one_sentence(message, capsys):
    import tensorflow as tf

    def main(arguments):
        raise tf.errors.ResourceExhaustedError(None, None, message)

    with pytest.raises(SystemExit) as caught:
        commandline._guarded(main, [])
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: OOM when allocating\n"


def test_positional_arguments_reach_main_without_tensorflow(command):
    assert command("one", "--kind=good", "two").stdout == "lean ['one', 'two']\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_the_project_s_flags_and_succeeds(command, flag):
    done = command(flag)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].strip() == "usage: script [flags]"
    assert "  --kind  (default: 'good')" in lines and "      What happens." in lines
    assert "  --number" in lines
    assert "--alsologtostderr" not in done.stdout


def test_help_full_succeeds(command):
    done = command("--helpfull")
    assert done.returncode == 0 and "--kind" in done.stdout and "--alsologtostderr" in done.stdout


def test_ctrl_c_while_modules_are_imported_is_one_sentence(tmp_path):
    """A stand-in for NumPy is interrupted on import, as the real one turns that into an error."""
    folder = tmp_path / "numpy"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise ImportError('a library')\n"
    )
    project = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-m", "tfrecords.build", "--source=demo", f"--output={tmp_path / 'out'}"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{project}"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        # A job in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == 130
    assert done.stderr == (
        "error: Interrupted; the same command continues where this one stopped.\n"
    )
