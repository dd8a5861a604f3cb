"""Every kind of model and every sampler on a device that is not the CPU: does each tensor arrive there, and none in double precision, which Apple's GPU lacks?

    python tools/devices.py

Few machines have such a device, so a stand-in takes its place: tensors that say they are on PyTorch's device `meta`, refuse float64, refuse to meet the
CPU's tensors, and are computed on the CPU. The samples must be those of the CPU.
"""
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import diffmnist as dm
from diffmnist.pipeline import SAMPLERS


class Away(torch.Tensor):
    "A tensor that says it is on another device, and is computed on the CPU; like Apple's GPU that device knows no float64."

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        if held.dtype == torch.float64:
            raise TypeError("float64 on a device without it")
        away = torch.Tensor._make_wrapper_subclass(cls, held.shape, strides=held.stride(), dtype=held.dtype, device="meta", requires_grad=held.requires_grad)
        away.held = held
        return away

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


def computed(func, args, kwargs):
    "Run an operation on what its tensors hold, unless they are on two devices."
    name, to = func.overloadpacket.__name__, kwargs.get("device")
    tensors = [v for v in tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
    away, here = ([v for v in tensors if isinstance(v, Away) == side] for side in (True, False))
    free = name in ("_to_copy", "copy_", "_local_scalar_dense", "index")  # copies, and the CPU's indices
    if away and not free and any(v.ndim for v in here) or to == torch.device("meta") and kwargs.get("generator"):
        raise RuntimeError(f"{name}: tensors or generator on two devices")
    kwargs = kwargs | ({"device": torch.device("cpu")} if to else {})
    out = func(*tree_map(lambda v: v.held if isinstance(v, Away) else v, args), **tree_map(lambda v: v.held if isinstance(v, Away) else v, kwargs))
    stays = isinstance(args[0], Away) if name == "copy_" else to == torch.device("meta") if to else bool(away)
    return tree_map(lambda v: Away(v) if stays and isinstance(v, torch.Tensor) else v, out)


class OtherDevice(TorchDispatchMode):
    "Within it the device meta has values."

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


class Constants(TorchFunctionMode):
    "`torch.as_tensor` builds on the CPU, and then moves."

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func not in (torch.tensor, torch.as_tensor):
            return func(*args, **kwargs)
        device = kwargs.pop("device", None)
        return func(*args, **kwargs).to(device)


def samples(device, name, options):
    "Two digits of a model on a device."
    with Constants(), OtherDevice():
        guide = {"classifier": dm.load(options["classifier"], device).net} if "classifier" in options else {}
        return dm.load(name, device).sample(2, **options | guide)


def main():
    torch.set_num_threads(1)
    others = ("rk45", "one_step", "flow_map", "multistep_consistency")  # below, and of other models
    kinds = [("latent_ddpm", {"sampler": name} | ({"steps": 2} if way.steps else {})) for name, way in SAMPLERS.items() if name not in others]
    kinds += [("latent_flow", {"sampler": "rk45", "start": 100}), ("latent_one_step", {}), ("latent_consistency", {"steps": 2}), ("vae", {}),
              ("cfg_attend", {"steps": 2}), ("flow", {"steps": 1}), ("pixel_transformer", {"steps": 1}),
              ("latent_ddpm", {"steps": 3, "spacing": "log_snr", "eta": 1.0, "cache": 2}), ("controlnet", {"steps": 1, "label": 7}),
              ("latent_ddpm", {"steps": 1, "sampler": "ddim", "classifier": "noisy_classifier", "label": 3})]
    for name, options in kinds:
        there, here = samples("meta", name, options), samples("cpu", name, options)
        assert torch.allclose(there, here, atol=1e-3), f"{name} {options}: other digits, by up to {(there - here).abs().max()}"
    print(f"{len(kinds)} combinations of model and sampler")


if __name__ == "__main__":
    main()
