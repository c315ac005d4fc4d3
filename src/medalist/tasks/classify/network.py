"""Build the classification network of a config: float32[B, in, h, w] -> outputs float32[B, O]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medalist.data.items import Normalisation
from medalist.models.backbone import Encoder, build_encoder, encoder_statistics
from medalist.models.encoders import IMAGENET, adapted
from medalist.models.pooling import PooledHead
from medalist.models.weights import Resolved
from medalist.parts import NO_PARTS, OwnParts
from medalist.tasks.classify.loss_settings import CoralConfig
from medalist.tasks.classify.losses import outputs_of
from medalist.tasks.classify.settings import ClassifierConfig, ClassifySettings, OwnClassifierConfig
from medalist.tasks.own import own_network


class CoralLayer(nn.Module):
    """The CORAL layer (arXiv 1901.07884): one weight vector for all grades, and a bias for each grade but the first.

    [B, dim] -> logits [B, grades - 1].
    """

    def __init__(self, dim: int, grades: int):
        """The initial biases fall from grade to grade, so that lower grades are reached more easily."""
        super().__init__()
        self.slope = nn.Linear(dim, 1, bias=False)
        self.bias = nn.Parameter(torch.linspace(1, -1, grades - 1) if grades > 2 else torch.zeros(1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return for each grade but the first the logit that the grade is reached."""
        logits: Tensor = self.slope(vectors) + self.bias
        return logits


class ClassifierHead(PooledHead):
    """Pooling, dropout, neck and a linear layer: feature maps [B, C, h, w] -> outputs float32[B, O]."""

    def __init__(self, config: ClassifierConfig, encoder: Encoder, classifier: nn.Module | None, outputs: int):
        """`classifier`: the last layer; None builds a linear layer with `outputs` outputs."""
        super().__init__(config, encoder.width, encoder.cells)
        self.classifier = classifier or nn.Linear(self.dim, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs of a batch of features."""
        outputs: Tensor = self.classifier(self.pooled(features))
        return outputs.float()


class Classifier(nn.Module):
    """An encoder and a head: images float32[B, in, h, w] -> outputs float32[B, O]."""

    def __init__(self, encoder: Encoder, head: ClassifierHead):
        """`encoder` and `head` as `build_network` makes them."""
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Return the outputs of a batch of images."""
        outputs: Tensor = self.head(self.encoder(image))
        return outputs


def build_network(
    settings: ClassifySettings, weights: Resolved | None, fold: int, classes: int, own: OwnParts = NO_PARTS
) -> nn.Module:
    """Return the network with its pretrained encoder; its random weights depend only on the seed and the fold."""
    torch.manual_seed(settings.seed * 1000 + fold)
    return build_model(settings, classes, weights, own)


def build_model(
    settings: ClassifySettings, classes: int, weights: Resolved | None = None, own: OwnParts = NO_PARTS
) -> nn.Module:
    """Return the network: its encoder with `weights`, where they are given, and all else random.

    own: the parts of the contest's folder.
    """
    outputs = outputs_of(settings.loss, classes)
    if isinstance(settings.model, OwnClassifierConfig):
        seen = (settings.model.in_channels, *settings.image.size)
        return own_network(settings.model, own, seen, outputs, (outputs,))
    encoder = build_encoder(settings.model, settings.image.size, weights)
    head = ClassifierHead(settings.model, encoder, None, outputs)
    if isinstance(settings.loss, CoralConfig):
        head.classifier = CoralLayer(head.dim, classes)
    return Classifier(encoder, head)


def build_normalisation(settings: ClassifySettings) -> Normalisation:
    """Return the mean and std that the encoder was pretrained with; those of ImageNet for a network of one's own."""
    if isinstance(settings.model, OwnClassifierConfig):
        mean, std = adapted(IMAGENET, settings.model.in_channels)
    else:
        mean, std = encoder_statistics(settings.model)
    return Normalisation(tuple(mean), tuple(std))
