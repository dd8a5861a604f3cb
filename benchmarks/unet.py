"""Our UNet, DDIM sampler and training loop against diffusers', and both against the machine's own limit, in one run.

Two matches, each within 10 % in parameters and in operations. "same widths": both (24, 48, 96); diffusers has one
residual block a level going down and two going up, so ours gets a second block in every level and in the bottleneck. "as
shipped": our network of the shipped DDPM against a diffusers net of its size. The limit is the rate of a large matrix product in the
same precision, on the same threads. README.md beside this file says what is timed.
"""
import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from importlib.metadata import version
from typing import NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch.utils.flop_counter import FlopCounterMode

from diffmnist.core import Batches, default_device
from diffmnist.ddim import ddim
from diffmnist.ddpm import eps_loss
from diffmnist.training import EMA, Recipe, train_epoch
from diffmnist.unet import Attention, Chain, ResBlock, UNet
from diffmnist.zoo import load, recipes

warnings.filterwarnings("ignore")
FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
TRAINING = Recipe(epochs=10_000, lr=1e-4, warmup=0)  # for both; the learning rate hardly falls
TRAIN_STEPS, PRODUCTS = 2, 4  # in one measurement


class Size(NamedTuple):
    "How much is measured."

    batch: int  # images at once
    steps: int  # of the sampler; divides the schedule's T
    rounds: int  # in each of them every contestant has one turn
    side: int  # of the square matrices that are multiplied


class Job(NamedTuple):
    "Something to time."

    task: str
    who: str
    work: Callable
    images: int  # made or learned from by one call
    flop: float  # of one call


class TheirUNet(UNet2DModel):
    "Called like ours."

    def forward(self, x, t):
        return super().forward(x, t, return_dict=False)[0]


def theirs(widths):
    return TheirUNet(sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=widths,
                     down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                     up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), norm_num_groups=8,
                     attention_head_dim=widths[-1] // 4)  # four heads, like ours


def deepened():
    "Ours, with as many blocks as diffusers' net of the same widths needs to be matched."
    second = lambda ch: ResBlock(ch, ch, 4 * 24)
    net = UNet((24, 48, 96), layers=(second, second, second))
    net.downs[2].append(Attention(96))
    net.ups[2].insert(2, Attention(96))
    net.mid = Chain([net.mid, second(96)])
    return net


def flop(net, training):
    "Operations for one image: of a forward pass, or of one forward and backward."
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        y = net(torch.zeros(1, 1, 28, 28), torch.ones(1))
        if training:
            y.sum().backward()
    net.zero_grad()
    return counter.get_total_flops()


def seconds(work, device):
    start = time.perf_counter()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def their_scheduler(steps):
    "diffusers' DDIM on the cosine schedule, set to visit the same times and to move by the clipped prediction of x0, as ours does."
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    return scheduler


@torch.no_grad()
def their_ddim(f, x, scheduler):
    "The loop of diffusers' DDIMPipeline; f(x, t) takes diffusers' times, 0..T-1, one less than ours."
    for t in scheduler.timesteps:
        x = scheduler.step(f(x, t), t, x, use_clipped_model_output=True).prev_sample
        yield x


def in_their_time(net):
    "Our net for diffusers' loop."
    return lambda x, t: net(x, torch.full((len(x),), int(t) + 1, device=x.device))


def largest_difference(steps):
    "Between the trajectories of the two samplers from noise to digits, both with the same trained net (on the CPU, where float32 is float32)."
    pipe, x = load("ddpm", "cpu"), torch.randn(8, 1, 28, 28)
    ours = torch.stack([step.x for step in ddim(pipe.net, x, pipe.schedule, steps)])
    other = torch.stack(list(their_ddim(in_their_time(pipe.net), x, their_scheduler(steps))))
    return (ours - other).abs().max().item()


def adamw(net, device):
    return torch.optim.AdamW(net.parameters(), lr=TRAINING.lr, weight_decay=TRAINING.wd, fused=device.type == "cuda")


def train_ours(net, batches, sched, bf16, device):
    "The library's own loop: draw times and noise, loss, gradient, clipping, AdamW, average."
    accelerator, recipe = Accelerator(cpu=device.type == "cpu"), replace(TRAINING, bf16=bf16)
    state = {"model": net, "average": EMA(net, TRAINING.ema), "opt": adamw(net, device)}

    def work():
        with redirect_stderr(io.StringIO()):  # its progress bar
            train_epoch(accelerator, net, state, lambda f, x0: eps_loss(f, x0, sched), batches, recipe)

    return work


def train_theirs(net, batches, scheduler, bf16, device):
    "The same steps with diffusers' parts."
    average, opt = EMAModel(net.parameters(), TRAINING.ema, foreach=True), adamw(net, device)

    def work():
        for (x0,) in batches:
            t = torch.randint(0, scheduler.config.num_train_timesteps, (len(x0),), device=device)
            eps = torch.randn_like(x0)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = F.mse_loss(net(scheduler.add_noise(x0, eps, t), t).float(), eps)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), TRAINING.clip)
            opt.step()
            opt.zero_grad()
            average.step(net.parameters())

    return work


@torch.no_grad()
def choose_format(net, bf16, batch, device):
    "Give a net the memory format in which its forward pass is quicker; return the format's name."
    x, t = torch.randn(batch, 1, 28, 28, device=device), torch.ones(batch, device=device)
    times = {name: [] for name in FORMATS}
    for _ in range(10):
        for name, took in times.items():
            net.to(memory_format=FORMATS[name])
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                took.append(seconds(lambda: net(x, t), device))
    best = min(times, key=lambda name: min(times[name]))  # the least time is the least disturbed one
    net.to(memory_format=FORMATS[best])
    return best


