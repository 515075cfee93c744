// The page: one room of the server, its board or its episodes, and what its user does.

import { $, able, h, kept, percent, renew, short } from "./dom.js";
import { ask, Live } from "./api.js";
import { Board, label, mini } from "./board.js";
import { candidates, evaluation, moveList, sideAt } from "./panel.js";
import { insight, legend, spoken } from "./insight.js";
import { Episodes } from "./episodes.js";

const OVERLAYS = ["none", "policy", "visits", "ownership", "saliency", "attention"];
const INSIGHTS = ["saliency", "attention"];

let catalogue; // agents, levels, and what to begin with
let state = null;
let board = null;
let live = null;
let overlay = kept.get("overlay", "policy");
let preview = [];
let announced = -1; // the number of moves that were told to screen readers
const episodes = new Episodes(take, complain);

// Starting

async function begin() {
  catalogue = await ask("GET", "/api/agents");
  menus();
  const known = location.hash.slice(1);
  if (known) {
    try {
      enter(await ask("GET", `/api/rooms/${encodeURIComponent(known)}`));
      return;
    } catch (error) {
      if (error.status !== 404) throw error;
    }
  }
  await open(catalogue.start);
}

async function open(wanted) {
  $("loading").hidden = false;
  enter(await ask("POST", "/api/rooms", wanted));
}

function enter(told) {
  live?.close();
  board = null;
  announced = -1;
  history.replaceState(null, "", `#${told.id}`);
  $("loading").hidden = true;
  $("game").hidden = told.kind !== "game";
  $("show").hidden = told.kind === "game";
  if (told.kind === "episodes") episodes.open(told);
  take(told);
  live = new Live(told.id, {
    message: take,
    picture: (told, blob) => episodes.picture(told, blob).catch(() => {}),
    connected: (yes) => ($("connection").hidden = yes),
    gone: (sentence) => {
      toast(`${sentence[0].toUpperCase()}${sentence.slice(1)}.`);
      open(catalogue.start).catch(complain);
    },
  });
}

/** Something the server has told. Whoever had the focus on what is gone by then has it on the board. */
function take(told) {
  const held = $("game").contains(document.activeElement) ? document.activeElement : null;
  heed(told);
  if (held && board && (!held.isConnected || held.closest("[hidden]"))) board.focus();
}

function heed(told) {
  if (told.type === "failure") {
    toast(told.error);
    return;
  }
  if (told.type === "analysis") {
    if (!state || told.version !== state.version) return;
    state.values[told.ply] = told.analysis.value ?? state.values[told.ply];
    if (told.ply === state.shown) {
      state.analysis = told.analysis;
      opinion();
    } else evaluation(state, look);
    return;
  }
  if (state?.id === told.id && told.changes < state.changes) return; // overtaken by newer ones
  if (told.kind === "episodes") {
    state = told;
    $("title").textContent = told.env;
    document.title = `${told.env} – Fuseki`;
    episodes.draw(told);
    return;
  }
  state = told;
  draw();
}

// The game

function draw() {
  const { game } = state;
  const drawn = `${game.env} ${game.rows}×${game.columns}`;
  if (!board || board.drawn !== drawn) {
    board = new Board($("board"), game, { choose, key: shortcut });
    board.drawn = drawn;
  }
  $("title").textContent = game.title + (game.komi !== null ? `, komi ${game.komi}` : "");
  document.title = `${game.title} – Fuseki`;
  $("explainer").textContent = short(state.agent);
  const latest = state.shown === state.moves.length;
  const mine = latest && state.waits === "person";
  board.draw(state.position, mine ? state.position.legal : [], sideAt(state));
  seats();
  others(mine);
  controls(latest);
  moveList(state, look);
  opinion();
  status();
  announce();
}

/** What is known of the position shown. */
function opinion() {
  evaluation(state, look);
  candidates(state, show, choose);
  $("explain").checked = state.explain;
  $("explain-card").classList.toggle("explain-off", !state.explain);
  const choices = [...$("simulations").options].map((option) => option.value);
  if (!choices.includes(String(state.simulations))) $("simulations").append(h("option", { value: String(state.simulations) }, String(state.simulations)));
  $("simulations").value = String(state.simulations);
  const visits = state.analysis?.moves?.reduce((sum, move) => sum + move.visits, 0) ?? 0;
  $("progress").classList.toggle("busy", state.explain && !state.result && (state.waits === "agent" ? !state.paused : visits < state.simulations * 0.97));
  paint();
}

