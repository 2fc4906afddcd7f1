from .classifier import open_classifier as open_classifier
from .measuring import measure as measure
from .options import Options as Options
from .results import describe as describe
from .results import write as write
