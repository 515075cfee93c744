"""The usual Atari wrappers in the words of ale_py's own vector environment, which does their work in C++."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ALE_VECTOR = "ale_py.vector_env:AtariVectorEnv"
# Options of the single environment that the vector environment has by the same name and with the same meaning.
SHARED = ("game", "repeat_action_probability", "full_action_space", "max_num_frames_per_episode")


def ale_options(
    registered: Mapping[str, Any], options: Mapping[str, Any], wrappers: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The arguments of AtariVectorEnv that give what the single environment gives under ``wrappers``.

    None where nothing does: the first two wrappers must be AtariPreprocessing (grey, not scaled) of an environment with
    frameskip 1, and FrameStackObservation, which pads with zeros as ale_py does; later ones are not looked at.
    ``registered`` holds the arguments with which the id is registered, and ``options`` those that the user adds.
    """
    named = [dict(wrapper) for wrapper in wrappers[:2]]
    if [wrapper.pop("name").removeprefix("gymnasium.wrappers:") for wrapper in named] != [
        "AtariPreprocessing",
        "FrameStackObservation",
    ]:
        return None
    preparing, stacking = named
    single = {**registered, **options}
    if single.pop("frameskip", None) != 1 or set(single) - set(SHARED):
        return None
    if stacking.pop("padding_type", "reset") != "zero" or set(stacking) != {"stack_size"}:
        return None
    size = preparing.pop("screen_size", 84)
    width, height = (size, size) if isinstance(size, int) else size
    translated = {
        **{name: value for name, value in single.items() if name not in registered or registered[name] != value},
        "frameskip": preparing.pop("frame_skip", 4),
        "noop_max": preparing.pop("noop_max", 30),
        "episodic_life": preparing.pop("terminal_on_life_loss", False),
        "img_width": width,
        "img_height": height,
        "stack_num": stacking["stack_size"],
        "reward_clipping": False,
        "use_fire_reset": False,
    }
    if not preparing.pop("grayscale_obs", True) or preparing.pop("grayscale_newaxis", False):
        return None
    if preparing.pop("scale_obs", False) or preparing:
        return None
    return translated
