"""Batch normalisation: torch's own with one micro-batch a step; with several, one momentum step towards their mean."""

import torch
from torch import nn

from aedist.models.norm import BatchNorm, batch_norms, batch_statistics, move_running_statistics


def test_with_one_micro_batch_a_step_it_is_torchs_batch_norm() -> None:
    torch.manual_seed(0)
    ours, torchs = BatchNorm(5), nn.BatchNorm2d(5)
    with torch.no_grad():
        ours.weight.copy_(torch.rand(5))
        ours.bias.copy_(torch.rand(5))
    torchs.load_state_dict(ours.state_dict())
    for step in range(4):
        x = torch.randn(6, 5, 3, 4) * (step + 1) + step
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, z = ours(a), torchs(b)
        torch.testing.assert_close(y, z, rtol=0, atol=0)
        (y**3).sum().backward()
        (z**3).sum().backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=0)
        move_running_statistics(ours)
    assert ours.state_dict().keys() == torchs.state_dict().keys()
    for name, tensor in torchs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    x = torch.randn(6, 5, 3, 4)
    torch.testing.assert_close(ours.eval()(x), torchs.eval()(x), rtol=1e-6, atol=1e-6)


def test_a_pass_moves_no_running_statistic_and_leaves_its_own() -> None:
    norm = BatchNorm(2)
    x = torch.randn(4, 2, 3, 3)
    norm(x)
    norm(x * 2)
    assert norm.running_mean.tolist() == [0, 0]
    assert int(norm.num_batches_tracked) == 0
    mean, var = batch_statistics(norm)
    torch.testing.assert_close(mean, 2 * x.mean((0, 2, 3)))
    torch.testing.assert_close(
        var, 4 * x.transpose(0, 1).flatten(1).var(1), msg="unbiased, as torch's running variance"
    )


def test_a_step_moves_a_tenth_of_the_way_to_the_mean_over_micro_batches() -> None:
    model = nn.Sequential(BatchNorm(2), nn.ReLU(), BatchNorm(2))
    xs = [torch.randn(4, 2, 3, 3) + i for i in range(3)]
    means = []
    for x in xs:
        model(x)
        means.append(model[0].batch_mean.clone())
    assert len(batch_norms(model)) == 2
    assert len(batch_statistics(model)) == 4
    model[0].batch_mean.copy_(torch.stack(means).mean(0))  # as a reduction does
    move_running_statistics(model)
    torch.testing.assert_close(model[0].running_mean, 0.1 * torch.stack([x.mean((0, 2, 3)) for x in xs]).mean(0))


def test_a_batch_that_was_not_finite_leaves_no_trace_behind() -> None:
    norm, x = BatchNorm(2), torch.randn(4, 2, 3, 3)
    norm(torch.full_like(x, float("nan")))
    norm(x)
    assert all(statistic.isfinite().all() for statistic in batch_statistics(norm))


def test_the_batchs_statistics_are_not_part_of_what_is_saved() -> None:
    assert set(BatchNorm(2).state_dict()) == {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