/** What can be shown on the board. */
const overlays = () => OVERLAYS.filter((name) => ({
  ownership: Boolean(state.analysis?.ownership) || state.game.kind === "go",
  saliency: state.insights.includes("saliency"),
  attention: state.insights.includes("attention"),
})[name] ?? true);

function paint() {
  const possible = overlays(), shownOverlay = possible.includes(overlay) ? overlay : "policy";
  $("overlay").hidden = !board.shape;
  for (const input of document.querySelectorAll('input[name="overlay"]')) {
    input.checked = input.value === shownOverlay;
    input.parentElement.hidden = !possible.includes(input.value);
  }
  const analysis = state.explain ? state.analysis : null;
  const finished = state.result && state.shown === state.moves.length;
  const told = new Map();
  let tell = (r, c) => (String(board.place(board.action(r, c))) === String([r, c]) ? told.get(board.action(r, c)) : "");
  let shares = new Map();
  let text = () => "";
  if (analysis?.policy && !finished) {
    const entries = (object) => Object.entries(object).map(([action, value]) => [Number(action), value]);
    if (shownOverlay === "policy") {
      shares = new Map(entries(analysis.policy));
      text = (action) => label.policy(shares.get(action));
      for (const [action, share] of shares) if (share >= 0.005) told.set(action, `policy ${percent(share)}`);
    } else if (shownOverlay === "visits") {
      const counts = new Map(entries(analysis.visits));
      const total = [...counts.values()].reduce((a, b) => a + b, 0) || 1;
      shares = new Map([...counts].map(([action, n]) => [action, n / total]));
      text = (action) => label.visits(counts.get(action));
      for (const [action, n] of counts) told.set(action, `${n} visits`);
    }
  }
  board.heat(shares, text, finished ? null : analysis?.action);
  $("legend").hidden = true;
  if (INSIGHTS.includes(shownOverlay) && state.explain && board.shape && !finished) {
    const found = insight(state, shownOverlay, () => state.kind === "game" && paint());
    $("legend").hidden = false;
    const sentence = legend(state, shownOverlay, found);
    if ($("legend").textContent !== sentence) $("legend").textContent = sentence;
    if (found?.shares) {
      board.points(found.shares, found.action);
      tell = (r, c) => spoken(state, found, r, c);
    }
  }
  const owners = analysis?.ownership && (shownOverlay === "ownership" || (finished && shownOverlay !== "none")) ? analysis.ownership : null;
  board.ownership(owners, finished ? analysis?.count?.dead : []);
  if (board.shape) board.describe(tell);
  show(preview);
}

/** Draw a line of moves on the board while its candidate is looked at. */
function show(line) {
  preview = line;
  let side = sideAt(state);
  board.line(line, line.map(() => (side = 1 - side, 1 - side)));
}

function seats() {
  for (const side of [0, 1]) {
    const host = $(`seat-${side}`), seat = state.seats[side];
    const moving = !state.result && state.side === side;
    host.className = `seat${moving ? " to-move" : ""}${moving && state.waits === "agent" && !state.paused ? " thinking" : ""}${state.result?.winner === side ? " winner" : ""}`;
    const key = JSON.stringify([state.id, state.game.env, seat.agent, players()]);
    if (host.dataset.key !== key) {
      const held = host.contains(document.activeElement) && document.activeElement.tagName;
      host.dataset.key = key;
      const who = h("select", { "aria-label": `Who plays ${state.game.sides[side]}` }, h("option", { value: "" }, "You"), players().map((name) => h("option", { value: name, title: name }, short(name))));
      who.value = seat.agent ?? "";
      who.addEventListener("change", () => reseat(side, { agent: who.value || null, level: seat.level }));
      const range = h("input", { type: "range", min: "1", max: "10", "aria-label": `Strength of ${state.game.sides[side]}` });
      const output = h("output");
      range.addEventListener("input", () => told(output, range));
      range.addEventListener("change", () => reseat(side, { agent: state.seats[side].agent, level: Number(range.value) }));
      host.replaceChildren(mini(state.game, side), h("span", { class: "who-box" }, who), h("span", { class: "side-name" }, state.game.sides[side]), h("span", { class: "turn", "aria-hidden": "true" }), h("span", { class: "level" }, range, output));
      if (held) host.querySelector(held)?.focus();
    }
    const range = host.querySelector(".level input");
    host.querySelector(".level").hidden = seat.agent === null;
    if (document.activeElement !== range) {
      range.value = String(seat.level);
      told(host.querySelector("output"), range);
    }
  }
}

