"""Shows where a model looks in a photograph: the picture, its action map, its context map."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from aacf_tf.attend.scores import mean_scores, name_classes, print_scores
from aacf_tf.serving.prediction import Prediction
from aacf_tf.serving.predictor import Predictor
from aacf_tf.visualization import overlays
from tfrecords.media import pictures
from tfrecords.utils.atomic import replacing
from tfrecords.utils.errors import UserError

_HEIGHT = 240  # pixels at least, so that the titles can be read; but
_WIDTH = 4096  # pixels at most to enlarge to: a strip of 2 x 2000 pixels stays low
_BOXES = 3  # boxes that are printed


def attend_image(predictor: Predictor, path: str, output: Path) -> Prediction:
    """Writes the picture of a photograph and prints its scores.

    Raises:
        UserError: The photograph cannot be read, or the picture cannot be written.
    """
    photograph = predictor.read_image(path)
    prediction = predictor.predict_image(photograph.pixels, path)
    frame = photograph.pixels.shape[:2]
    titles, heats = [], []
    for title, values in prediction.maps():
        titles.append(title)
        heats.append(predictor.spread(overlays.display(values)[0], frame))
    boxes = overlays.find_boxes(heats[0])

    score, multi_label = predictor.card.score, predictor.card.multi_label
    width, height = photograph.size
    print(f"{path}: {width} x {height} pixels; ranked by {score}")
    print_scores(mean_scores([prediction]), score, multi_label)
    # The picture may be smaller than the file, in whose pixels the boxes are printed.
    x, y = width / frame[1], height / frame[0]
    shown = ", ".join(
        f"x {round(x * x1)}-{round(x * x2)} y {round(y * y1)}-{round(y * y2)}"
        for x1, y1, x2, y2 in boxes[:_BOXES]
    )
    text = f"  {titles[0]} map: {shown or 'no box'}"
    if prediction.action_evidence is not None:
        text += f"; evidence {prediction.action_evidence:+.1f}"
    print(text)

    side = max(frame[0], min(_HEIGHT, _WIDTH * frame[0] // frame[1]))
    picture = overlays.side_by_side(photograph.pixels, heats, boxes, side)
    named = name_classes(prediction.probabilities, multi_label)
    picture = pictures.with_titles(picture, [named, *titles], 28)
    try:
        with replacing(output) as temporary:
            Image.fromarray(picture).save(temporary, format="PNG")
    except OSError as error:
        raise UserError(f"Expected to write {output}, received {error}.") from error
    print(f"picture: {output}")
    return prediction
