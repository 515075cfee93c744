// What stands beside the board: chances, the curve of the game, the agent's candidates, the moves.

import { $, h, percent, renew, winning } from "./dom.js";
import { mini } from "./board.js";
import { chart } from "./graph.js";

const COLOURS = {
  connect_four: ["var(--yellow)", "var(--red)"],
  columns: ["var(--yellow)", "var(--red)"],
  hex: ["var(--hex-red)", "var(--hex-blue)"],
  tic_tac_toe: ["var(--x)", "var(--o)"],
};

/** Bar, figure and curve: everything from the first player's view. */
export function evaluation(state, choose) {
  const { analysis, game, shown, result, moves } = state;
  const [first, second] = game.sides;
  const [colour, other] = COLOURS[game.kind] ?? COLOURS[game.board] ?? [];
  const bar = $("bar");
  bar.style.setProperty("--bar-first", colour ?? "");
  bar.style.setProperty("--bar-second", other ?? "");
  let wdl = analysis?.wdl ?? null;
  const value = state.values[shown];
  if (!wdl && value !== null && value !== undefined) wdl = [winning(value), 0, 1 - winning(value)];
  if (result && shown === moves.length) wdl = result.winner === null ? [0, 1, 0] : result.winner === 0 ? [1, 0, 0] : [0, 0, 1];
  if (!bar.children.length) bar.append(h("i", { class: "win" }), h("i", { class: "draw" }), h("i", { class: "loss" }));
  const shares = wdl ?? [0.5, 0, 0.5];
  [...bar.children].forEach((part, i) => part.style.setProperty("--share", shares[i].toFixed(4)));
  bar.style.opacity = wdl ? "" : "0.35";
  const legend = $("bar-legend");
  if (wdl) {
    const words = [`${first} ${percent(wdl[0])}`, wdl[1] >= 0.005 ? `draw ${percent(wdl[1])}` : "", `${second} ${percent(wdl[2])}`];
    legend.replaceChildren(...words.map((word) => h("span", null, word)));
    bar.setAttribute("aria-label", `Chances: ${words.filter(Boolean).join(", ")}`);
  } else {
    legend.replaceChildren(h("span", null, state.explain ? "Thinking…" : "The agent is not asked"));
    bar.setAttribute("aria-label", "Chances: not known yet");
  }
  $("value").textContent = figure(state);
  const length = Math.max(2, state.values.length);
  chart($("graph"), {
    curves: [{ points: state.values, area: true }],
    low: -1, high: 1, zero: 0, length, now: shown,
    choose: state.values.length > 1 ? (i) => choose(Math.min(i, state.values.length - 1)) : null,
    axis: [{ text: first, at: 1 }, { text: second, at: -1 }],
  });
  const scrub = $("scrub");
  scrub.max = state.moves.length;
  scrub.value = shown;
  scrub.disabled = !state.moves.length;
  scrub.setAttribute("aria-valuetext", shown ? `after move ${shown}: ${game.sides[moves[shown - 1].side]} ${game.names[moves[shown - 1].action]}` : "before the first move");
}

function figure({ analysis, game, side, shown, moves, result }) {
  if (result && shown === moves.length) return "";
  if (analysis?.proven) {
    const mover = sideAt({ moves, shown, side });
    const winner = analysis.proven === "draw" ? null : analysis.proven === "win" ? mover : 1 - mover;
    return winner === null ? "proven draw" : `${game.sides[winner]} wins for sure`;
  }
  if (analysis?.lead !== null && analysis?.lead !== undefined) return `${game.sides[analysis.lead >= 0 ? 0 : 1]} +${Math.abs(analysis.lead).toFixed(1)} points`;
  return "";
}

/** Whose turn it is in the position shown. */
export const sideAt = ({ moves, shown, side }) => (shown < moves.length ? moves[shown].side : side);