function told(output, range) {
  const level = Number(range.value);
  const known = catalogue.levels.find((entry) => entry.level === level);
  const effort = known ? (known.simulations ? `${known.simulations} simulations` : "the network alone") : state?.strength ?? "unlimited";
  output.textContent = `Level ${level}`;
  range.title = effort;
  range.setAttribute("aria-valuetext", `level ${level}, ${effort}`);
}

/** Agents that play this game. */
function players() {
  const mine = catalogue.agents.find((agent) => agent.name === state.agent);
  const family = (agent) => agent.env?.replace(/[0-9]+$/, "");
  return catalogue.agents.filter((agent) => agent.kind === "game" && (agent.env === mine.env || (family(agent) === family(mine) && agent.sizes.length))).map((agent) => agent.name);
}

const reseat = (side, seat) => command("PATCH", "", () => ({ seats: state.seats.map((old, i) => (i === side ? seat : old)) }));

/** Buttons for moves that are no point of the board. */
function others(mine) {
  const { game, position } = state;
  const extra = game.board === "text" ? [] : game.names.map((_, action) => action).filter((action) => !board.isCell(action));
  renew($("others"), extra.slice(0, 40), (action) => `${action} ${game.names[action]}`, (action) =>
    h("button", { type: "button", onclick: () => choose(action) }, game.names[action][0].toUpperCase() + game.names[action].slice(1)));
  extra.slice(0, 40).forEach((action, i) => able($("others").children[i], mine && position.legal.includes(action)));
}

function controls(latest) {
  for (const name of ["first", "back"]) able($(name), state.shown > 0);
  for (const name of ["forward", "last"]) able($(name), !latest);
  able($("undo"), undoable());
  $("from-here").hidden = latest;
  $("undo").hidden = !latest;
  const agents = state.seats.some((seat) => seat.agent !== null);
  $("pause").hidden = !agents || (Boolean(state.result) && !state.paused) || (!state.paused && state.seats.some((seat) => seat.agent === null));
  $("pause").textContent = state.paused ? "Resume" : "Pause";
  $("save-sgf").disabled = !state.game.sgf;
}

const undoable = () => state.moves.some((move) => state.seats[move.side].agent === null || !state.seats.some((seat) => seat.agent === null));

function status() {
  const { game, result, shown, moves, seats } = state;
  const line = $("status");
  const name = (side) => (seats[side].agent === null ? "You" : short(seats[side].agent));
  let main, small = "";
  if (shown < moves.length) {
    main = shown ? `After move ${shown} of ${moves.length}` : "Before the first move";
    small = state.result ? state.result.text : `${game.sides[sideAt(state)]} to move`;
  } else if (result) main = result.text;
  else if (state.paused && state.waits === "agent") {
    main = `Paused: ${game.sides[state.side]} to move`;
    small = "Resume lets the agent play on.";
  } else if (state.waits === "person") {
    const both = seats.every((seat) => seat.agent === null);
    main = both ? `${game.sides[state.side]} to move` : `Your move: ${game.sides[state.side]}`;
  } else main = `${game.sides[state.side]} (${name(state.side)}) is thinking…`;
  line.replaceChildren(main, ...(small ? [h("small", null, small)] : []));
}

/** What a screen reader is told: the latest move, and whose turn it is. */
function announce() {
  const { moves, game, result } = state;
  if (moves.length === announced || state.shown !== moves.length) return;
  const last = moves.at(-1);
  const parts = [];
  if (moves.length > announced && last && announced >= 0) parts.push(`${game.sides[last.side]} plays ${game.names[last.action]}.`);
  else if (announced >= 0) parts.push(moves.length ? `Back to move ${moves.length}.` : "New game.");
  if (result) parts.push(result.text);
  else if (state.waits === "person") parts.push(`${game.sides[state.side]} to move.`);
  announced = moves.length;
  $("announce").textContent = parts.join(" ");
}

// What the user does

let doing = Promise.resolve();

