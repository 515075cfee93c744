"""ONNX files answer as torch does, or do not appear."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

import envs
from rl import export
from rl.config import NetConfig
from rl.export import export_onnx
from rl.inference import random_positions
from rl.nets import build

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


def new_net(encoder: dict, env_id: str = "connect_four"):
    torch.manual_seed(0)
    game = envs.make(env_id)
    net = build(NetConfig.model_validate({"encoder": encoder}), game)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return net, game


@pytest.mark.parametrize("env_id", ["connect_four", "tic_tac_toe"])
@pytest.mark.parametrize(
    "encoder",
    [
        {"kind": "mlp", "width": 16},
        {"kind": "resnet", "channels": 16, "blocks": 2},
        {"kind": "transformer", "width": 16, "depth": 1},
    ],
    ids=lambda e: e["kind"],
)
def test_the_file_answers_as_torch_does_for_any_batch(encoder, env_id, tmp_path):
    net, game = new_net(encoder, env_id)
    path = tmp_path / "net.onnx"
    assert export_onnx(net, game, path) <= export.TOLERANCE
    assert net.training  # the caller's net is as it was
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n in (1, 5):
        planes, _ = random_positions(game, n, seed=9)
        with torch.no_grad():
            wanted = net.eval()(torch.from_numpy(planes))
        for ours, theirs in zip(wanted, session.run(["policy_logits", "wdl_logits"], {"planes": planes}), strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-4)
    assert {p.key: p.value for p in onnx.load(str(path)).metadata_props}["env"] == env_id
    assert not [n for n in onnx.load(str(path)).graph.node if n.op_type == "BatchNormalization"]


def test_a_file_that_strays_is_not_left_behind(tmp_path, monkeypatch):
    net, game = new_net({"kind": "mlp", "width": 16})
    monkeypatch.setattr(export, "_gap", lambda *_: float("nan"))
    with pytest.raises(RuntimeError, match="strays nan from torch"):
        export_onnx(net, game, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_gap_is_measured(tmp_path):
    net, game = new_net({"kind": "mlp", "width": 16})
    path = tmp_path / "net.onnx"
    export_onnx(net, game, path)
    with torch.no_grad():
        net.policy.out.bias.add_(0.5)
    assert export._gap(net.eval(), game, path) > 0.3


def test_missing_packages_are_named_with_the_remedy(tmp_path, monkeypatch):
    net, game = new_net({"kind": "mlp", "width": 16})
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    with pytest.raises(ImportError, match=r"needs onnxruntime: pip install 'fuseki\[onnx\]'"):
        export_onnx(net, game, tmp_path / "net.onnx")
