"""Shows where a trained model looks in your own video or photograph, and what it sees there.

    python -m aacf_tf.attend --model=runs/mine/export/aacf --video=some.mp4 --output=out.mp4
    python -m aacf_tf.attend --model=runs/stills/export/aacf --image=some.jpg --output=out.png
    python -m aacf_tf.attend --model=runs/mine/export/aacf --input=folder --output=predictions.csv

A video becomes an overlay: side by side its frames, the action map (with boxes) and the context map
over them; class scores are printed. A video longer than the model's clip is covered by consecutive
windows, and the scores are means over them.
A photograph, for a model of photographs, becomes a picture of the same three.
A folder becomes a table, a line for each video or photograph, whichever the model takes. A video is
scored by the clip at its centre, as in the evaluation.

The overlay of a video is held in memory twice, up to 4 GiB each: with frames of 256 x 455 pixels,
that is 8 minutes at 25 frames a second. `--start` and `--end` choose a part of a longer video. The
videos of a folder may have any length: only their centre is held.
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


def define_flags(values: flags.FlagValues = flags.FLAGS) -> flags.FlagValues:
    """Defines the command's flags; in a function, since each command has its own `--output`."""
    text = partial(flags.DEFINE_string, flag_values=values)
    text("model", None, "Exported model, such as runs/mine/export/aacf.")
    text("image", None, "The photograph to look at, with a model of photographs.")
    text("video", None, "The video to look at.")
    text("input", None, "A folder of videos or photographs, instead of one.")
    text(
        "output",
        None,
        "The .mp4 of --video or the .png of --image (else NAME_attention.mp4 or .png here), or the "
        ".csv of --input (else predictions.csv here).",
    )
    seconds = partial(flags.DEFINE_float, flag_values=values)
    seconds("start", 0.0, "Seconds of the video to start at.")
    seconds("end", None, "Seconds of the video to end at; else its end.")
    return values


def main(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command; see the module's docstring."""
    asked, output = _check(arguments, values)

    # These imports start TensorFlow; wrong flags are reported before.
    from aacf_tf.attend import image, video
    from aacf_tf.attend.scores import write_table
    from aacf_tf.serving.predictor import load

    predictor = load(values.model)
    if asked != "input" and asked != predictor.kind:
        raise UsageError(
            f"--{asked}: expected {predictor.takes()} (--{predictor.kind}), "
            f"received {values[asked].value!r}."
        )
    if asked == "image":
        image.attend_image(predictor, values.image, output)
    elif asked == "video":
        video.attend_video(predictor, values.video, output, values.start, values.end)
    else:
        predictions = predictor.predict_folder(values.input, values.start, values.end)
        write_table(predictions, output, predictor.kind)
        print(f"{len(predictions)} {predictor.kind}s: {output}")
        if predictions[0].context_trust is not None:
            print(
                f"The context can be trusted by {predictions[0].context_trust:.2f} (0 to 1) in "
                f"these {predictor.kind}s; the reliable_ columns count it so far."
            )


def _check(arguments: Sequence[str], values: flags.FlagValues) -> tuple[str, Path]:
    """Checks the flags; returns the name of the input's flag and the file to write."""
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
    path, ending = Path(str(values[asked].value)), _ENDINGS[asked]
    name = "predictions.csv" if asked == "input" else f"{path.stem}_attention{ending}"
    output = Path(values.output or name)
    if output.suffix.lower() != ending:
        raise UsageError(f"--output: expected a name that ends in {ending}, received {output}.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output: expected a name in a folder that exists, received {output}.")
    filesystem.check_output(output, "output")
    if asked == "input" and not path.is_dir():
        raise UsageError(f"--input: no such folder: {values.input!r}.")
    if asked != "input" and path.is_dir():
        raise UsageError(
            f"--{asked}: expected a file, received the folder {str(path)!r}: --input takes folders "
            "of videos or photographs, and ffmpeg makes a video of a folder of frames."
        )
    if asked != "input" and not path.is_file():
        raise UsageError(f"--{asked}: no such file: {str(path)!r}.")
    if output.exists() and output.samefile(path):
        raise UsageError(f"--output: expected another file than --{asked}, received {output}.")
    if asked == "image" and (values.start or values.end is not None):
        raise UsageError(
            "--start, --end: expected with a video only, "
            f"received {values.start if values.end is None else values.end} with --image."
        )
    timeline.check_span(values.start, values.end, "--")
    return asked, output


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
