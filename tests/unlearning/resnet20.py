from torch import nn
from torch.nn.functional import pad


class Block(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.stride, self.extra = after // before, (after - before) // 2
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, self.stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra))).relu()


def resnet20():
    model = nn.Sequential()
    model.conv1, model.bn1, model.relu = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    for n, before, after in ((1, 16, 16), (2, 16, 32), (3, 32, 64)):
        model.add_module(f"layer{n}", nn.Sequential(Block(before, after), Block(after, after), Block(after, after)))
    model.pool, model.flatten, model.linear = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    return model
