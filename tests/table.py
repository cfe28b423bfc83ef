"""One table of all registered algorithms, with settings that are quick and what it takes to check each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from generators import CLASSY, STYLED, TINY

from leakgauge.attacks.adam_inversion import adam_inversion
from leakgauge.attacks.adam_undone import AdamUndone
from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.ball import Ball
from leakgauge.attacks.bayes import bayes
from leakgauge.attacks.cpl import cpl
from leakgauge.attacks.dlg import dlg
from leakgauge.attacks.dlm import dlm
from leakgauge.attacks.dlm_plus import dlm_plus
from leakgauge.attacks.epoch_copies import epoch_copies
from leakgauge.attacks.floors import MeanImage, RandomImage, prior_only
from leakgauge.attacks.general_deep_leakage import general_deep_leakage
from leakgauge.attacks.ggl import ggl
from leakgauge.attacks.gradinversion import gradinversion
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.idlg import idlg
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.label_counts import LabelCounts
from leakgauge.attacks.labels.corrupted import Corrupted
from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.labels.geng import Geng
from leakgauge.attacks.labels.gradinversion import GradInversionRule
from leakgauge.attacks.labels.idlg import IDLG
from leakgauge.attacks.labels.ilrg import ILRG
from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.labels.llg import LLG
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.free_scale import FreeScale
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.implied import Implied
from leakgauge.attacks.likelihoods.laplace import Laplace
from leakgauge.attacks.likelihoods.layer_normalized import LayerNormalized
from leakgauge.attacks.likelihoods.masked import Masked
from leakgauge.attacks.likelihoods.profiled import Profiled
from leakgauge.attacks.likelihoods.saturated import Saturated
from leakgauge.attacks.likelihoods.sign_agreement import SignAgreement
from leakgauge.attacks.likelihoods.uninformative import Uninformative
from leakgauge.attacks.likelihoods.without import Without
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.modern import modern
from leakgauge.attacks.priors.batchnorm import BatchNormStatistics
from leakgauge.attacks.priors.clip import Clip
from leakgauge.attacks.priors.flow import Flow
from leakgauge.attacks.priors.l2 import L2
from leakgauge.attacks.priors.label_agreement import LabelAgreement
from leakgauge.attacks.priors.scale import Scale
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.refinement import Refinement
from leakgauge.attacks.replays.bottleneck import Bottleneck
from leakgauge.attacks.replays.estimated import Estimated
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.replays.surrogate import Surrogate
from leakgauge.attacks.replays.undefended import Undefended
from leakgauge.attacks.replays.unlocking import Forging, Unlocking
from leakgauge.attacks.replays.unrolled import Unrolled
from leakgauge.attacks.scale_free import scale_free
from leakgauge.attacks.searches import adam as adam_search
from leakgauge.attacks.searches.adam import Adam as SearchAdam
from leakgauge.attacks.searches.cma_es import CMAES
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.searches.turbo import TuRBO
from leakgauge.attacks.sme import sme
from leakgauge.attacks.spaces.latent import Latent
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.attacks.without_jumps import WithoutJumps
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.gradients import MeanGradient
from leakgauge.clients.optimizers.adam import Adam, adamw
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.types import Inputs
from leakgauge.data.arrays import Npz, SafeTensors
from leakgauge.data.faces import Faces
from leakgauge.data.folder import Folder
from leakgauge.data.huggingface import HuggingFace
from leakgauge.data.mnist import MNIST
from leakgauge.data.photographs import Photographs
from leakgauge.data.torchvision import Torchvision
from leakgauge.defenses import precode as precode_defense
from leakgauge.defenses.ats import ATS
from leakgauge.defenses.bernoulli_pruning import BernoulliPruning
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.dp_sgd import DPSGD
from leakgauge.defenses.key_lock import KeyLock
from leakgauge.defenses.mixup import Mixup
from leakgauge.defenses.noise import GaussianNoise, LaplaceNoise
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.defenses.pruning import Pruning
from leakgauge.defenses.qsgd import QSGD
from leakgauge.defenses.secure_aggregation import SecureAggregation
from leakgauge.defenses.sign import Sign
from leakgauge.defenses.soteria import Soteria
from leakgauge.defenses.topk import TopK
from leakgauge.defenses.weight_noise import WeightNoise
from leakgauge.defenses.weight_sparsification import WeightSparsification
from leakgauge.metrics.affine import Affine
from leakgauge.metrics.lpips import LPIPS
from leakgauge.metrics.mse import MSE
from leakgauge.metrics.psnr import PSNR
from leakgauge.metrics.ssim import SSIM
from leakgauge.partitions.dirichlet import Dirichlet
from leakgauge.partitions.iid import IID
from leakgauge.partitions.shards import Shards
from leakgauge.victims.checkpoint import Checkpoint
from leakgauge.victims.cnn import CNN
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.key_locked import KeyLocked
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.module import Module
from leakgauge.victims.precode import Precode
from leakgauge.victims.resnet import ResNet, resnet18, resnet20
from leakgauge.victims.vgg import VGG, vgg11
from leakgauge.victims.vit import ViT

torch.set_num_threads(1)  # tests run side by side


@dataclass(frozen=True)
class Row:
    """An algorithm under the name it is registered by, the options of its check, and why it has none where it has none."""

    family: str
    name: str
    algorithm: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: str = ""

    def __str__(self) -> str:
        return f"{self.family} {self.name} {self.algorithm!r}"[:60]


FLAT = MLP(hidden=(32,))
BOTTLENECKED = Precode(victim=FLAT, latent=4)
LOCKED = KeyLocked(victim=CNN(width=3, hidden=20), length=6)
LBFGS_FEW = LBFGS(steps=2, inner=4)
FILES = "needs files or an extra: see test_data.py, test_metrics.py, test_federation.py, test_own_models.py"

TABLE = [
    Row("attack", "dlg", dlg(search=LBFGS_FEW, restarts=2)),
    Row("attack", "idlg", idlg(search=LBFGS_FEW, restarts=1)),
    Row("attack", "cpl", cpl(search=LBFGS_FEW, restarts=1)),
    Row("attack", "inverting_gradients", inverting_gradients(steps=4), {"bounded": True, "examples": 2}),
    Row("attack", "modern", modern(steps=2, restarts=3), {"bounded": True, "examples": 2}),
    Row(
        "attack",
        "inverting_gradients",
        inverting_gradients(steps=2),
        {"bounded": True, "examples": 2, "client": FedAvg(epochs=2, batch_size=1, optimizer=SGD(momentum=0.9))},
    ),
    Row("attack", "gradinversion", gradinversion(steps=3, group=GroupConsistency(members=2)), {"bounded": True, "examples": 2}),
    Row("attack", "gradinversion", gradinversion(steps=3, group=None), {"client": FedSGD(batchnorm="train"), "examples": 2}),
    Row("attack", "general_deep_leakage", general_deep_leakage(search=LBFGS_FEW), {"examples": 2}),
    Row(
        "attack",
        "without_jumps",
        WithoutJumps(attack=replace(dlg(search=LBFGS_FEW, restarts=1), likelihood=Masked())),
        {"client": FedAvg(), "defenses": (WeightSparsification(share=0.3),)},
    ),
    Row(
        "attack",
        "adam_undone",
        AdamUndone(attack=replace(dlg(search=LBFGS_FEW, restarts=1), likelihood=Saturated())),
        {"client": FedAvg(optimizer=adamw())},
    ),
    Row("attack", "adam_inversion", adam_inversion(search=LBFGS_FEW), {"bounded": True, "client": FedAvg(optimizer=Adam())}),
    Row("attack", "analytic", Analytic(), {"victim": FLAT}),
    Row(
        "attack",
        "bayes",
        bayes(search=SearchAdam(steps=3), ball=Ball(radius=0.1, samples=2), annealing=Annealing(stages=2)),
        {"bounded": True, "examples": 2, "defenses": (GaussianNoise(sigma=0.1),)},
    ),
    Row(
        "attack",
        "ggl",
        ggl(generator=TINY, search=SearchAdam(steps=3), refinement=Refinement(search=SearchAdam(steps=2))),
        {"bounded": True, "defenses": (Clipping(norm=0.1),)},
    ),
    Row("attack", "ggl", ggl(generator=CLASSY, search=CMAES(budget=120, population=12)), {"bounded": True}),
    Row("attack", "ggl", ggl(generator=STYLED, search=SearchAdam(steps=2), labels=GradInversionRule()), {"examples": 2}),
    Row("attack", "dlm", dlm(search=LBFGS_FEW, restarts=2), {"client": FedAvg(epochs=2)}),
    Row("attack", "dlm_plus", dlm_plus(search=LBFGS_FEW, restarts=1), {"client": FedAvg(epochs=2)}),
    Row("attack", "sme", sme(steps=3, learning_rate=0.1), {"bounded": True, "examples": 2, "client": FedAvg(epochs=2)}),
    Row("attack", "scale_free", scale_free(search=LBFGS_FEW), {"bounded": True, "examples": 2, "client": FedAvg(epochs=2)}),
    Row(
        "attack",
        "scale_free",
        scale_free(search=LBFGS_FEW, replay=Unrolled(steps=2)),
        {"bounded": True, "examples": 2, "client": FedAvg(epochs=2)},
    ),
    Row(
        "attack",
        "epoch_copies",
        epoch_copies(epochs=2, search=LBFGS_FEW),
        {"bounded": True, "examples": 3, "client": FedAvg(epochs=2, batch_size=2)},
    ),
    Row("attack", "analytic", Analytic(labels=Known()), {"victim": FLAT, "examples": 3}),
    Row("attack", "label_counts", LabelCounts(), {"bounded": True, "examples": 3}),
    Row("attack", "mean_image", MeanImage(), {"bounded": True, "examples": 2}),
    Row("attack", "random_image", RandomImage(), {"bounded": True, "examples": 2}),
    Row("attack", "prior_only", prior_only(steps=3), {"bounded": True, "examples": 2}),
    Row(
        "attack",
        "matching",
        Matching(
            likelihood=Laplace(),
            priors=(L2(), TotalVariation()),
            space=Pixels(start_from="uniform"),
            replay=OneGradient(),
            labels=GradInversionRule(),
            search=LBFGS_FEW,
            restarts=2,
        ),
        {"bounded": True, "examples": 2, "client": FedAvg(epochs=2), "defenses": (Pruning(share=0.5),)},
    ),
    Row("client", "fedsgd", FedSGD()),
    Row("client", "fedsgd", FedSGD(batchnorm="train")),
    Row("client", "fedavg", FedAvg()),
    Row("client", "fedavg", FedAvg(epochs=2, batch_size=2, optimizer=SGD(momentum=0.9, nesterov=True), batchnorm="train")),
    Row("client", "fedavg", FedAvg(epochs=2, batch_size=3, optimizer=adamw())),
    Row("data", "photographs", Photographs(size=8)),
    Row("data", "faces", Faces()),
    Row("data", "mnist", MNIST()),
    Row("data", "folder", Folder(path="pictures"), elsewhere=FILES),
    Row("data", "npz", Npz(path="arrays.npz"), elsewhere=FILES),
    Row("data", "safetensors", SafeTensors(path="arrays.safetensors"), elsewhere=FILES),
    Row("data", "torchvision", Torchvision(dataset="CIFAR10", root="here"), elsewhere=FILES),
    Row("data", "huggingface", HuggingFace(path="here"), elsewhere=FILES),
    Row("defense", "gaussian_noise", GaussianNoise(sigma=0.1)),
    Row("defense", "laplace_noise", LaplaceNoise(scale=0.1)),
    Row("defense", "clipping", Clipping(norm=0.1)),
    Row("defense", "topk", TopK(share=0.3), {"client": FedAvg(epochs=2)}),
    Row("defense", "pruning", Pruning(share=0.5)),
    Row("defense", "bernoulli_pruning", BernoulliPruning(share=0.3)),
    Row("defense", "qsgd", QSGD(levels=4)),
    Row("defense", "sign", Sign()),
    Row("defense", "sign", Sign(scaled=True)),
    Row("defense", "dp_sgd", DPSGD(clip=0.5), {"client": FedAvg(batch_size=2)}),
    Row("defense", "mixup", Mixup()),
    Row("defense", "partial_sharing", PartialSharing(share=("*.weight",))),
    Row("defense", "precode", precode_defense.Precode(beta=0.1), {"victim": BOTTLENECKED, "client": FedAvg(epochs=2)}),
    Row("defense", "key_lock", KeyLock(), {"victim": LOCKED, "client": FedAvg(epochs=2, batchnorm="train")}),
    Row("defense", "ats", ATS(policy="21-13-3+7-4-15")),
    Row("defense", "ats", ATS(), {"client": FedAvg(epochs=2)}),
    Row("defense", "secure_aggregation", SecureAggregation(clients=2)),
    Row("defense", "soteria", Soteria(share=0.5)),
    Row("defense", "soteria", Soteria(), {"victim": FLAT, "client": FedAvg(epochs=2)}),
    Row("defense", "weight_noise", WeightNoise(), {"client": FedAvg(epochs=2)}),
    Row("defense", "weight_noise", WeightNoise(distribution="gaussian", clip=1.0)),
    Row("defense", "weight_sparsification", WeightSparsification(), {"client": FedAvg(epochs=2)}),
    Row("gradient", "mean", MeanGradient()),
    Row("labels", "known", Known(), {"examples": 3}),
    Row("labels", "corrupted", Corrupted(wrong=2), {"examples": 3}),
    Row("labels", "joint", Joint(), {"examples": 3}),
    Row("labels", "idlg", IDLG()),
    Row("labels", "gradinversion", GradInversionRule(), {"examples": 3}),
    Row("labels", "geng", Geng(samples=16), {"examples": 6}),
    Row("labels", "geng", Geng(using="weight", images="normal", samples=16), {"examples": 6, "client": FedAvg(epochs=2)}),
    Row("labels", "ilrg", ILRG(samples=16), {"examples": 6}),
    Row("labels", "llg", LLG(samples=16), {"examples": 6}),
    Row("labels", "counts", Counts(samples=16), {"examples": 6}),
    Row("labels", "counts", Counts(samples=16), {"examples": 6, "client": FedAvg(epochs=2)}),
    Row("likelihood", "gaussian", Gaussian(weight=2.0)),
    Row("likelihood", "laplace", Laplace(weight=2.0)),
    Row("likelihood", "cosine", Cosine(weight=2.0)),
    Row("likelihood", "free_scale", FreeScale()),
    Row("likelihood", "layer_normalized", LayerNormalized(weight=2.0)),
    Row("likelihood", "profiled", Profiled(weight=2.0)),
    Row("likelihood", "profiled", Profiled(per="tensor")),
    Row("likelihood", "sign_agreement", SignAgreement(weight=2.0)),
    Row("likelihood", "saturated", Saturated(signs=0.5)),
    Row("likelihood", "implied", Implied(width=0.5)),
    Row("likelihood", "masked", Masked()),
    Row("likelihood", "masked", Masked(likelihood=Cosine())),
    Row("likelihood", "without", Without(drop=("bias",))),
    Row("likelihood", "uninformative", Uninformative()),
    Row("metric", "mse", MSE()),
    Row("metric", "psnr", PSNR()),
    Row("metric", "ssim", SSIM()),
    Row("metric", "affine", Affine(metric=PSNR())),
    Row("metric", "lpips", LPIPS(), elsewhere=FILES),
    Row("optimizer", "sgd", SGD()),
    Row("optimizer", "sgd", SGD(momentum=0.9, dampening=0.5, weight_decay=0.1)),
    Row("optimizer", "sgd", SGD(momentum=0.9, nesterov=True)),
    Row("optimizer", "adam", Adam(weight_decay=0.1)),
    Row("optimizer", "adamw", adamw()),
    Row("partition", "iid", IID()),
    Row("partition", "shards", Shards(per_client=3)),
    Row("partition", "dirichlet", Dirichlet(alpha=0.3)),
    Row("prior", "total_variation", TotalVariation()),
    Row("prior", "l2", L2()),
    Row("prior", "l2", L2(form="squares")),
    Row("prior", "scale", Scale()),
    Row("prior", "clip", Clip()),
    Row("prior", "label_agreement", LabelAgreement()),
    Row("prior", "batchnorm", BatchNormStatistics()),
    Row("prior", "batchnorm", BatchNormStatistics(), {"client": FedSGD(batchnorm="train")}),
    Row("prior", "flow", Flow()),
    Row("prior", "flow", Flow(weight=0.1, stride=1)),
    Row("replay", "one_gradient", OneGradient(), {"client": FedAvg(epochs=2)}),
    Row("replay", "one_gradient", OneGradient(scaled=False, batchnorm="train"), {"client": FedAvg(optimizer=Adam())}),
    Row("replay", "undefended", Undefended(), {"client": FedAvg(epochs=2)}),
    Row("replay", "estimated", Estimated(), {"client": FedAvg(epochs=2)}),
    Row("replay", "granted", Granted(), {"client": FedAvg(epochs=2, batch_size=1, optimizer=Adam())}),
    Row("replay", "surrogate", Surrogate(), {"client": FedAvg(epochs=2)}),
    Row("replay", "unrolled", Unrolled(steps=2), {"client": FedAvg(epochs=2)}),
    Row("replay", "unrolled", Unrolled(steps=3, batch_size=1, optimizer=SGD(momentum=0.9)), {"client": FedAvg(epochs=2)}),
    Row("replay", "bottleneck", Bottleneck(), {"victim": BOTTLENECKED}),
    Row("replay", "unlocking", Unlocking(searched=False), {"victim": LOCKED, "client": FedSGD(batchnorm="train")}),
    Row("replay", "unlocking", Unlocking(forging=Forging(steps=5)), {"victim": LOCKED, "client": FedSGD(batchnorm="train")}),
    Row("replay", "unlocking", Unlocking(), {"victim": LOCKED, "client": FedSGD(batchnorm="train")}),
    Row("search", "lbfgs", LBFGS(steps=10)),
    Row("search", "lbfgs", LBFGS(steps=3, line_search="strong_wolfe")),
    Row("search", "adam", adam_search.Adam(steps=50)),
    Row("search", "adam", adam_search.Adam(steps=50, signed=True, schedule="step")),
    Row("search", "adam", adam_search.Adam(steps=50, schedule="cosine", warmup=5, langevin=0.1)),
    Row("search", "cma_es", CMAES(budget=100, population=10)),
    Row("search", "turbo", TuRBO(budget=30, initial=12, batch=6, proposals=40, fitting_steps=5)),
    Row("space", "latent", Latent(generator=TINY), {"bounded": True}),
    Row("space", "latent", Latent(generator=CLASSY, regularizer="norm", start_from="zero"), {"bounded": True}),
    Row("space", "latent", Latent(generator=STYLED, regularizer="none"), {"bounded": True}),
    Row("space", "pixels", Pixels(), {"bounded": True}),
    Row("space", "pixels", Pixels(start_from="gray"), {"bounded": True}),
    Row("space", "pixels", Pixels(start_from="tiles"), {"bounded": True}),
    Row("space", "pixels", Pixels(start_from="uniform", boxed=False)),
    Row("victim", "mlp", FLAT),
    Row("victim", "mlp", MLP(hidden=(), normalize=True)),
    Row("victim", "cnn", CNN(width=2, hidden=4)),
    Row("victim", "lenet", LeNet(channels=4)),
    Row("victim", "convnet", ConvNet(width=4), {"inputs": Inputs((3, 9, 9), 5)}),
    Row("victim", "precode", BOTTLENECKED),
    Row("victim", "precode", Precode(victim=ResNet(blocks=(1,), widths=(4,)), latent=4)),
    Row("victim", "checkpoint", Checkpoint(path="round.safetensors", victim=FLAT), elsewhere=FILES),
    Row("victim", "module", Module(module="mynet:Net"), elsewhere=FILES),
    Row("victim", "key_locked", LOCKED),
    Row("victim", "key_locked", KeyLocked(victim=ResNet(blocks=(1, 1), widths=(4, 8)), layers=("all",), activation="sigmoid")),
    Row("victim", "key_locked", KeyLocked(victim=CNN(width=2, hidden=4), kind="batchnorm")),
    Row("victim", "resnet", ResNet(blocks=(1, 1), widths=(4, 8))),
    Row("victim", "resnet18", resnet18(width=4)),
    Row("victim", "resnet20", resnet20(width=4)),
    Row("victim", "vgg", VGG(blocks=(1, 2), widths=(3, 4), batchnorm=True)),
    Row("victim", "vgg11", vgg11(width=1)),
    Row("victim", "vit", ViT(dim=8, depth=1, heads=2)),
]


def rows(family):
    return [row for row in TABLE if row.family == family]
