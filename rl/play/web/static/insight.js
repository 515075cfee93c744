// What the network looks at in the position shown: asked for when it is, and kept.

import { percent } from "./dom.js";
import { ask } from "./api.js";

const MOST = 200; // answers that are kept
const known = new Map(); // an answer, or {error}, by the position and what was asked of it
let asking = false;

/** The answer about the position shown; null where it is not there yet, and `later()` is called once it is. */
export function insight(state, kind, later) {
  const moves = state.moves.slice(0, state.shown).map((move) => move.action);
  const key = [kind, state.agent, state.game.title, state.game.komi, ...moves].join();
  const found = known.get(key) ?? null;
  if (found || asking) return found; // one at a time: of positions that go by quickly, some are left out
  asking = true;
  ask("GET", `/api/rooms/${state.id}/insight?kind=${kind}&ply=${state.shown}`)
    .catch((error) => ({ error: error.message }))
    .then((told) => {
      asking = false;
      if (known.size >= MOST) known.clear();
      known.set(key, told);
      later();
    });
  return null;
}

/** The answer in a sentence. */
export function legend(state, kind, found) {
  if (!found) return "The network is being asked…";
  if (found.error) return `${found.error[0].toUpperCase()}${found.error.slice(1)}.`;
  const name = state.game.names[found.action], sure = `(${percent(found.probability)})`;
  const move = state.game.board === "columns" ? `column ${name}` : name;
  return kind === "saliency"
    ? `Why ${move}, the network's own choice ${sure}: without what stands under a green dot it would be less likely, under an orange ring more likely. The larger, the more.`
    : `Where the network looks for ${move}, its own choice ${sure}: how much of that choice can come from each point, through all its layers (attention rollout).`;
}

/** What a screen reader is told of a point's share: its weight, the largest being 100. */
export function spoken(state, found, r, c) {
  const share = found.shares[r][c], weight = Math.round((100 * Math.abs(share)) / largest(found.shares));
  if (weight < 2) return "";
  const what = found.kind === "attention" ? "attention" : `speaks ${share > 0 ? "for" : "against"} ${state.game.names[found.action]}`;
  return `${what}, ${weight} of 100`;
}

export const largest = (shares) => Math.max(1e-9, ...shares.flat().map(Math.abs));
