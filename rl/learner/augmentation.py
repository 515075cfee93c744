"""Pictures shifted at random: data augmentation for learning from pixels.

Kostrikov et al. 2020 (DrQ, §3.1), Yarats et al. 2021 (DrQ-v2, §3.1): pad by 4 points, repeating the edge, and crop
to the old size at a random place.
"""

from __future__ import annotations

import torch

from envs.gym import Part

PAD = 4  # points on each side: the largest shift


def random_shift(part: Part, pictures: torch.Tensor, pad: int = PAD) -> torch.Tensor:
    """Each lane of ``pictures`` [T, B, *part.shape] shifted by up to ``pad`` points, as a new tensor.

    A lane moves as a whole: between two of its steps nothing moves but what moved in the environment, and the value
    that a return is bootstrapped from is that of the same picture, shifted as the others. Draws from torch's global
    stream of the tensor's device.
    """
    tall = 2 if len(part.shape) == 2 or part.channels_last else 3
    lanes, height, width = pictures.shape[1], pictures.shape[tall], pictures.shape[tall + 1]
    device = pictures.device
    down, right = torch.randint(-pad, pad + 1, (2, lanes, 1), device=device)
    # Indices beyond the edge stand for the edge, which is what padding with it and cropping gives.
    rows = (torch.arange(height, device=device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + right).clamp(0, width - 1)
    for axis, index in ((tall, rows), (tall + 1, columns)):
        shape = [1] * pictures.ndim
        shape[1], shape[axis] = index.shape
        pictures = pictures.gather(axis, index.view(shape).expand(pictures.shape))
    return pictures
