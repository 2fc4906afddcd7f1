from .reading.clips import read_dataset as read_dataset
from .reading.corruption import translate_errors as translate_errors
from .records.clip_pair import ClipPair as ClipPair
from .records.dataset import load_info as load_info
from .records.writer import write_dataset as write_dataset
