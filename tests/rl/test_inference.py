"""The evaluator: its answers equal the network's in every format, and its choice of format is sound."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import envs
from rl import inference
from rl.config import AuxiliaryConfig, ConfigError, InferenceConfig, NetConfig
from rl.inference import Evaluator, random_positions
from rl.nets import PolicyValueNet, build, formats
from rl.records import Weights

GAME = envs.make("connect_four")
RESNET = NetConfig.model_validate({"encoder": {"kind": "resnet", "channels": 16, "blocks": 2}})
MLP = NetConfig.model_validate({"encoder": {"kind": "mlp", "width": 16}})
EAGER = [f"{d}-{m}{fold}" for d in ("float32", "bfloat16") for m in ("nchw", "nhwc") for fold in ("", "-folded")]
BATCH = 16


def trained(seed: int = 0, config: NetConfig = RESNET, sharpness: float = 1.0) -> PolicyValueNet:
    """A net that does not look new: every weight and running statistic has moved."""
    torch.manual_seed(seed)
    net = build(config, GAME).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand(buffer.shape))
        net.policy.out.weight.mul_(sharpness)  # type: ignore[union-attr, operator]
    return net


def weights(net: torch.nn.Module, version: int = 0) -> Weights:
    return Weights(version, {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()})


def evaluator(name: str | None = "float32-nchw", config: NetConfig = RESNET, **options) -> Evaluator:
    return Evaluator(config, GAME, InferenceConfig(**options), BATCH, device="cpu", format=name)


def answers(net: PolicyValueNet, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The net's own: logits and wdl probabilities."""
    with torch.no_grad():
        logits, wdl = net(torch.from_numpy(planes))
    return logits.numpy(), wdl.softmax(1).numpy()


@pytest.fixture
def planes() -> np.ndarray:
    return random_positions(GAME, 50, seed=3)[0]


@pytest.fixture
def speeds(monkeypatch):
    """Decide how long each format seems to take: by its name, else one second."""
    table: dict[str, float] = {}
    real = inference._timed
    monkeypatch.setattr(inference, "_timed", lambda r, x: (real(r, x), table.get(r.format.name, 1.0))[1])
    return table


