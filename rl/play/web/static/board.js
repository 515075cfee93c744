// Boards of every kind: an SVG drawing under a grid of invisible buttons (clicks, arrow keys, screen readers).

import { largest } from "./insight.js";
import { able, h, renew, s, percent, thousands } from "./dom.js";

const CELL = 40;
const ROOT3 = Math.sqrt(3);

/** Where things lie in a board's drawing, by kind: size, centre of a point, and the radius of what lies there. */
function geometry(game) {
  const { rows, columns } = game;
  if (game.board === "hex") {
    const side = 25, across = ROOT3 * side, down = 1.5 * side, margin = 38;
    return {
      width: across * (columns + (rows - 1) / 2) + 2 * margin,
      height: down * (rows - 1) + 2 * side + 2 * margin,
      at: (r, c) => [margin + across * (c + r / 2 + 0.5), margin + side + down * r],
      radius: across / 2,
      side,
    };
  }
  if (game.board === "columns") {
    const cell = 62, pad = 12, above = 0.86 * cell; // room for the disc that is about to fall
    return {
      above,
      width: columns * cell + 2 * pad,
      height: rows * cell + above + 2 * pad + 24,
      at: (r, c) => [pad + cell * (c + 0.5), pad + above + cell * (r + 0.5)],
      radius: 25,
      cell,
      pad,
    };
  }
  if (game.board === "cells") {
    const cell = 100, pad = 4;
    const label = game.across.length ? 26 : 0;
    return {
      width: columns * cell + 2 * pad + label,
      height: rows * cell + 2 * pad + label,
      at: (r, c) => [label + pad + cell * (c + 0.5), pad + cell * (r + 0.5)],
      radius: 36,
      cell,
    };
  }
  const labelled = game.across.length > 0;
  const margin = game.board === "othello" ? 26 : labelled ? 44 : 28;
  const inset = game.board === "othello" ? CELL / 2 : 0;
  const wide = game.board === "othello" ? columns * CELL : (columns - 1) * CELL;
  const high = game.board === "othello" ? rows * CELL : (rows - 1) * CELL;
  return {
    width: wide + 2 * margin,
    height: high + 2 * margin,
    at: (r, c) => [margin + inset + CELL * c, margin + inset + CELL * r],
    radius: game.board === "othello" ? 16.5 : 18.8,
    margin,
  };
}

const hexagon = (x, y, side) =>
  [0, 1, 2, 3, 4, 5].map((k) => [x + side * Math.sin((k * Math.PI) / 3), y - side * Math.cos((k * Math.PI) / 3)]);
const listed = (points) => points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" ");

function gradients() {
  const radial = (id, from, to) =>
    s("radialGradient", { id, cx: "0.36", cy: "0.3", r: "0.78" }, s("stop", { offset: "0", "stop-color": from }), s("stop", { offset: "1", "stop-color": to }));
  const linear = (id, from, to) =>
    s("linearGradient", { id, x1: "0", y1: "0", x2: "0.35", y2: "1" }, s("stop", { offset: "0", "stop-color": from }), s("stop", { offset: "1", "stop-color": to }));
  return s("defs", null,
    radial("black-stone", "#62626a", "#0d0d10"),
    s("radialGradient", { id: "white-stone", cx: "0.36", cy: "0.3", r: "0.85" },
      s("stop", { offset: "0", "stop-color": "#ffffff" }), s("stop", { offset: "0.55", "stop-color": "#f3f0e8" }), s("stop", { offset: "1", "stop-color": "#cbc5b6" })),
    radial("yellow-disc", "var(--yellow)", "var(--yellow-b)"),
    radial("red-disc", "var(--red)", "var(--red-b)"),
    radial("hex-red", "var(--hex-red)", "var(--hex-red-b)"),
    radial("hex-blue", "var(--hex-blue)", "var(--hex-blue-b)"),
    linear("wood", "var(--wood-a)", "var(--wood-b)"),
    linear("felt", "var(--felt-a)", "var(--felt-b)"),
    linear("rack", "var(--rack-a)", "var(--rack-b)"));
}

