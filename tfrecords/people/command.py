"""Makes the environment in which MediaPipe finds people, or says whether it is there.

    python -m tfrecords.people --install
    python -m tfrecords.people

MediaPipe 0.10.21 (Apache-2.0, https://github.com/google-ai-edge/mediapipe) brings an OpenCV of its
own and other versions of what this project needs: it has an environment beside the project's, of
Python 3.9 to 3.12, and `python -m tfrecords.build --people=mediapipe` talks to it by a pipe. Once
it is installed it runs offline: the networks are in the package. AACF_PEOPLE_PYTHON names an
interpreter that has MediaPipe already.
"""

from __future__ import annotations

from typing import Sequence

from absl import flags

from tfrecords.people import environment
from tfrecords.people.finder import open_mediapipe
from tfrecords.utils.errors import UsageError


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags."""
    flags.DEFINE_bool(
        "install",
        False,
        "Make the environment; one that is there is completed.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "python",
        None,
        "Interpreter of Python 3.9 to 3.12 to make it with; else this one or one on the PATH.",
        flag_values=values,
    )
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    if values.python and not values.install:
        raise UsageError(f"Expected --install with --python={values.python}, received none.")
    if values.install:
        print(f"Installing MediaPipe {environment.VERSION} into {environment.folder()} ...")
        environment.install(values.python)
    finder = open_mediapipe()
    finder.close()
    print(f"MediaPipe {finder.version} answers, by {finder.python}.")
