"""Image-free adaptation: the training loop over artificial images (spec 11)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from ifseg_rt.errors import CheckpointError, UsageError
from train.adaptation.artificial import draw_grids
from train.adaptation.interrupt import interrupt_held_back
from train.adaptation.objective import upsampled_cross_entropy
from train.adaptation.optimiser import ReferenceAdam
from train.adaptation.resume import FORMAT, Expected, parse_resume

if TYPE_CHECKING:
    from train.loaded_model import LoadedModel
    from train.models.base import SegmentationModel

# The reference's dynamic loss scale (spec 11.4); used with float16 only, bfloat16 needs none.
_FP16_SCALE, _FP16_WINDOW = 128.0, 512
# What lies outside is a slip of the keys; torch's generators take seeds of 64 bits.
_MOST_STEPS, _LARGEST_BATCH, _LARGEST_SEED, _HIGHEST_RATE = 10**9, 65536, 2**63 - 1, 1e3


@dataclass(frozen=True)
class AdaptationConfig:
    """Length and shape of one adaptation; the defaults are the published ones.

    Attributes:
        steps: updates; the last one is the result.
        batch_size: artificial images per update, over all processes.
        lr: peak learning rate, cosine to 0.
        seed: everything random follows from it, the step and the process.
    """

    steps: int = 2000
    batch_size: int = 16
    lr: float = 5e-5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("steps", self.steps, 0, _MOST_STEPS),
            ("batch size", self.batch_size, 1, _LARGEST_BATCH),
            ("seed", self.seed, 0, _LARGEST_SEED),
        ):
            if type(value) is not int or not least <= value <= most:
                raise UsageError(f"{name} {value!r}: expected a whole number from {least} to {most}")
        if not isinstance(self.lr, (int, float)) or not 0 < self.lr <= _HIGHEST_RATE:
            raise UsageError(f"learning rate {self.lr!r}: expected more than 0 and at most {_HIGHEST_RATE:g}")


@dataclass(frozen=True)
class Progress:
    """State after an update: ``step`` of ``steps`` done, loss and gradient norm of the last one."""

    step: int
    steps: int
    loss: float
    gradient_norm: float


class Adaptation:
    """One adaptation of one model in place; iterate :meth:`run`, or save and resume between updates.

    Under ``torchrun`` every process holds a replica and draws its own share of each batch; gradients are averaged.
    """

    def __init__(self, model: LoadedModel[SegmentationModel], config: AdaptationConfig) -> None:
        self.loaded = model
        self.model = model.module
        self.config = config
        self.device = self.model.device
        self.rank = distributed.get_rank() if distributed.is_initialized() else 0
        self.world = distributed.get_world_size() if distributed.is_initialized() else 1
        if config.batch_size % self.world:
            raise UsageError(f"a batch of {config.batch_size} cannot be shared evenly by {self.world} processes")
        self.model.freeze_for_adaptation()
        self.optimiser = ReferenceAdam(
            (parameter for _, parameter in self.model.trainable_parameters()), config.lr, max(config.steps, 1)
        )
        half = self.device.type == "cuda" and not torch.cuda.is_bf16_supported()
        self.scaler = torch.amp.GradScaler(
            self.device.type, init_scale=_FP16_SCALE, growth_interval=_FP16_WINDOW, enabled=half
        )
        self.autocast_dtype = torch.float16 if half else torch.bfloat16
        self.step = 0
        self.loss = float("nan")

    def run(self, on_update: Callable[[Progress], None] | None = None) -> float:
        """Runs the remaining updates and returns the last loss (NaN when there were none)."""
        devices = [self.device] if self.device.type == "cuda" else []
        self.model.train()
        self.optimiser.adam.zero_grad(set_to_none=True)  # of an update that was interrupted halfway
        try:
            with torch.random.fork_rng(devices=devices):
                while self.step < self.config.steps:
                    norm = self._update()
                    if on_update is not None:
                        on_update(Progress(self.step, self.config.steps, self.loss, norm))
        finally:
            self.model.eval()
        return self.loss

    def _update(self) -> float:
        # Seeding every update from (seed, step, process) makes a resumed run equal to an uninterrupted one without
        # any generator state, and gives every process images of its own.
        seed = _mix(self.config.seed, self.step, self.rank)
        torch.manual_seed(seed)
        generator = torch.Generator(self.device).manual_seed(seed)
        share = self.config.batch_size // self.world
        maps, target = draw_grids(share, len(self.model.category_embedding), generator)
        with self._autocast():
            logits = self.model.forward_artificial(maps)
        loss = upsampled_cross_entropy(logits, target)
        self.scaler.scale(loss).backward()
        self.loss = self._mean_over_processes(loss.detach())
        if not math.isfinite(self.loss) and not self.scaler.is_enabled():
            raise CheckpointError(
                f"the loss is not finite at step {self.step + 1}", hint="lower --lr, or check the base checkpoint"
            )
        # Interrupted in here, weights, moments and counters would be of different updates; so would the resume file.
        with interrupt_held_back():
            norm = self.optimiser.step(self.scaler)
            self.step += 1
        return norm

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.device.type == "cuda"):
            yield

    def _mean_over_processes(self, loss: Tensor) -> float:
        """Averages gradients and loss over all processes."""
        if self.world > 1:
            gradients = [p.grad for p in self.optimiser.parameters if p.grad is not None]
            flat = torch.cat([g.flatten() for g in gradients] + [loss.reshape(1)])
            distributed.all_reduce(flat)
            flat /= self.world
            offset = 0
            for gradient in gradients:
                gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
                offset += gradient.numel()
            loss = flat[-1]
        return float(loss)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later, readable with ``weights_only=True``."""
        return {
            "format": FORMAT,
            "identity": self.identity(),
            "step": self.step,
            "loss": self.loss,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.adam.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: object, origin: str = "the resume file") -> None:
        """Inverse of :meth:`state`. After an error nothing has changed.

        Args:
            state: what :meth:`state` gave.
            origin: name of its file, for messages.

        Raises:
            CheckpointError: damaged, or of another adaptation: other categories, base, steps, batch, rate or seed.
        """
        expected = Expected(self.identity(), self.config.steps, self.model.state_dict(), self.optimiser.parameters)
        resumed = parse_resume(state, expected, origin)
        self.model.load_state_dict(resumed.model)
        self.optimiser.restore(resumed.optimiser, resumed.step)
        if resumed.scaler:  # else it was off where the file comes from, and starts afresh here
            self.scaler.load_state_dict({**self.scaler.state_dict(), **resumed.scaler})
        self.step = resumed.step
        self.loss = resumed.loss

    def identity(self) -> str:
        """Hash of what makes two adaptations the same: settings, vocabulary, base."""
        facts = {
            **asdict(self.config),
            "model": self.model.config.to_dict(),
            "prompt": self.model.prompt_ids.tolist(),
            "category_ids": self.loaded.category_ids,
            "base": self.loaded.provenance.get("base_sha256"),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _mix(seed: int, step: int, rank: int) -> int:
    digest = hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
