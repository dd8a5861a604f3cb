"""Our UNet against diffusers' UNet2DModel: forward pass and training step, in one run on one machine.

Two matches. "same widths": both (24, 48, 96); diffusers has one residual block a stage going down and two going up, so
ours gets a second block in every stage and in the
middle. "as shipped": our default net against the diffusers net of nearest operations.
"""
import statistics
import time
import warnings

import torch
from diffusers import UNet2DModel
from torch.utils.flop_counter import FlopCounterMode

from diffmnist.core import default_device
from diffmnist.unet import Attention, Chain, ResBlock, UNet

warnings.filterwarnings("ignore")
BATCH, ROUNDS = 32, 15


def theirs(widths):
    net = UNet2DModel(sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=widths,
                      down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                      up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), norm_num_groups=8)
    return net, lambda x, t: net(x, t, return_dict=False)[0]


def mflop(f, device):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        f(torch.zeros(1, 1, 28, 28, device=device), torch.ones(1, device=device))
    return counter.get_total_flops() / 1e6


def seconds(work, device):
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def passes(net, f, device):
    "The two things to time: a forward pass without gradients, and a training step."
    x, t = torch.randn(BATCH, 1, 28, 28, device=device), torch.randint(1, 1000, (BATCH,), device=device)
    opt = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def forward():
        with torch.no_grad():
            f(x, t)

    def train():
        f(x, t).square().mean().backward()
        opt.step()
        opt.zero_grad()

    return forward, train


def compare(name, ours, other, device):
    "Alternate the two nets, so that both meet the same disturbances; print medians and their ratio."
    nets = [(ours, ours), other]
    counts = []
    for net, f in nets:
        net.to(device)
        counts.append((sum(p.numel() for p in net.parameters()) / 1e6, mflop(f, device)))
    print(f"{name}: ours {counts[0][0]:.2f} M parameters, {counts[0][1]:.0f} MFLOP; "
          f"diffusers {counts[1][0]:.2f} M, {counts[1][1]:.0f} MFLOP ({counts[1][1] / counts[0][1] - 1:+.0%})")
    work = [passes(net, f, device) for net, f in nets]
    for k, what in enumerate(("forward pass", "training step")):
        times = [[], []]
        for round_ in range(ROUNDS + 3):
            for i in (0, 1):
                took = seconds(work[i][k], device)
                if round_ >= 3:  # the first three warm up
                    times[i].append(took)
        a, b = (1000 * statistics.median(t) for t in times)
        print(f"    {what:14} ours {a:6.1f} ms, diffusers {b:6.1f} ms, ratio {b / a:.2f}")


def main():
    device = default_device()
    torch.manual_seed(0)
    print(f"{device.type}, {torch.get_num_threads()} threads, batch {BATCH}, median of {ROUNDS} alternating rounds")
    emb_dim = 4 * 24
    second = lambda ch: ResBlock(ch, ch, emb_dim)
    deep = UNet((24, 48, 96), attn=(second, second, second))
    for stage in (deep.downs[2], deep.ups[2]):
        stage.insert(len(stage) if stage is deep.downs[2] else 2, Attention(96))
    deep.mid = Chain([deep.mid, second(96)])
    compare("same widths", deep, theirs((24, 48, 96)), device)
    compare("as shipped", UNet(), theirs((16, 40, 80)), device)


if __name__ == "__main__":
    main()