/**
 * One thing after the other, however slow the server is: what somebody types quickly is understood by the position that
 * the keys before have led to.
 */
const inTurn = (act) => (doing = doing.then(act, act));

/** Ask the server for something in this room; `body()`, if it is a function, is called once it is its turn. */
const command = (method, path, body) => inTurn(() => send(method, path, typeof body === "function" ? body() : body));

async function send(method, path, body) {
  try {
    take(await ask(method, `/api/rooms/${state.id}${path}`, body));
    return true;
  } catch (error) {
    complain(error);
    return false;
  }
}

const choose = (action) =>
  inTurn(() => (board.playable.has(action) ? send("POST", "/moves", { action, ply: state.moves.length }) : refuse(action)));

function refuse(action) {
  const latest = state.shown === state.moves.length;
  if (state.result && latest) toast("The game is over.");
  else if (!latest) toast("This is an earlier position: choose “Play from here” to go on from it.");
  else if (state.waits === "agent") toast(state.paused ? "The agent is to move: choose Resume." : "It is the agent's turn.");
  else if (action !== null) toast("No move can be played there.");
}

const shown = (ply) => ({ shown: Math.max(0, Math.min(state.moves.length, ply)) });
const step = (by) => command("PATCH", "", () => shown(state.shown + by));

let sought = null; // of the request to look elsewhere that waits: while a slider moves, the latest counts
function look(ply) {
  const waits = sought !== null;
  sought = ply;
  if (waits) return;
  command("PATCH", "", () => {
    const wanted = shown(sought);
    sought = null;
    return wanted;
  });
}

const undo = () => inTurn(() => (undoable() ? send("POST", "/undo", {}) : toast("There is no move of yours to take back.")));

function setOverlay(wanted) {
  overlay = wanted;
  kept.set("overlay", wanted);
  paint();
}

/** Keys while the board has the focus. */
function shortcut(event) {
  const key = event.key.toLowerCase();
  const act = {
    u: undo,
    p: () => state.game.names.includes("pass") && choose(state.game.names.indexOf("pass")),
    b: () => {
      const at = state.analysis?.moves?.length ? board.place(state.analysis.action) : null;
      if (at) board.focus(...at);
    },
    o: () => {
      const choices = overlays();
      setOverlay(choices[(choices.indexOf(overlay) + 1) % choices.length]);
    },
    ",": () => step(-1),
    ".": () => step(1),
    n: () => newGame(),
    "?": () => $("help-dialog").showModal(),
  }[key];
  if (!act) return;
  event.preventDefault();
  act();
}

function bind() {
  $("first").onclick = () => look(0);
  $("back").onclick = () => step(-1);
  $("forward").onclick = () => step(1);
  $("last").onclick = () => look(state.moves.length);
  $("undo").onclick = undo;
  $("from-here").onclick = () => command("POST", "/undo", () => ({ to: state.shown }));
  $("pause").onclick = () => command("PATCH", "", () => ({ paused: !state.paused }));
  $("scrub").oninput = (event) => look(Number(event.target.value));
  $("explain").onchange = (event) => command("PATCH", "", { explain: event.target.checked });
  $("simulations").onchange = (event) => command("PATCH", "", { simulations: Number(event.target.value) });
  $("overlay").addEventListener("change", (event) => setOverlay(event.target.value));
  $("new-button").onclick = newGame;
  $("help-button").onclick = () => $("help-dialog").showModal();
  $("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true);
  fileMenu();
  newDialog();
}

// Colours: the system's, unless the user has chosen

function theme(wanted, chosen) {
  document.documentElement.dataset.theme = wanted;
  $("theme").setAttribute("aria-pressed", String(wanted === "dark"));
  if (chosen) kept.set("theme", wanted);
}
const dark = matchMedia("(prefers-color-scheme: dark)");
theme(kept.get("theme", dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => !kept.get("theme", "") && theme(dark.matches ? "dark" : "light"));

// Files

function fileMenu() {
  const button = $("file-button"), menu = $("file-menu");
  const set = (open) => {
    menu.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) menu.querySelector("button:not(:disabled)").focus();
  };
  button.onclick = () => set(menu.hidden);
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.querySelectorAll("button:not(:disabled)")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
    else if (event.key === "Escape") {
      set(false);
      button.focus();
    } else return;
    event.preventDefault();
  });
  document.addEventListener("pointerdown", (event) => !event.target.closest(".menu") && set(false));
  menu.addEventListener("focusout", (event) => !event.relatedTarget?.closest?.(".menu") && set(false));
  const save = (suffix) => {
    set(false);
    h("a", { href: `/api/rooms/${state.id}/game.${suffix}`, download: "" }).click();
  };
  $("save-sgf").onclick = () => save("sgf");
  $("save-json").onclick = () => save("json");
  $("open-file").onclick = () => {
    set(false);
    $("file").click();
  };
  $("file").onchange = async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) await load(file);
  };
  // A file may be dropped on the board too.
  $("game").addEventListener("dragover", (event) => event.preventDefault());
  $("game").addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) load(event.dataTransfer.files[0]);
  });
}