@pytest.mark.parametrize("n", [0, 1, 7, BATCH, BATCH + 1, 50])
def test_any_number_of_rows(planes, n):
    net = trained()
    ours = evaluator()
    ours.load(weights(net))
    answer = ours(planes[:n])
    assert answer.logits.shape == (n, 7) and answer.wdl.shape == (n, 3)
    assert answer.logits.dtype == answer.wdl.dtype == np.float32
    assert answer.value is None and answer.lead is None
    for got, wanted in zip(answer[:2], answers(net, planes[:n]), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_answers_are_kept_and_inputs_may_be_read_only(planes):
    ours = evaluator()
    ours.load(weights(trained()))
    planes.flags.writeable = False  # as arrays from Ray's object store are
    first = ours(planes[:BATCH])
    copy = first.logits.copy(), first.wdl.copy()
    ours(planes[BATCH : 2 * BATCH])
    np.testing.assert_array_equal(first.logits, copy[0])
    np.testing.assert_array_equal(first.wdl, copy[1])
    np.testing.assert_array_equal(ours(planes[::-1][-BATCH:]).logits[::-1], first.logits)  # a strided view


@pytest.mark.parametrize("name", EAGER)
def test_every_format_answers_as_float32_does(name, planes):
    net = trained()
    ours = evaluator(name)
    ours.load(weights(net))
    assert ours.format == name
    assert ours.gap() <= 0.01
    logits, wdl = answers(net, planes)
    got = ours(planes)
    tolerance = 0.03 if name.startswith("bfloat16") else 1e-4
    np.testing.assert_allclose(got.wdl, wdl, atol=tolerance)
    np.testing.assert_allclose(softmax(got.logits), softmax(logits), atol=tolerance)
    np.testing.assert_allclose(got.wdl.sum(1), 1, atol=1e-5)


def softmax(x: np.ndarray) -> np.ndarray:
    return torch.from_numpy(x).softmax(1).numpy()


@pytest.mark.parametrize("name", ["float32-nchw", "float32-nhwc-folded"])
def test_loading_replaces_the_weights_and_the_statistics(name, planes):
    ours = evaluator(name)
    versions = []
    for seed, version in ((0, 3), (1, 4)):
        net = trained(seed)
        ours.load(weights(net, version))
        versions.append(ours.version)
        np.testing.assert_allclose(ours(planes).logits, answers(net, planes)[0], atol=1e-4)
    assert versions == [3, 4]
    assert np.abs(answers(trained(0), planes)[0] - answers(trained(1), planes)[0]).max() > 0.01


def test_loaded_weights_are_copied(planes):
    ours, given = evaluator(), weights(trained())
    for array in given.tensors.values():
        array.flags.writeable = False
    ours.load(given)
    before = ours(planes).logits
    for array in given.tensors.values():
        array.flags.writeable = True
        array[...] = 0
    np.testing.assert_array_equal(ours(planes).logits, before)


def test_the_fastest_format_wins(speeds, caplog):
    speeds["float32-nhwc"] = 0.4
    ours = evaluator("auto")
    assert ours.format == "auto"
    with caplog.at_level(logging.INFO, logger="rl.inference"):
        ours.load(weights(trained()))
    assert ours.format == "float32-nhwc"
    assert ours.timings["float32-nhwc"] == pytest.approx(BATCH / 0.4)
    assert "inference format float32-nhwc, the fastest of (positions/s at batch 16 on cpu)" in caplog.text


def test_a_much_slower_format_is_not_timed_at_the_full_batch(speeds):
    speeds["bfloat16-nchw"] = 10.0
    ours = evaluator("auto")
    ours.load(weights(trained()))
    assert ours.timings.keys() == {*EAGER} - {"bfloat16-nchw"}


def test_a_format_beyond_the_tolerance_is_dropped(speeds, caplog):
    speeds["bfloat16-nhwc"] = 0.4
    ours = evaluator("auto", tolerance=1e-4)
    with caplog.at_level(logging.INFO, logger="rl.inference"):
        ours.load(weights(trained()))
    assert ours.format.startswith("float32")
    assert not [name for name in ours.timings if name.startswith("bfloat16")]
    assert "beyond the tolerance of 0.0001: " in caplog.text and "bfloat16-nhwc (" in caplog.text


def test_float32_remains_when_all_fast_formats_stray(speeds):
    speeds.update(dict.fromkeys(EAGER, 0.1) | {"float32-nchw": 10.0})
    ours = evaluator("auto", tolerance=1e-12)
    ours.load(weights(trained()))
    assert ours.format == "float32-nchw"


def test_real_timings_choose_among_the_candidates():
    ours = evaluator("auto")
    ours.load(weights(trained()))
    assert ours.format in EAGER
    assert ours.timings[ours.format] == max(ours.timings.values()) > 0


def test_a_chosen_format_gives_way_when_trained_weights_make_it_stray(speeds, caplog):
    speeds |= {"bfloat16-nhwc": 0.4, "bfloat16-nchw": 0.45, "float32-nhwc-folded": 0.48}
    ours = evaluator("auto")
    ours.load(weights(trained()))
    sharp = trained(sharpness=300)
    ours.load(weights(sharp, version=inference.FIRST_CHECK - 1))
    assert ours.format == "bfloat16-nhwc"  # not yet looked at
    assert ours.gap() > 0.01
    ours.load(weights(sharp, version=inference.FIRST_CHECK))
    assert ours.format == "float32-nhwc-folded"
    assert ours.gap() <= 0.01
    assert "bfloat16-nhwc strays" in caplog.text and "float32-nhwc-folded from now on" in caplog.text


def test_a_pinned_format_stays_but_says_that_it_strays(caplog):
    ours = evaluator("bfloat16-nhwc")
    ours.load(weights(trained(sharpness=300)))
    assert ours.format == "bfloat16-nhwc"
    assert "inference format bfloat16-nhwc strays" in caplog.text


def test_the_config_can_pin_and_the_argument_overrides():
    assert evaluator(None, format="bfloat16-nchw").format == "bfloat16-nchw"
    assert evaluator("float32-nhwc", format="bfloat16-nchw").format == "float32-nhwc"


@pytest.mark.parametrize(
    ("name", "config", "offered"),
    [
        ("float16-nchw", RESNET, "auto, float32-nchw, float32-nchw-folded, float32-nhwc"),
        ("float32-nhwc", MLP, "auto, float32-nchw, bfloat16-nchw"),
    ],
)
def test_an_unknown_format_is_refused_with_the_names_there_are(name, config, offered):
    with pytest.raises(ValueError, match=f"unknown inference format '{name}' .* offer {offered}"):
        evaluator(name, config)


def test_devices():
    with pytest.raises(ValueError, match="unknown device 'tpu9'"):
        Evaluator(RESNET, GAME, InferenceConfig(), BATCH, device="tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="finds no CUDA device"):
            Evaluator(RESNET, GAME, InferenceConfig(), BATCH, device="cuda")
        assert Evaluator(RESNET, GAME, InferenceConfig(), BATCH).device.type == "cpu"


def spoil(how: str) -> tuple[Weights, str]:
    given = weights(trained())
    name = "encoder.blocks.0.first.conv.weight"
    match how:
        case "missing":
            del given.tensors[name]
            return given, f"tensor '{name}' is missing"
        case "extra":
            return Weights(7, given.tensors | {"third_head": np.zeros(3)}), "it has no tensor 'third_head'"
        case "shape":
            given.tensors[name] = given.tensors[name][:3]
            return given, rf"tensor '{name}' has shape \(3, 16, 3, 3\), not \(16, 16, 3, 3\)"
        case "game":
            other = build(RESNET, envs.make("tic_tac_toe"))
            return weights(other), "weights version 0 do not fit this network: tensor 'encoder.stem.conv.weight' has"
        case _:
            given.tensors[name][0, 0, 0, 0] = np.nan
            return given, f"tensor '{name}' has values not finite"


@pytest.mark.parametrize("how", ["missing", "extra", "shape", "game", "nan"])
def test_weights_that_do_not_fit_are_refused_and_the_old_ones_stay(how, planes):
    ours = evaluator()
    ours.load(weights(trained(1), version=5))
    before = ours(planes).logits
    given, message = spoil(how)
    with pytest.raises(ValueError, match=message):
        ours.load(given)
    assert ours.version == 5
    np.testing.assert_array_equal(ours(planes).logits, before)


def test_calls_that_make_no_sense(planes):
    ours = evaluator()
    for call in (lambda: ours(planes), ours.bare_throughput, ours.gap):
        with pytest.raises(RuntimeError, match="no weights yet"):
            call()
    ours.load(weights(trained()))
    with pytest.raises(ValueError, match=r"planes must be \[n, 4, 6, 7\], not \(2, 4, 7, 7\)"):
        ours(np.zeros((2, 4, 7, 7), np.float32))


def test_construction_and_choice_leave_the_random_generator_alone():
    torch.manual_seed(5)
    given = weights(trained())
    before = torch.get_rng_state()
    evaluator("auto").load(given)
    assert torch.equal(torch.get_rng_state(), before)


def test_counters_and_the_ceiling(planes):
    ours = evaluator()
    ours.load(weights(trained()))
    assert (ours.evaluations, ours.seconds) == (0, 0.0)
    ours(planes)
    ours(planes[:3])
    assert ours.evaluations == 53
    spent = ours.seconds
    assert spent > 0
    ceiling = ours.bare_throughput(0.2)
    assert (ours.evaluations, ours.seconds) == (53, spent)  # the ceiling is not the evaluator's own work
    assert ceiling > 0.05 * 53 / spent


def test_random_positions_are_unfinished_and_differ():
    given, legal = random_positions(GAME, 60)
    assert given.shape == (60, 4, 6, 7) and legal.shape == (60, 7)
    assert legal.any(1).all()
    assert len({p.tobytes() for p in given}) > 50
    again, _ = random_positions(GAME, 60)
    np.testing.assert_array_equal(given, again)
    assert not np.array_equal(given, random_positions(GAME, 60, seed=1)[0])


def test_a_broken_compiler_leaves_the_eager_format(monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("no Python.h\nlong trace")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(formats, "has_compiler", lambda device: True)
    ours = evaluator("auto", MLP, compile=True)
    ours.load(weights(trained(config=MLP)))
    assert ours.format in {"float32-nchw", "bfloat16-nchw"}
    assert f"torch.compile failed, {ours.format}-compiled is not used: no Python.h" in caplog.text
    assert "long trace" not in caplog.text


@pytest.mark.parametrize("faster", [True, False])
def test_compiling_is_kept_only_where_it_is_faster(monkeypatch, speeds, faster):
    monkeypatch.setattr(torch, "compile", lambda net, dynamic: net)
    monkeypatch.setattr(formats, "has_compiler", lambda device: True)
    speeds |= {"float32-nchw": 0.5, "float32-nchw-compiled": 0.4 if faster else 0.6}
    ours = evaluator("auto", MLP, compile=True)
    ours.load(weights(trained(config=MLP)))
    assert ours.format == ("float32-nchw-compiled" if faster else "float32-nchw")
    assert "bfloat16-nchw-compiled" not in ours.timings  # only the fastest eager format is worth the wait


def test_without_a_compiler_compiled_formats_are_not_offered(monkeypatch, caplog):
    monkeypatch.setattr(formats, "has_compiler", lambda device: False)
    ours = evaluator("auto", MLP, compile=True)
    ours.load(weights(trained(config=MLP)))
    assert "there is no compiler here" in caplog.text
    with pytest.raises(ConfigError, match="unknown inference format 'float32-nchw-compiled'"):
        evaluator("float32-nchw-compiled", MLP)


def test_a_compiled_format_is_padded_to_its_one_shape_and_few_rows_go_without_it(monkeypatch, planes):
    shapes = []

    def compiled(net, dynamic):
        assert not dynamic

        def run(x):
            shapes.append(tuple(x.shape))
            return net(x)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(formats, "has_compiler", lambda device: True)
    net = trained()
    ours = evaluator("float32-nhwc-folded-compiled")
    ours.load(weights(net))
    np.testing.assert_allclose(ours(planes[:21]).logits, answers(net, planes[:21])[0], atol=1e-4)
    assert set(shapes) == {(BATCH, 4, 6, 7)}
    for seed in range(2):  # newer weights reach the twin too
        net = trained(seed)
        ours.load(weights(net, seed))
        calls = len(shapes)
        np.testing.assert_allclose(ours(planes[: BATCH // 2]).logits, answers(net, planes[: BATCH // 2])[0], atol=1e-4)
        assert len(shapes) == calls
        ours(planes[: BATCH // 2 + 1])
        assert len(shapes) == calls + 1


@pytest.mark.slow
@pytest.mark.skipif(not formats.has_compiler(torch.device("cpu")), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, at the import of its compiler
def test_the_real_compiler_follows_new_weights(planes):
    ours = evaluator("float32-nhwc-folded-compiled")
    for seed in range(2):
        net = trained(seed)
        ours.load(weights(net, seed))
        np.testing.assert_allclose(ours(planes).logits, answers(net, planes)[0], atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["auto", "float32-nchw", "bfloat16-nhwc-folded", "float16-nhwc-folded"])
def test_cuda_answers_as_the_cpu_does(name, planes):
    net = trained()
    ours = Evaluator(RESNET, GAME, InferenceConfig(), BATCH, device="cuda", format=name)
    ours.load(weights(net))
    got = ours(planes)
    np.testing.assert_allclose(softmax(got.logits), softmax(answers(net, planes)[0]), atol=0.03)
    np.testing.assert_allclose(got.wdl, answers(net, planes)[1], atol=0.03)
    assert ours.bare_throughput(0.1) > 0


@pytest.mark.parametrize("name", ["float32-nchw", "float32-nhwc-folded"])
def test_a_score_utility_moves_values_towards_the_better_score(name):
    game = envs.make("go5")
    config = RESNET.model_copy(update={"auxiliary": AuxiliaryConfig(score=0.5)})
    torch.manual_seed(0)
    net = build(config, game).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    rows = random_positions(game, 40)[0]
    plain, useful = (
        Evaluator(config, game, InferenceConfig(), 64, device="cpu", format=name, score_utility=share)
        for share in (0.0, 0.2)
    )
    for one in (plain, useful):
        one.load(weights(net))
    before, after = plain(rows), useful(rows)
    with torch.no_grad():
        lead = net.all_heads(torch.from_numpy(rows))[2]["score"].tanh().numpy()
    value = before.wdl[:, 0] - before.wdl[:, 2]
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_allclose(after.wdl.sum(1), 1, atol=1e-5)
    expected = 0.8 * value + 0.2 * lead
    room = np.abs(expected) < 1 - before.wdl[:, 1]  # where there is no room, the draws give way
    assert room.sum() > 20
    np.testing.assert_allclose((after.wdl[:, 0] - after.wdl[:, 2])[room], expected[room], atol=1e-4)
    np.testing.assert_allclose(after.wdl[room, 1], before.wdl[room, 1], atol=1e-4)
    assert before.value is None and before.lead is None
    assert after.value is not None and after.lead is not None
    np.testing.assert_allclose(after.value, value, atol=1e-4)
    np.testing.assert_allclose(np.tanh(after.lead / 10), lead, atol=1e-4)  # in points, 10 of which the head calls 1
    for size in (0, 1, 7):  # in parts, and of nothing
        parts = Evaluator(config, game, InferenceConfig(), max(size, 1), device="cpu", format=name, score_utility=0.2)
        parts.load(weights(net))
        some = parts(rows[: 3 * size])
        assert some.value is not None and some.lead is not None
        assert some.value.shape == some.lead.shape == (3 * size,)
        np.testing.assert_allclose(some.lead, after.lead[: 3 * size], atol=1e-3)


def test_a_score_utility_needs_a_score_head():
    with pytest.raises(ValueError, match="needs a network with a score head"):
        Evaluator(RESNET, GAME, InferenceConfig(), 4, device="cpu", score_utility=0.1)
