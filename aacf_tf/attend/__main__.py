"""Shows where a trained model looks in your own video or photograph, and what it sees there.

    python -m aacf_tf.attend --model=runs/mine/export/aacf --video=some.mp4 --output=out.mp4
    python -m aacf_tf.attend --model=runs/mine/export/aacf --video=some.mp4 --timeline=some.json
    python -m aacf_tf.attend --model=runs/mine/export/aacf --video=0 --serve=8000
    python -m aacf_tf.attend --model=runs/stills/export/aacf --image=some.jpg --output=out.png
    python -m aacf_tf.attend --model=runs/mine/export/aacf --input=folder --output=predictions.csv

A video of any length becomes an overlay of its own size and rate: the action map in orange, the
context map in blue, boxes and the class. Overlapping windows of the model's length cover it and
are blended; scores are means over them. --timeline writes the intervals in which an action is: a
.json, .csv, .vtt (subtitles), .eaf (ELAN) or .png.
A camera (--video=0) or a stream (rtsp://..., http://...) becomes a JSON line for each window on
standard output, until Ctrl-C or --end; its overlay is written by --output, or served to a browser
of this machine by --serve.
A photograph, for a model of photographs, becomes a picture: itself, and itself under each map.
A folder, with its subfolders, becomes a table, a line for each video or photograph, whichever the
model takes. A video is scored by the clip at its centre, as in the evaluation.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Sequence

from absl import flags

from tfrecords.media import timeline
from tfrecords.utils import commandline, filesystem
from tfrecords.utils.errors import UsageError

# Flag of the input -> suffix of the output.
_ENDINGS = {"image": ".png", "video": ".mp4", "input": ".csv"}
TIMELINES = (".json", ".csv", ".vtt", ".eaf", ".png")
# Addresses of streams.
SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://", "srt://")


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags; in a function, since each command has its own `--output`."""
    text = partial(flags.DEFINE_string, flag_values=values)
    text("model", None, "Exported model, such as runs/mine/export/aacf.")
    text("image", None, "The photograph to look at, with a model of photographs.")
    text("video", None, "The video to look at; a camera by its number, a stream by its address.")
    text("input", None, "A folder of videos or photographs, instead of one.")
    text(
        "output",
        None,
        "The .mp4 of --video (else NAME_attention.mp4 here, unless there is a --timeline; of a "
        "camera none), the .png of --image (else NAME_attention.png here), or the .csv of --input "
        "(else predictions.csv here).",
    )
    flags.DEFINE_multi_string(
        "timeline",
        [],
        "Where to write the intervals in which an action is: a .json, .csv, .vtt, .eaf or .png; "
        "may be repeated.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "serve",
        None,
        "Port of this machine at which to serve the overlay of a camera.",
        flag_values=values,
    )
    seconds = partial(flags.DEFINE_float, flag_values=values)
    seconds("threshold", 0.5, "Score (0 to 1) below which there is no action.")
    seconds("overlap", 0.5, "Share (0 to 0.9) of a window that the next one covers again.")
    seconds("start", 0.0, "Seconds of the video to start at.")
    seconds("end", None, "Seconds of the video to end at; else its end.")
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    asked, output = _check(arguments, values)

    # These imports start TensorFlow; wrong flags are reported before.
    from aacf_tf.attend import camera, image, video
    from aacf_tf.attend.scores import write_table
    from aacf_tf.serving.predictor import load

    predictor = load(values.model)
    if asked != "input" and asked != predictor.kind:
        raise UsageError(
            f"--{asked}: expected {predictor.takes()} (--{predictor.kind}), "
            f"received {values[asked].value!r}."
        )
    if asked == "image" and output:
        image.attend_image(predictor, values.image, output)
    elif asked == "video" and is_live(values.video):
        camera.attend_camera(
            predictor,
            values.video,
            output=output,
            port=values.serve,
            seconds=values.end,
            threshold=values.threshold,
            overlap=values.overlap,
        )
    elif asked == "video":
        video.attend_video(
            predictor,
            values.video,
            output,
            values.start,
            values.end,
            timelines=_timelines(values),
            threshold=values.threshold,
            overlap=values.overlap,
        )
    elif output:
        predictions = predictor.predict_folder(values.input, values.start, values.end)
        write_table(predictions, output, predictor.kind, values.input)
        print(f"{len(predictions)} {predictor.kind}s: {output}")
        if predictions[0].context_trust is not None:
            print(
                f"The context can be trusted by {predictions[0].context_trust:.2f} (0 to 1) in "
                f"these {predictor.kind}s; the reliable_ columns count it so far."
            )


