"""Attention sample by sample, as trained on a CPU, against attention over the whole batch, as everywhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from train.models.ofa.attention import BiasedAttention
from train.models.ofa.config import PRESETS

CONFIG = replace(PRESETS["micro"], d_model=24, heads=3)
BATCH, ROWS, COLUMNS = 4, 11, 7


@pytest.fixture
def attention() -> BiasedAttention:
    torch.manual_seed(0)
    built = BiasedAttention(CONFIG)
    torch.nn.init.normal_(built.c_attn)
    return built


def inputs(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Query, memory and bias that want gradients; a seventh of the bias masks."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(BATCH, ROWS, 24), (BATCH, COLUMNS, 24), (3, ROWS, COLUMNS)]
    query, memory, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    bias[:, torch.arange(ROWS), torch.arange(ROWS) % COLUMNS] = float("-inf")
    return [x.to(dtype).requires_grad_() for x in (query, memory, bias)]


def by_hand(attention: BiasedAttention, query: Tensor, memory: Tensor, bias: Tensor) -> Tensor:
    """The definition, head by head over the whole batch."""
    size = attention.head_dim
    q, k, v = attention.q_proj(query) * attention.scale, attention.k_proj(memory), attention.v_proj(memory)
    heads = []
    for h in range(attention.heads):
        part = slice(h * size, (h + 1) * size)
        weights = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) + bias[h], dim=-1)
        heads.append(weights @ v[..., part] * attention.c_attn[h])
    return attention.out_proj(torch.cat(heads, dim=-1))


def results(attend, attention: BiasedAttention, given: list[Tensor]) -> tuple[Tensor, ...]:
    out = attend(*given)
    wanted = [*given, *attention.parameters()]
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out.dtype)
    return out.detach(), *torch.autograd.grad((out * weights).sum(), wanted)


def test_values_and_gradients_are_those_of_the_definition(attention: BiasedAttention):
    attention.double()
    given = inputs(torch.float64)
    wanted = results(lambda *x: by_hand(attention, *x), attention, given)
    with pytest.MonkeyPatch.context() as patch:  # softmax runs in float32 everywhere else
        patch.setattr(Tensor, "float", lambda x: x)
        found = results(attention, attention, given)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_trained_and_untrained_give_the_same_values(attention: BiasedAttention):
    given = inputs()
    trained = attention(*given)
    with torch.no_grad():
        batched = attention(*given)
    torch.testing.assert_close(trained.detach(), batched, atol=1e-6, rtol=0)


def test_float32_gradients_of_both_ways(attention: BiasedAttention, monkeypatch: pytest.MonkeyPatch):
    given = inputs()
    single = results(attention, attention, given)
    # A bias of another dtype goes the other way; float64 holds the same values.
    batched = results(lambda q, m, b: attention(q, m, b.double()).float(), attention, given)
    for a, b in zip(single, batched, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)


def test_mixed_precision_keeps_the_bias_in_float32(attention: BiasedAttention):
    given = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention(*given)
    torch.testing.assert_close(out.float(), attention(*given), atol=0.1, rtol=0)


def test_a_batch_of_one_and_a_frozen_bias(attention: BiasedAttention):
    query, memory, bias = inputs()
    out = attention(query[:1], memory[:1], bias.detach())
    assert out.shape == (1, ROWS, 24)
    torch.testing.assert_close(out, by_hand(attention, query[:1], memory[:1], bias), atol=1e-6, rtol=0)


def test_different_batches_are_refused(attention: BiasedAttention):
    query, memory, bias = inputs()
    with pytest.raises(ValueError, match="zip"):
        attention(query, memory[:1], bias)
