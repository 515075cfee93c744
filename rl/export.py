"""A trained network as ONNX, for runtimes other than torch.

The graph has one input, ``planes`` [n, C, H, W] float32, any n, and two outputs, ``policy_logits`` [n, A] (mask the
illegal actions before a softmax) and ``wdl_logits`` [n, 3] (win, draw, loss of the side to move). Batch norm is folded.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import torch

from envs.game import Game
from rl.inference import random_positions
from rl.nets import PolicyValueNet, fold

OPSET = 17
TOLERANCE = 1e-4  # largest accepted gap to torch in any logit, relative where the logit is above 1
INPUT, OUTPUTS = "planes", ("policy_logits", "wdl_logits")


def export_onnx(net: PolicyValueNet, game: Game, path: str | Path) -> float:
    """Write ``net`` to ``path`` and hold the file against torch with onnxruntime. Returns the largest gap.

    The file appears at ``path`` only when it passed.

    Raises:
        ImportError: the packages of the extra are missing.
        RuntimeError: the file's answers stray from torch's by more than TOLERANCE.
        OSError: the file cannot be written.
    """
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"exporting to ONNX needs {' and '.join(missing)}: pip install 'fuseki[onnx]'")
    import onnx

    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    exact = fold(net).cpu().float()
    example = torch.zeros(2, *game.plane_shape)  # not one row, which a tracer may take for a constant
    try:
        with warnings.catch_warnings():
            # torch's newer exporter needs onnxscript as well, and writes the same graph. The tracer's warnings
            # are of the board's size becoming constant, which it is.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            torch.onnx.export(
                exact,
                (example,),
                str(partial),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_axes={name: {0: "n"} for name in (INPUT, *OUTPUTS)},
            )
        model = onnx.load(str(partial))
        onnx.helper.set_model_props(model, {"env": game.env_id, "values": "win, draw, loss of the side to move"})
        onnx.checker.check_model(model)
        onnx.save(model, str(partial))
        gap = _gap(exact, game, partial)
        if not gap <= TOLERANCE:
            raise RuntimeError(f"the ONNX file strays {gap:.2g} from torch, more than {TOLERANCE:g}: not written")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return gap


def _gap(net: PolicyValueNet, game: Game, path: Path) -> float:
    """Largest difference between the file's logits and torch's, over random positions, several batch sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    planes, _ = random_positions(game, 33)
    largest = 0.0
    for rows in (planes[:1], planes[:2], planes):
        with torch.inference_mode():
            wanted = [t.numpy() for t in net(torch.from_numpy(rows))]
        for ours, theirs in zip(wanted, session.run(list(OUTPUTS), {INPUT: rows}), strict=True):
            difference = float((np.abs(ours - theirs) / np.maximum(1.0, np.abs(ours))).max())
            if not difference <= largest:  # also NaN, which stays
                largest = difference
    return largest