/** One stone, disc or mark of a side (0, 1), centred on the origin. */
export function piece(game, side, radius) {
  if (game.board === "hex") {
    return s("g", null, s("circle", { r: radius * 0.8, cy: 1.5, fill: "rgb(0 0 0 / 22%)" }), s("circle", { r: radius * 0.8, fill: `url(#${side === 0 ? "hex-red" : "hex-blue"})` }));
  }
  if (game.kind === "tic_tac_toe") {
    const a = radius * 0.74;
    return side === 0
      ? s("g", null, s("path", { class: "cross stroke-in", pathLength: 1, d: `M${-a} ${-a}L${a} ${a}`, stroke: "var(--x)" }), s("path", { class: "cross stroke-in", pathLength: 1, d: `M${a} ${-a}L${-a} ${a}`, stroke: "var(--x)" }))
      : s("circle", { class: "nought stroke-in", pathLength: 1, r: radius * 0.8, stroke: "var(--o)" });
  }
  if (game.board === "columns") {
    return s("g", null,
      s("circle", { r: radius + 2.5, fill: `url(#${side === 0 ? "yellow-disc" : "red-disc"})` }),
      s("circle", { r: radius * 0.68, fill: "none", stroke: side === 0 ? "rgb(150 95 0 / 45%)" : "rgb(110 15 8 / 45%)", "stroke-width": 2.2 }));
  }
  return s("g", null,
    s("circle", { r: radius, cx: 1, cy: 2, fill: "rgb(30 18 0 / 30%)" }),
    s("circle", { r: radius, fill: `url(#${side === 0 ? "black-stone" : "white-stone"})` }));
}

/** A small picture of a side's stone, for text. */
export function mini(game, side, className = "stone") {
  return s("svg", { class: className, viewBox: "-20 -20 40 40", "aria-hidden": "true" }, game.kind === "tic_tac_toe" ? s("g", { class: "cells" }, piece(game, side, 18)) : piece(game, side, 17));
}

export class Board {
  /** `on.choose(action)`, which need not be legal; `on.key(event)`: keys that are not the board's own. */
  constructor(host, game, on) {
    this.host = host;
    this.game = game;
    this.on = on;
    this.shape = game.board === "text" ? null : geometry(game);
    this.marks = null;
    this.pieces = new Map();
    this.playable = new Set();
    this.build();
  }

