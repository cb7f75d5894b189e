"""Networks. Each has the layers that `anatomy.UnlearnableModel` names."""

from adaprob_ray.models.allcnn import AllCNN
from adaprob_ray.models.anatomy import UnlearnableModel
from adaprob_ray.models.resnet import ResNet18

__all__ = ["AllCNN", "ResNet18", "UnlearnableModel"]
