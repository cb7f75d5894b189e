"""Networks, each with a `classifier` as its last, linear layer."""

from adaprob_ray.models.allcnn import AllCNN
from adaprob_ray.models.resnet import ResNet18

__all__ = ["AllCNN", "ResNet18"]