/** The table of candidates; `preview(line)` while one is looked at. */
export function candidates(state, preview, play) {
  const { analysis, game } = state;
  const body = document.querySelector("#candidates tbody");
  const list = analysis?.moves ?? [];
  const leads = list.some((move) => move.lead !== null);
  $("value-head").textContent = leads ? "Win / points" : "Win";
  const shown = [...list.slice(0, 7), ...Array(Math.max(0, 5 - list.length)).keys()];
  renew(body, shown, (move) => `${game.env} ${move.action ?? `blank ${move}`}`, ({ action }) => {
    if (action === undefined) return h("tr", { class: "blank" }, h("td", null, " "), h("td"), h("td"), h("td"));
    const name = h("button", { type: "button", title: "Show the line that the agent expects", onclick: () => play(action) }, game.names[action]);
    const share = h("span", { class: "share" }, h("i"), h("span"));
    const row = h("tr", null, h("td", null, name), h("td", null, share), h("td", { class: "number" }), h("td", { class: "number" }));
    row.addEventListener("pointerenter", () => preview(row.line));
    row.addEventListener("pointerleave", () => preview([]));
    name.addEventListener("focus", () => preview(row.line));
    name.addEventListener("blur", () => preview([]));
    return row;
  });
  for (const [i, move] of list.slice(0, 7).entries()) {
    const row = body.children[i], [, share, visits, win] = row.children;
    row.line = move.line;
    share.querySelector("i").style.setProperty("--share", move.policy.toFixed(4));
    share.querySelector("span > span").textContent = percent(move.policy, move.policy < 0.0995 && move.policy > 0 ? 1 : 0);
    visits.textContent = move.visits.toLocaleString("en");
    win.textContent = move.value === null ? "–" : percent(winning(move.value)) + (leads && move.lead !== null ? ` / ${move.lead >= 0 ? "+" : "−"}${Math.abs(move.lead).toFixed(1)}` : "");
  }
  preview([...body.children].find((row) => row.line && row.matches(":hover, :focus-within"))?.line ?? []);
  const line = analysis?.line ?? [];
  $("line").replaceChildren(...(line.length ? ["Expects ", h("b", null, line.map((a) => game.names[a]).join("  "))] : [state.result && state.shown === state.moves.length ? "" : "Expects …"]));
  if (state.result && state.shown === state.moves.length && analysis?.count) $("line").textContent = `By the agent's eye, dead stones taken off: ${analysis.count.text}.`;
}

/** The list of moves, two a row; `choose(ply)` to look at the position after one. */
export function moveList(state, choose) {
  const { game, moves, shown } = state;
  const list = $("moves");
  $("move-count").textContent = moves.length ? `${moves.length} played` : "";
  if (!moves.length) {
    list.replaceChildren(h("li", null, h("span", { class: "moves-empty" }, "None yet.")));
    return;
  }
  const rows = moves.filter((_, i) => i % 2 === 0).map((_, i) => 2 * i);
  renew(list, rows, (i) => i, (i) => h("li", null, h("span", { class: "no", "data-key": "no" }, `${i / 2 + 1}.`)));
  for (const i of rows) {
    const cells = [-1, i, i + 1], name = (k) => game.names[moves[k].action], side = (k) => moves[k].side;
    renew(list.children[i / 2], cells, (k) => (k < 0 ? "no" : k < moves.length ? `${game.env} ${k} ${side(k)} ${name(k)}` : "none"), (k) => {
      if (k >= moves.length) return h("span");
      const button = h("button", { type: "button", "aria-label": `Move ${k + 1}: ${game.sides[side(k)]} ${name(k)}` }, mini(game, side(k), "mini"), name(k));
      button.addEventListener("click", () => choose(k + 1));
      return button;
    });
  }
  list.querySelectorAll("button").forEach((button, k) => (k + 1 === shown ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current")));
  const current = list.querySelector("[aria-current]");
  if (current) {
    // Not scrollIntoView, which would move the page as well.
    const gap = current.offsetTop - list.offsetTop;
    if (gap < list.scrollTop || gap > list.scrollTop + list.clientHeight - 30) list.scrollTop = gap - list.clientHeight / 2;
  } else list.scrollTop = 0;
}
