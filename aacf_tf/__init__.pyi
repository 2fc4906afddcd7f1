from .models.factory import build_model as build_model
from .recipes import load_recipe as load_recipe
from .serving.predictor import load as load

__version__: str