async function load(file) {
  if (file.size > 1_000_000) {
    toast("This file is too large to be a game: a megabyte is the most.");
    return;
  }
  announced = -1;
  if (await command("PUT", "/game", { text: await file.text() })) toast(`${file.name}: ${state.moves.length} moves.`);
}

// A new game

function menus() {
  const titles = new Map();
  for (const agent of catalogue.agents) {
    const name = agent.kind === "game" ? agent.title : "Gymnasium environments";
    titles.set(name, [...(titles.get(name) ?? []), agent]);
  }
  const option = (agent) => h("option", { value: agent.name, title: agent.name }, `${agent.title} · ${short(agent.name)}`);
  $("new-agent").replaceChildren(...[...titles].map(([, agents]) => agents.map(option)).flat());
}

function newGame() {
  const current = state?.agent ?? catalogue.start.agent;
  $("new-agent").value = current;
  newOptions(state?.kind === "game" ? state.game : null);
  const first = state?.seats?.find((seat) => seat.agent !== null);
  $("new-level").value = String(first?.level ?? 10);
  told($("new-level-text"), $("new-level"));
  $("new-dialog").showModal();
}

/** Fields that the chosen agent has. */
function newOptions(game) {
  const agent = catalogue.agents.find(({ name }) => name === $("new-agent").value);
  const own = game && state.agent === agent.name;
  $("new-size-field").hidden = !agent.sizes?.length;
  $("new-komi-field").hidden = agent.komi === null || agent.komi === undefined;
  $("new-board").hidden = $("new-size-field").hidden && $("new-komi-field").hidden;
  $("new-size").replaceChildren(...(agent.sizes ?? []).map((size) => h("option", { value: String(size) }, `${size} × ${size}`)));
  if (agent.sizes?.length) $("new-size").value = String(own ? game.size : agent.size);
  $("new-komi").value = String(own ? game.komi : agent.komi ?? "");
  $("new-seats").hidden = $("new-level-field").hidden = agent.kind !== "game";
}

function newDialog() {
  $("new-agent").onchange = () => newOptions(null);
  $("new-level").oninput = () => told($("new-level-text"), $("new-level"));
  $("new-cancel").onclick = () => $("new-dialog").close();
  $("new-form").onsubmit = async (event) => {
    event.preventDefault();
    const agent = catalogue.agents.find(({ name }) => name === $("new-agent").value);
    const wanted = { agent: agent.name };
    if (agent.kind === "game") {
      const level = Number($("new-level").value);
      const machine = { agent: agent.name, level }, person = { agent: null };
      wanted.seats = { first: [person, machine], second: [machine, person], watch: [machine, machine], people: [person, person] }[new FormData($("new-form")).get("seats")];
      if (agent.sizes.length) wanted.size = Number($("new-size").value);
      if (agent.komi !== null) wanted.komi = Number($("new-komi").value);
    }
    $("new-dialog").close();
    try {
      if (agent.kind === "game" && state?.kind === "game") {
        announced = -1;
        await command("POST", "/new", wanted);
        $("announce").textContent = `New game: ${state.game.title}.`;
      } else await open(wanted);
    } catch (error) {
      complain(error);
    }
  };
}

// Messages

let toastTimer;
function toast(sentence) {
  const box = $("toast");
  box.hidden = false;
  box.textContent = sentence;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (box.hidden = true), 5000);
}

function complain(error) {
  toast(`${error.message[0].toUpperCase()}${error.message.slice(1)}${/[.?!]$/.test(error.message) ? "" : "."}`);
}

bind();
begin().catch((error) => {
  $("loading").textContent = error.message;
});
