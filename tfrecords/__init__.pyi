from .reading.clips import read_dataset as read_dataset
from .records.clip_pair import ClipPair as ClipPair
from .records.dataset import load_info as load_info
from .records.writer import write_dataset as write_dataset