def product(side, bf16, device):
    "The machine's own limit: large matrix products, enough to take as long as the other jobs."
    a, b = torch.randn(2, side, side, device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
    return Job("product", "", lambda: [a @ b for _ in range(PRODUCTS)], 0, PRODUCTS * 2 * side**3)


def contests(mine, other, flops, bf16, size, sched, device):
    "What is to be timed: two nets (and their operations) in one precision."
    x, scheduler = torch.randn(size.batch, 1, 28, 28, device=device), their_scheduler(size.steps)
    batches = Batches(torch.randn(TRAIN_STEPS * size.batch, 1, 28, 28, device=device), batch_size=size.batch)

    def sampling(who, sampler, one):
        def work():
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                for _ in sampler():
                    pass

        return Job("sampling", who, work, size.batch, size.batch * size.steps * one[0])

    def training(who, work, one):
        return Job("training", who, work, len(batches) * size.batch, len(batches) * size.batch * one[1])

    return [sampling("ours", lambda: ddim(mine, x, sched, size.steps), flops[0]),
            sampling("ours, their scheduler", lambda: their_ddim(in_their_time(mine), x, scheduler), flops[0]),
            sampling("diffusers", lambda: their_ddim(other, x, scheduler), flops[1]),
            training("ours", train_ours(mine, batches, sched, bf16, device), flops[0]),
            training("diffusers", train_theirs(other, batches, their_scheduler(size.steps), bf16, device), flops[1])]


def measure(jobs, rounds, device):
    "The seconds of every job in every round, taken in turns, so that all meet the same disturbances."
    times = []
    for round_ in range(rounds + 1):
        turn = list(enumerate(jobs))[:: 1 if round_ % 2 else -1]  # and nobody always comes after the same one
        took = {i: seconds(job.work, device) for i, job in turn}
        times.append([took[i] for i in range(len(jobs))])
    return torch.tensor(times[1:]).T.tolist()  # the first round warms up


def with_quartiles(values, digits):
    "Median and quartiles."
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def report(limit, jobs, times):
    "One line a contestant. Ratios and shares are formed within each round; their median is printed."
    ours = {}
    for job, took in zip(jobs, times):
        ours.setdefault(job.task, took)  # comes first
        share = statistics.median(job.flop / s / most for s, most in zip(took, limit))
        line = f"    {job.task:10}{job.who:23}{with_quartiles([job.images / s for s in took], 1):26}{share:6.0%}"
        if took is not ours[job.task]:
            line += f"          {with_quartiles([s / o for s, o in zip(took, ours[job.task])], 2)}"
        print(line)


def compare(name, nets, precisions, size, sched, device):
    flops = [(flop(net, False), flop(net, True)) for net in nets]
    (a, b), (c, d) = [(sum(p.numel() for p in net.parameters()) / 1e6, one / 1e6) for net, (one, _) in zip(nets, flops)]
    print(f"\n{name}: ours {a:.2f} M parameters, {b:.0f} MFLOP an image; diffusers {c:.2f} M, {d:.0f} MFLOP ({d / b - 1:+.0%})")
    for net in nets:
        net.to(device)
    for precision, bf16 in precisions.items():
        formats = [choose_format(net, bf16, size.batch, device) for net in nets]
        jobs = [product(size.side, bf16, device), *contests(*nets, flops, bf16, size, sched, device)]
        times = measure(jobs, size.rounds, device)
        limit = [jobs[0].flop / s for s in times[0]]
        print(f"  {precision}: matrix product {with_quartiles([rate / 1e9 for rate in limit], 0)} GFLOP/s; ours {formats[0]}, diffusers {formats[1]}")
        report(limit, jobs[1:], times[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, to try it out")
    quick = parser.parse_args().quick
    device, cuda = default_device(), default_device().type == "cuda"
    size = Size(batch=512, steps=5, rounds=7, side=8192) if cuda else Size(batch=32, steps=5, rounds=7, side=2048)
    if quick:
        size = Size(batch=8, steps=2, rounds=3, side=1024)
    if cuda:
        torch.set_float32_matmul_precision("high")  # TF32 in the products too, as convolutions have it by default
    torch.manual_seed(0)
    print(f"{device.type}, threads: {torch.get_num_threads()}, torch {version('torch')}, diffusers {version('diffusers')}; batch {size.batch}, "
          f"DDIM in {size.steps} steps; median (quartiles) of {size.rounds} alternating rounds")
    off = largest_difference(size.steps)
    print(f"the two samplers, with the same trained net, differ by at most {off:.0e} anywhere on their trajectories")
    if not off < 1e-3:
        raise SystemExit("The two samplers do not do the same work.")
    sched = recipes["ddpm"].schedule.to(device)
    print("\n" + " " * 37 + "images/s".ljust(26) + "of the limit    ours is faster (times)")
    speed = {bf16: min(seconds(product(size.side, bf16, device).work, device) for _ in range(3)) for bf16 in (False, True)}
    precisions = {"fp32": False} | ({"bf16": True} if speed[True] < speed[False] else {})  # bf16 only where the machine is made for it
    compare("same widths", (deepened(), theirs((24, 48, 96))), precisions, size, sched, device)
    compare("as shipped", (recipes["ddpm"].build((1, 28, 28)), theirs((24, 48, 136))), precisions, size, sched, device)


if __name__ == "__main__":
    main()
