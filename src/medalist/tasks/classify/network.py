"""From a config to a network: float32[B, in, h, w] -> outputs float32[B, O]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medalist.models.backbone import Encoder, build_encoder
from medalist.models.pooling import PooledHead
from medalist.models.weights import Resolved
from medalist.tasks.classify.loss_settings import CoralConfig
from medalist.tasks.classify.losses import outputs_of
from medalist.tasks.classify.settings import ClassifierConfig, ClassifySettings


class CoralLayer(nn.Module):
    """One slope for all grades and a bias for each but the first (arXiv 1901.07884): [B, dim] -> [B, grades - 1]."""

    def __init__(self, dim: int, grades: int):
        """Biases begin falling, so that a lower grade is reached more easily."""
        super().__init__()
        self.slope = nn.Linear(dim, 1, bias=False)
        self.bias = nn.Parameter(torch.linspace(1, -1, grades - 1) if grades > 2 else torch.zeros(1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits of each grade being reached."""
        logits: Tensor = self.slope(vectors) + self.bias
        return logits


class ClassifierHead(PooledHead):
    """Feature maps [B, C, h, w] become outputs float32[B, O]: pooling, dropout, neck, a linear layer."""

    def __init__(self, config: ClassifierConfig, encoder: Encoder, classifier: nn.Module | None, outputs: int):
        """`classifier` is the last layer; None = a linear one."""
        super().__init__(config, encoder.width, encoder.cells)
        self.classifier = classifier or nn.Linear(self.dim, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Outputs of a batch."""
        outputs: Tensor = self.classifier(self.pooled(features))
        return outputs.float()


class Classifier(nn.Module):
    """An image becomes a number for each class: float32[B, in, h, w] -> float32[B, O]."""

    def __init__(self, encoder: Encoder, head: ClassifierHead):
        """Both parts as they are built below."""
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Outputs of a batch."""
        outputs: Tensor = self.head(self.encoder(image))
        return outputs


def build_network(settings: ClassifySettings, weights: Resolved | None, fold: int, classes: int) -> Classifier:
    """The network with its pretrained encoder; what is random in it depends on the seed and the fold alone."""
    torch.manual_seed(settings.seed * 1000 + fold)
    encoder = build_encoder(settings.model, settings.image.size, weights)
    outputs = outputs_of(settings.loss, classes)
    head = ClassifierHead(settings.model, encoder, None, outputs)
    if isinstance(settings.loss, CoralConfig):
        head.classifier = CoralLayer(head.dim, classes)
    return Classifier(encoder, head)