  build() {
    const { game, host, shape } = this;
    host.replaceChildren();
    host.className = `board ${game.board}`;
    if (!shape) {
      host.style.setProperty("--aspect", "auto");
      host.parentElement.parentElement.style.setProperty("--aspect", "1");
      this.text = h("pre", { class: "board-text", tabindex: 0, "aria-label": `${game.title}, drawn as text` });
      this.text.addEventListener("keydown", (event) => this.key(event));
      this.choices = h("div", { class: "text-moves", role: "group", "aria-label": "Moves" });
      // Stones beside names are painted with the gradients.
      host.append(s("svg", { class: "sr", "aria-hidden": "true" }, gradients()), this.text, this.choices);
      return;
    }
    const aspect = (shape.width / shape.height).toFixed(4);
    host.style.setProperty("--aspect", aspect);
    host.closest(".play").style.setProperty("--aspect", aspect);
    this.layers = {};
    const layer = (name, properties) => (this.layers[name] = s("g", properties));
    this.svg = s("svg", { viewBox: `0 0 ${shape.width.toFixed(1)} ${shape.height.toFixed(1)}`, "aria-hidden": "true" },
      gradients(), layer("ground"), layer("stones"), layer("front"), layer("ownership", { class: "heat" }), layer("hints"),
      layer("heat", { class: "heat" }), layer("marks"), layer("ghost"), layer("pv", { class: "pv" }));
    const drawn = { go: "ground_go", othello: "ground_othello", columns: "ground_columns", hex: "ground_hex", cells: "ground_cells" }[game.board];
    this[drawn](this.layers.ground);
    this.cells = [];
    const rows = [];
    for (let r = 0; r < game.rows; r++) {
      const row = h("div", { role: "row", "aria-rowindex": r + 1 });
      const cells = [];
      for (let c = 0; c < game.columns; c++) {
        const cell = h("button", { type: "button", role: "gridcell", class: "cell", tabindex: -1, "aria-colindex": c + 1 });
        const [x, y] = shape.at(r, c);
        const size = game.board === "columns" ? shape.cell : game.board === "cells" ? shape.cell * 0.94 : game.board === "hex" ? 2 * shape.radius : CELL;
        cell.style.left = `${(100 * x) / shape.width}%`;
        cell.style.top = `${(100 * y) / shape.height}%`;
        cell.style.width = `${(100 * size) / shape.width}%`;
        cell.style.height = `${(100 * size) / shape.height}%`;
        if (game.board === "cells") cell.style.borderRadius = "12px";
        cell.addEventListener("click", () => this.on.choose(this.action(r, c)));
        cell.addEventListener("focus", () => this.roam(r, c));
        cell.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && this.hover(r, c));
        cell.addEventListener("pointerleave", () => this.hover(null));
        cells.push(cell);
        row.append(cell);
      }
      this.cells.push(cells);
      rows.push(row);
    }
    this.grid = h("div", { role: "grid", "aria-label": `${game.title} board`, "aria-rowcount": game.rows, "aria-colcount": game.columns }, rows);
    this.grid.addEventListener("keydown", (event) => this.key(event));
    host.append(this.svg, this.grid);
    this.roam(Math.floor((game.rows - 1) / 2), Math.floor((game.columns - 1) / 2));
  }

  // The ground of each kind of board

  label(layer, x, y, text) {
    layer.append(s("text", { class: "coordinate", x, y }, text));
  }

  ground_go(layer) {
    const { game, shape } = this;
    const { rows, columns } = game;
    layer.append(s("rect", { class: "wood-shadow", width: shape.width, height: shape.height, rx: 9, fill: "url(#wood)" }));
    // Grain: long, slightly bent lines, the same each time.
    let seed = 7;
    const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    const grain = s("g", { class: "grain" });
    for (let i = 0; i < 26; i++) {
      const x = random() * shape.width, bend = (random() - 0.5) * 26;
      grain.append(s("path", { d: `M${x.toFixed(1)} 0Q${(x + bend).toFixed(1)} ${shape.height / 2} ${(x + bend / 3).toFixed(1)} ${shape.height}`, "stroke-width": (0.6 + random() * 2.2).toFixed(1) }));
    }
    layer.append(grain);
    for (let r = 0; r < rows; r++) {
      const [x0, y] = shape.at(r, 0), [x1] = shape.at(r, columns - 1);
      layer.append(s("path", { class: "grid-line", d: `M${x0} ${y}H${x1}` }));
    }
    for (let c = 0; c < columns; c++) {
      const [x, y0] = shape.at(0, c), [, y1] = shape.at(rows - 1, c);
      layer.append(s("path", { class: "grid-line", d: `M${x} ${y0}V${y1}` }));
    }
    const [left, upper] = shape.at(0, 0), [right, lower] = shape.at(rows - 1, columns - 1);
    layer.append(s("path", { class: "edge-line", d: `M${left} ${upper}H${right}V${lower}H${left}Z` }));
    const near = rows > 12 ? 3 : rows > 6 ? 2 : 0;
    const lines = near ? (rows % 2 && rows > 12 ? [near, (rows - 1) / 2, rows - 1 - near] : [near, rows - 1 - near]) : [];
    const stars = lines.flatMap((r) => lines.map((c) => [r, c]));
    if (rows % 2) stars.push([(rows - 1) / 2, (rows - 1) / 2]);
    for (const [r, c] of stars) {
      const [cx, cy] = shape.at(r, c);
      layer.append(s("circle", { class: "star", cx, cy, r: 3.4 }));
    }
    game.across.forEach((text, c) => {
      this.label(layer, shape.at(0, c)[0], 16, text);
      this.label(layer, shape.at(0, c)[0], shape.height - 16, text);
    });
    game.down.forEach((text, r) => {
      this.label(layer, 16, shape.at(r, 0)[1], text);
      this.label(layer, shape.width - 16, shape.at(r, 0)[1], text);
    });
  }

  ground_othello(layer) {
    const { game, shape } = this;
    const m = shape.margin, w = shape.width - 2 * m, t = shape.height - 2 * m;
    layer.append(s("rect", { class: "wood-shadow", width: shape.width, height: shape.height, rx: 12, fill: "var(--felt-rim)" }), s("rect", { x: m, y: m, width: w, height: t, rx: 3, fill: "url(#felt)" }));
    for (let r = 0; r <= game.rows; r++) layer.append(s("path", { class: "grid-line", d: `M${m} ${m + r * CELL}h${w}` }));
    for (let c = 0; c <= game.columns; c++) layer.append(s("path", { class: "grid-line", d: `M${m + c * CELL} ${m}v${t}` }));
    for (const r of [2, game.rows - 2]) for (const c of [2, game.columns - 2]) layer.append(s("circle", { cx: m + c * CELL, cy: m + r * CELL, r: 3, fill: "var(--felt-line)" }));
    game.across.forEach((text, c) => this.label(layer, shape.at(0, c)[0], 13, text));
    game.down.forEach((text, r) => this.label(layer, 13, shape.at(r, 0)[1], text));
  }

  ground_columns(layer) {
    const { game, shape } = this;
    const { cell, pad } = shape;
    const top = pad + shape.above - 8, width = game.columns * cell + 16, height = game.rows * cell + 16;
    const mask = s("mask", { id: "holes" }, s("rect", { width: "100%", height: "100%", fill: "#fff" }));
    const rims = s("g");
    layer.append(s("rect", { x: pad - 4, y: top + 4, width: width - 8, height: height - 8, rx: 14, fill: "var(--hole)" }));
    for (let r = 0; r < game.rows; r++)
      for (let c = 0; c < game.columns; c++) {
        const [cx, cy] = shape.at(r, c);
        mask.append(s("circle", { cx, cy, r: shape.radius, fill: "#000" }));
        rims.append(s("circle", { class: "hole-rim", cx, cy, r: shape.radius + 0.6 }));
      }
    this.beams = [];
    for (let c = 0; c < game.columns; c++) {
      this.beams.push(s("rect", { class: "beam", x: pad + c * cell + 2, y: top, width: cell - 4, height, rx: 8 }));
      this.label(this.layers.front, shape.at(0, c)[0], top + height + 14, game.across[c]);
    }
    const rack = s("g", { class: "wood-shadow" }, s("rect", { x: pad - 8, y: top, width, height, rx: 16, fill: "url(#rack)", mask: "url(#holes)" }));
    this.layers.front.append(mask, rack, rims, ...this.beams);
  }

  ground_hex(layer) {
    const { game, shape } = this;
    const { side } = shape;
    const n = game.rows, m = game.columns;
    // The four edges, as zigzags along the outermost cells.
    const across = [...Array(m).keys()], down = [...Array(n).keys()];
    const corner = (r, c, k) => hexagon(...shape.at(r, c), side + 2)[k];
    const top = [...across.flatMap((c) => [corner(0, c, 5), corner(0, c, 0)]), corner(0, m - 1, 1)];
    const bottom = [corner(n - 1, 0, 4), ...across.flatMap((c) => [corner(n - 1, c, 3), corner(n - 1, c, 2)])];
    const left = [...down.flatMap((r) => [corner(r, 0, 5), corner(r, 0, 4)]), corner(n - 1, 0, 3)].slice(0, -1);
    const right = [...down.flatMap((r) => [corner(r, m - 1, 1), corner(r, m - 1, 2)])];
    const shadow = s("g", { class: "wood-shadow" });
    for (const [points, colour] of [[top, "red"], [bottom, "red"], [left, "blue"], [right, "blue"]])
      shadow.append(s("polyline", { class: "border", points: listed(points), stroke: `var(--hex-${colour})` }));
    layer.append(shadow);
    for (let r = 0; r < n; r++) for (let c = 0; c < m; c++) layer.append(s("polygon", { class: "hexagon", points: listed(hexagon(...shape.at(r, c), side)) }));
    game.across.forEach((text, c) => this.label(layer, shape.at(0, c)[0] - shape.radius / 2, shape.at(0, c)[1] - side - 16, text));
    game.down.forEach((text, r) => this.label(layer, shape.at(r, 0)[0] - shape.radius - 20, shape.at(r, 0)[1] + 4, text));
  }

  ground_cells(layer) {
    const { game, shape } = this;
    for (let r = 0; r < game.rows; r++)
      for (let c = 0; c < game.columns; c++) {
        const [x, y] = shape.at(r, c), w = shape.cell * 0.93;
        layer.append(s("rect", { class: "square", x: x - w / 2, y: y - w / 2, width: w, height: w, rx: 14 }));
      }
    game.across.forEach((text, c) => this.label(layer, shape.at(0, c)[0], shape.height - 10, text));
    game.down.forEach((text, r) => this.label(layer, 12, shape.at(r, 0)[1], text));
  }

  // A position

  action(r, c) {
    return this.game.points ? r * this.game.stride + c : this.game.board === "columns" ? c : null;
  }

  /** Whether an action is chosen on the board itself; a pass is not. */
  isCell(action) {
    return action < this.game.cells;
  }

  /** Where an action would put a stone, [row, column]; null for a pass and the like. */
  place(action, marks = this.marks) {
    const { game } = this;
    if (game.points) {
      const r = Math.floor(action / game.stride), c = action % game.stride;
      return r < game.rows && c < game.columns ? [r, c] : null;
    }
    if (game.board === "columns" && action < game.columns)
      for (let r = game.rows - 1; r >= 0; r--) if (marks[r][action] === ".") return [r, action];
    return null;
  }

  /** Draw a position; `playable` are the actions that a person may choose now, `side` whose turn it is. */
  draw(position, playable, side) {
    this.position = position;
    this.playable = new Set(playable);
    this.side = side;
    if (!this.shape) {
      this.text.textContent = position.text ?? position.marks.join("\n");
      renew(this.choices, position.legal, (action) => action, (action) => h("button", { type: "button", onclick: () => this.on.choose(action) }, this.game.names[action]));
      for (const button of this.choices.children) able(button, this.playable.has(Number(button.dataset.key)));
      return;
    }
    this.stones(position);
    this.layers.hints.replaceChildren();
    if (this.game.board === "othello")
      for (const action of playable) {
        const at = this.place(action);
        if (at) this.layers.hints.append(s("circle", { class: "may", cx: this.shape.at(...at)[0], cy: this.shape.at(...at)[1], r: 4.6 }));
      }
    this.hover(null);
    this.describe();
  }

  stones(position) {
    const { game, shape } = this;
    const before = this.marks;
    this.marks = position.marks;
    for (let r = 0; r < game.rows; r++)
      for (let c = 0; c < game.columns; c++) {
        const mark = position.marks[r][c], old = before?.[r][c] ?? ".";
        if (mark === old && (mark === ".") === !this.pieces.has(r * 100 + c)) continue;
        this.pieces.get(r * 100 + c)?.remove();
        this.pieces.delete(r * 100 + c);
        if (mark === ".") continue;
        const [x, y] = shape.at(r, c);
        const inner = piece(game, mark === "X" ? 0 : 1, shape.radius);
        if (before !== null) {
          if (old !== ".") inner.classList.add("turned");
          else if (game.board === "columns") {
            inner.classList.add("drop");
            inner.style.setProperty("--from", `${-(r + 1) * shape.cell}px`);
            inner.style.setProperty("--time", `${Math.round(150 * Math.sqrt(r + 2))}ms`);
          } else if (game.kind !== "tic_tac_toe") inner.classList.add("stone-in");
        }
        const stone = s("g", { transform: `translate(${x.toFixed(2)} ${y.toFixed(2)})` }, inner);
        this.pieces.set(r * 100 + c, stone);
        this.layers.stones.append(stone);
      }
    this.layers.marks.replaceChildren();
    for (const [r, c] of position.won) {
      const [x, y] = shape.at(r, c);
      if (game.board === "cells") {
        const w = shape.cell * 0.93;
        this.layers.marks.append(s("rect", { x: x - w / 2, y: y - w / 2, width: w, height: w, rx: 14, fill: "none", stroke: "var(--accent)", "stroke-width": 4 }));
      } else this.layers.marks.append(s("circle", { class: game.board === "columns" ? "won-ring" : "last-ring", cx: x, cy: y, r: shape.radius * (game.board === "columns" ? 0.98 : 0.55), stroke: game.board === "columns" ? null : "#e8482f" }));
    }
    if (position.last && !position.won.length && game.board !== "cells") {
      const [r, c] = position.last, [x, y] = shape.at(r, c);
      const light = game.board === "go" || game.board === "othello" ? position.marks[r][c] === "X" : true;
      this.layers.marks.append(s("circle", { class: "last-ring", cx: x, cy: y, r: shape.radius * (game.board === "hex" ? 0.36 : 0.5), stroke: light ? "#fff" : "#1b1b1f" }));
    }
  }

  /** Names of the cells, for screen readers; what the overlay tells of them comes along. */
  describe(tell = () => "") {
    const { game, position } = this;
    const last = position.last;
    for (let r = 0; r < game.rows; r++)
      for (let c = 0; c < game.columns; c++) {
        const action = this.action(r, c), mark = position.marks[r][c];
        const name = game.board === "columns" ? `column ${game.across[c]}, row ${game.rows - r}` : game.across.length || game.board !== "cells" ? game.names[action] : `row ${r + 1}, column ${c + 1}`;
        const what = mark === "." ? "empty" : game.sides[mark === "X" ? 0 : 1];
        const cell = this.cells[r][c];
        const told = tell(r, c), extra = told ? `, ${told}` : "";
        cell.setAttribute("aria-label", `${name}, ${what}${last && last[0] === r && last[1] === c ? ", last move" : ""}${extra}`);
        able(cell, this.playable.has(action));
      }
  }

  // What the agent sees

  /** Circles for shares of 1 by action, with `label(action)` where there is room. */
  heat(shares, label, best) {
    const { layers, shape, game } = this;
    if (!shape) return;
    layers.heat.replaceChildren();
    const most = Math.max(0.0001, ...shares.values());
    for (const [action, share] of shares) {
      const at = this.place(action);
      if (!at || this.marks[at[0]][at[1]] !== "." || share < 0.004) continue;
      const [x, y] = shape.at(...at);
      const weight = Math.sqrt(share / most);
      const radius = shape.radius * (0.42 + 0.5 * weight);
      const group = s("g", null, s("circle", { class: "share", cx: x, cy: y, r: radius, opacity: (0.3 + 0.6 * weight).toFixed(2) }));
      if (action === best) group.append(s("circle", { class: "best", cx: x, cy: y, r: radius }));
      if (share >= 0.03 || action === best) {
        const text = label(action);
        const size = { columns: 16, cells: 22 }[game.board] ?? (text.length > 3 ? 11.5 : 13.5);
        group.append(s("text", { x, y }, text));
        group.lastChild.style.fontSize = `${size}px`;
      }
      layers.heat.append(group);
    }
  }

  /** Dots for the shares [row][column] of all points, occupied or not, rings where they are below 0; `action` is marked. */
  points(shares, action) {
    const { layers, shape } = this;
    if (!shape) return;
    const most = largest(shares), at = this.place(action);
    if (at) layers.heat.append(s("circle", { class: "chosen", cx: shape.at(...at)[0], cy: shape.at(...at)[1], r: 0.86 * shape.radius }));
    shares.forEach((row, r) => row.forEach((share, c) => {
      const weight = Math.sqrt(Math.abs(share) / most), [cx, cy] = shape.at(r, c);
      if (weight < 0.14) return;
      const hollow = share < 0, radius = shape.radius * (0.14 + 0.5 * weight);
      layers.heat.append(s("circle", { class: "halo", cx, cy, r: radius + 1.5 }), s("circle", { class: hollow ? "against" : "share", cx, cy, r: hollow ? radius - 1.2 : radius }));
    }));
  }

  /** Who will own each point, in [-1, 1] for the first player; dead stones get a cross. */
  ownership(owners, dead = []) {
    const { layers, shape, game } = this;
    if (!shape) return;
    layers.ownership.replaceChildren();
    if (!owners) return;
    for (let r = 0; r < game.rows; r++)
      for (let c = 0; c < game.columns; c++) {
        const owner = owners[r * game.stride + c], size = 17 * Math.sqrt(Math.abs(owner));
        if (Math.abs(owner) < 0.05) continue;
        const [x, y] = shape.at(r, c);
        layers.ownership.append(s("rect", { class: owner > 0 ? "own-first" : "own-second", x: x - size / 2, y: y - size / 2, width: size, height: size, rx: 2, opacity: (0.25 + 0.6 * Math.abs(owner)).toFixed(2) }));
      }
    for (const [r, c] of dead) {
      const [x, y] = shape.at(r, c);
      layers.ownership.append(s("path", { class: "dead-mark", d: `M${x - 7} ${y - 7}l14 14M${x + 7} ${y - 7}l-14 14` }));
    }
  }

  /** The stones of a line of moves from the position shown, numbered; an empty one clears them. */
  line(actions, sides) {
    const { layers, shape, game } = this;
    if (!shape) return;
    layers.pv.replaceChildren();
    layers.heat.style.opacity = actions.length ? "0.12" : "";
    let marks = this.marks.map((row) => [...row]);
    actions.forEach((action, i) => {
      const at = this.place(action, marks);
      if (!at) return;
      const [x, y] = shape.at(...at);
      const side = sides[i];
      marks[at[0]][at[1]] = side === 0 ? "X" : "O";
      const dark = (game.board === "go" || game.board === "othello") && side === 0;
      const text = s("text", { y: 0.5, fill: dark || game.board === "hex" || (game.board === "columns" && side === 1) ? "#fff" : "#17161a" }, String(i + 1));
      if (game.board === "columns") text.style.fontSize = "22px";
      const inner = piece(game, side, shape.radius * (game.board === "columns" ? 0.9 : 0.96));
      inner.querySelectorAll(".stroke-in").forEach((e) => e.classList.remove("stroke-in"));
      layers.pv.append(s("g", { transform: `translate(${x} ${y})`, opacity: 0.9 }, inner, text));
    });
  }

  // Pointer and keys

  hover(r, c) {
    const { layers, shape, game } = this;
    layers.ghost.replaceChildren();
    this.beams?.forEach((beam) => beam.classList.remove("on"));
    if (r === null) return;
    const action = this.action(r, c);
    if (!this.playable.has(action)) return;
    let at = shape.at(r, c);
    if (game.board === "columns") {
      at = [shape.at(0, c)[0], shape.radius + 2];
      this.beams[c].classList.add("on");
    }
    const inner = piece(game, this.side, shape.radius);
    inner.querySelectorAll(".stroke-in").forEach((e) => e.classList.remove("stroke-in"));
    inner.classList.remove("stroke-in");
    layers.ghost.append(s("g", { class: game.board === "columns" ? "" : "ghost", transform: `translate(${at[0]} ${at[1]})` }, inner));
  }

  /** The one cell that Tab leads to. */
  roam(r, c) {
    if (this.roaming) this.cells[this.roaming[0]][this.roaming[1]].tabIndex = -1;
    this.roaming = [r, c];
    this.cells[r][c].tabIndex = 0;
  }

  focus(r, c) {
    if (!this.shape) return this.text.focus();
    const [row, column] = r === undefined ? this.roaming : [r, c];
    this.cells[row][column].focus();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!this.shape) return this.on.key(event);
    const { rows, columns } = this.game;
    let [r, c] = this.roaming;
    switch (event.key) {
      case "ArrowLeft": c--; break;
      case "ArrowRight": c++; break;
      case "ArrowUp": r--; break;
      case "ArrowDown": r++; break;
      case "Home": c = 0; break;
      case "End": c = columns - 1; break;
      case "PageUp": r = 0; break;
      case "PageDown": r = rows - 1; break;
      default:
        this.on.key(event);
        return;
    }
    event.preventDefault();
    if (r >= 0 && r < rows && c >= 0 && c < columns) this.focus(r, c);
  }
}

export const label = { policy: (share) => percent(share).replace(" %", ""), visits: thousands };