def is_live(address: str) -> bool:
    """Returns whether a `--video` is a camera's number or the address of a stream."""
    return address.isdecimal() or address.lower().startswith(SCHEMES)


def _check(arguments: Sequence[str], values: flags.FlagValues) -> tuple[str, Path | None]:
    """Checks the flags; returns the name of the input's flag and the file to write, if any."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    if not values.model:
        raise UsageError(
            "--model: expected an exported model such as runs/mine/export/aacf, received none."
        )
    if not Path(values.model).is_dir():
        raise UsageError(f"--model: no such folder: {values.model!r}.")
    given = [name for name in _ENDINGS if values[name].value]
    if len(given) != 1:
        raise UsageError(
            "Expected one of --image=FILE, --video=FILE and --input=FOLDER, received "
            f"{' and '.join(f'--{name}' for name in given) or 'none'}."
        )
    (asked,) = given
    path, live = str(values[asked].value), asked == "video" and is_live(values.video)
    if not live:
        _check_input(asked, Path(path))
    output = None
    if values.output or not (live or values.timeline):
        ending = _ENDINGS[asked]
        name = "predictions.csv" if asked == "input" else f"{Path(path).stem}_attention{ending}"
        output = Path(values.output or name)
        _check_output("output", output, (ending,), asked, Path(path))
    for file in _timelines(values):
        _check_output("timeline", file, TIMELINES, asked, Path(path))
    _check_kind(asked, live, values)
    timeline.check_span(values.start, values.end, "--")
    return asked, output


def _timelines(values: flags.FlagValues) -> list[Path]:
    return [Path(name).expanduser() for name in values.timeline]


def _check_input(asked: str, path: Path) -> None:
    if asked == "input" and not path.is_dir():
        raise UsageError(f"--input: no such folder: {str(path)!r}.")
    if asked != "input" and path.is_dir():
        raise UsageError(
            f"--{asked}: expected a file, received the folder {str(path)!r}: --input takes folders "
            "of videos or photographs, and ffmpeg makes a video of a folder of frames."
        )
    if asked != "input" and not path.is_file():
        raise UsageError(f"--{asked}: no such file: {str(path)!r}.")


def _check_output(flag: str, file: Path, endings: Sequence[str], asked: str, path: Path) -> None:
    if file.suffix.lower() not in endings:
        raise UsageError(
            f"--{flag}: expected a name that ends in {' or '.join(endings)}, received {file}."
        )
    if not file.absolute().parent.is_dir():
        raise UsageError(f"--{flag}: expected a name in a folder that exists, received {file}.")
    filesystem.check_output(file, flag)
    if file.exists() and path.exists() and file.samefile(path):
        raise UsageError(f"--{flag}: expected another file than --{asked}, received {file}.")


def _check_kind(asked: str, live: bool, values: flags.FlagValues) -> None:
    """Checks the flags that only some inputs take."""
    if asked == "image" and (values.start or values.end is not None):
        raise UsageError(
            "--start, --end: expected with a video only, "
            f"received {values.start if values.end is None else values.end} with --image."
        )
    if live and values.start:
        raise UsageError(f"--start: expected with a file only, received {values.start:g}.")
    if values.timeline and (asked != "video" or live):
        what = f"--video={values.video}, which writes JSON lines" if live else f"--{asked}"
        raise UsageError(f"--timeline: expected with the file of a video, received it with {what}.")
    if values.serve is not None and not live:
        raise UsageError(
            f"--serve: expected with a camera or a stream, received {values.serve} with --{asked}."
        )
    if values.serve is not None and not 0 <= values.serve < 1 << 16:
        raise UsageError(f"--serve: expected a port, 0 to 65535, received {values.serve}.")
    if not 0 <= values.threshold <= 1:
        raise UsageError(f"--threshold: expected 0 to 1, received {values.threshold:g}.")
    if not 0 <= values.overlap <= 0.9:
        raise UsageError(f"--overlap: expected 0 to 0.9, received {values.overlap:g}.")


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
