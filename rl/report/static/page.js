"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const colour = (i) => css(`--c${i % 7}`);
const faint = (value, share) => `color-mix(in srgb, ${value} ${share}%, transparent)`;
const DASHES = [[], [8, 5], [2, 4], [10, 4, 2, 4]];

// ---- numbers

const UNITS = [[1e9, "G"], [1e6, "M"], [1e4, "k"]];
function short(value) {
  if (value === null || value === undefined) return "";
  for (const [limit, letter] of UNITS) {
    if (Math.abs(value) >= limit) return +(value / (letter === "k" ? 1e3 : limit)).toPrecision(4) + letter;
  }
  return (+value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}
const percent = (value) => (value === null || value === undefined ? "" : +(100 * value).toPrecision(4) + " %");

function clockScale(axis) {  // what wall time is shown in
  if (axis !== "seconds") return [1, ""];
  const end = Math.max(...data.runs.map((run) => run.clock.seconds.at(-1)));
  return end >= 7200 ? [3600, " (hours)"] : end >= 120 ? [60, " (minutes)"] : [1, " (seconds)"];
}

// ---- charts

let axis = "seconds";
const charts = [];

function lines(panel) {  // everything drawn in a panel: x, y, and how
  const found = [];
  const several = data.groups.length > 1;
  data.groups.forEach((group, g) => {
    panel.curves.forEach((curve, c) => {
      const paint = several ? g : c, dash = several ? DASHES[c % 4] : [];
      const name = [several ? group.name : "", curve.label].filter(Boolean).join(", ") || panel.title;
      for (const number of group.runs) {
        const run = data.runs[number], metric = run.metrics[curve.metric];
        if (!metric) continue;
        const x = metric.rows.map((row) => run.clock[axis][row]);
        const alone = group.runs.length === 1;
        if (metric.smooth || !alone) found.push({ x, y: metric.y, paint, dash, width: 1, share: alone ? 28 : 22, points: x.length === 1 });
        if (!alone) continue;
        const low = run.metrics[curve.low], high = run.metrics[curve.high];
        const bounded = low && high && low.rows.length === x.length && high.rows.length === x.length;
        const y = metric.smooth || metric.y;
        if (bounded) found.push({ x, y: high.y, paint, band: "high" }, { x, y: low.y, paint, band: "low" });
        found.push({ x, y, paint, dash, width: 2, share: 100, name, points: x.length <= 40 && !metric.smooth });
      }
      const mean = group.means && group.means[axis][curve.metric];
      if (mean) {
        found.push({ x: mean.x, y: mean.high, paint, band: "high", seeds: true }, { x: mean.x, y: mean.low, paint, band: "low", seeds: true });
        found.push({ x: mean.x, y: mean.mean, paint, dash, width: 2, share: 100, name, points: mean.x.length === 1 });
      }
    });
  });
  return found;
}

function rangeOf(panel, all) {
  const ends = (some) => some.flatMap((line) => line.y).reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const [low, high] = ends(all.filter((line) => !line.seeds));
  if (panel.share) return [panel.from_zero ? 0 : Math.min(0.9, Math.max(0, Math.floor(low * 10) / 10)), 1];
  const room = high - low || Math.abs(high) || 1;
  // The band of a few seeds may be far wider than all that happened: it gets as much room again, and no more.
  const [least, most] = ends(all.filter((line) => line.seeds));
  const bottom = Math.min(low, Math.max(least, low - room / 2)), top = Math.max(high, Math.min(most, high + room / 2));
  return [panel.from_zero ? 0 : bottom - 0.04 * room, top + 0.06 * room];
}

function drawChart(chart) {
  const { panel, host } = chart;
  if (chart.plot) chart.plot.destroy();
  const all = lines(panel), [scale, unit] = clockScale(axis);
  const joined = uPlot.join(all.map((line) => [line.x, line.y]));
  joined[0] = joined[0].map((value) => value / scale);
  const text = css("--soft"), grid = css("--line"), show = panel.share ? percent : short;
  const series = [{ label: data.axes.find((a) => a.name === axis).label + unit, value: (_, v) => short(v) }], bands = [];
  all.forEach((line, i) => {
    const own = colour(line.paint);
    series.push({
      label: line.name || "", class: line.name ? "line" : "band", spanGaps: true, show: true, scale: "y",
      stroke: line.band ? "transparent" : faint(own, line.share), width: line.width || 0, dash: line.dash,
      points: { show: Boolean(line.points), size: 6, fill: faint(own, line.share), stroke: faint(own, line.share) }, value: (_, v) => show(v),
    });
    if (line.band === "high") bands.push({ series: [i + 1, i + 2], fill: faint(own, 18) });
  });
  const tick = (u, values) => values.map((v) => (panel.share ? percent(v) : short(v)));
  const common = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, font: "12px system-ui" };
  const limits = rangeOf(panel, all);
  chart.plot = new uPlot({
    width: host.clientWidth, height: 230, series, bands,
    scales: { x: { time: false, range: (u, a, b) => (chart.zoomed ? [a, b] : [0, Math.max(b, 1e-9)]) }, y: { range: () => limits } },
    axes: [{ ...common, values: (u, values) => values.map(short), space: 60 }, { ...common, values: tick, size: 58 }],
    cursor: { points: { size: 7 }, drag: { x: true, y: false } },
    legend: { live: true, markers: { width: 0, fill: (u, i) => (i ? colour(all[i - 1].paint) : "transparent") } },
    hooks: { setSelect: [(u) => { chart.zoomed = u.select.width > 0; }] },
  }, joined, host);
  host.addEventListener("dblclick", () => { chart.zoomed = false; });
  host.querySelectorAll(".u-legend tr.band").forEach((row) => row.remove());
  host.setAttribute("role", "img");
  const ends = all.filter((l) => l.name).map((l) => `${l.name} ends at ${show(l.y.at(-1))}`);
  host.setAttribute("aria-label", `${panel.title}: ${ends.join("; ")}`);
}

function makeCharts() {
  document.querySelectorAll("[data-section]").forEach((box) => {
    for (const panel of data.sections[+box.dataset.section].panels) {
      const card = document.createElement("div");
      card.className = "chart";
      const title = card.appendChild(document.createElement("h3"));
      title.textContent = panel.title + (panel.unit && panel.unit !== panel.title ? ` (${panel.unit})` : "");
      const meaning = card.appendChild(document.createElement("p"));
      meaning.className = "meaning";
      const told = panel.meanings.map((m) => `${panel.meanings.length > 1 ? m.label + ": " : ""}${m.meaning}`);
      meaning.textContent = panel.meanings.length === 1 ? told[0] : "";
      card.title = panel.meanings.map((m, i) => `${m.name} – ${told[i]}`).join("\n");
      if (panel.meanings.length > 1) {
        const more = card.appendChild(document.createElement("details"));
        more.className = "meaning";
        more.appendChild(document.createElement("summary")).textContent = "what the curves are";
        for (const line of told) more.appendChild(document.createElement("div")).textContent = line;
        meaning.remove();
      }
      const host = card.appendChild(document.createElement("div"));
      host.className = "plot";
      box.appendChild(card);
      charts.push({ panel, host, plot: null, zoomed: false });
    }
  });
}

const redraw = () => charts.forEach((chart) => { chart.zoomed = false; drawChart(chart); });

// ---- games

const SVG = "http://www.w3.org/2000/svg";
function element(parent, name, attributes) {
  const made = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function stone(svg, x, y, r, which) {
  element(svg, "circle", { cx: x, cy: y, r, fill: `var(--${which === "X" ? "first" : "second"})`, stroke: "#555", "stroke-width": 0.03 });
}

function drawBoard(game, ply) {
  const host = document.getElementById("board"), cells = game.positions[ply], last = ply ? game.last[ply - 1] : -1;
  host.replaceChildren();
  host.setAttribute("aria-label", `Board after ${ply} moves`);
  if (game.look === "text") {
    host.appendChild(document.createElement("pre")).textContent = cells;
    return;
  }
  const { height: h, width: w } = game, hex = game.look === "hex";
  const svg = element(host, "svg", hex ? { viewBox: `-1.3 -1.3 ${w * 1.732 + h * 0.866 + 1.7} ${h * 1.5 + 2.1}` } : { viewBox: `0 0 ${w} ${h}` });
  const at = (i) => [i % w, Math.floor(i / w)];
  const mark = (x, y, r) => element(svg, "circle", { cx: x, cy: y, r, fill: "none", stroke: "#e5484d", "stroke-width": r / 3 });
  if (hex) {
    const place = (i) => { const [c, r] = at(i); return [c * 1.732 + r * 0.866, r * 1.5]; };
    const corner = (x, y, k, s) => `${x + s * Math.sin((k * Math.PI) / 3)},${y - s * Math.cos((k * Math.PI) / 3)}`;
    const edge = (i, from, to, player) => {
      const [x, y] = place(i), points = [];
      for (let k = from; k <= to; k++) points.push(corner(x, y, k, 1));
      element(svg, "polyline", { points: points.join(" "), fill: "none", stroke: `var(--hex-${player ? "blue" : "red"})`, "stroke-width": 0.28 });
    };
    for (let c = 0; c < w; c++) { edge(c, 5, 7, 0); edge((h - 1) * w + c, 2, 4, 0); }
    for (let r = 0; r < h; r++) { edge(r * w, 4, 5, 1); edge(r * w + w - 1, 1, 2, 1); }
    for (let i = 0; i < h * w; i++) {
      const [x, y] = place(i);
      const points = [0, 1, 2, 3, 4, 5].map((k) => corner(x, y, k, 0.97)).join(" ");
      const fill = cells[i] === "X" ? "var(--hex-red)" : cells[i] === "O" ? "var(--hex-blue)" : "var(--raised)";
      element(svg, "polygon", { points, fill, stroke: "var(--line)", "stroke-width": 0.06 });
    }
    if (last >= 0) element(svg, "circle", { cx: place(last)[0], cy: place(last)[1], r: 0.28, fill: "var(--paper)" });
    return;
  }
  const lines = game.look === "go" || game.look === "gomoku";
  const ground = { discs: "var(--board)", othello: "var(--cloth)", marks: "var(--raised)" }[game.look] || "var(--wood)";
  element(svg, "rect", { x: 0, y: 0, width: w, height: h, fill: ground, rx: game.look === "discs" ? 0.25 : 0.05 });
  if (lines) {
    for (let c = 0; c < w; c++) element(svg, "path", { d: `M${c + 0.5} 0.5V${h - 0.5}`, stroke: "#3b2a12", "stroke-width": 0.03 });
    for (let r = 0; r < h; r++) element(svg, "path", { d: `M0.5 ${r + 0.5}H${w - 0.5}`, stroke: "#3b2a12", "stroke-width": 0.03 });
  } else if (game.look !== "discs") {
    const ink = game.look === "othello" ? "#163f27" : "var(--soft)";
    for (let c = 1; c < w; c++) element(svg, "path", { d: `M${c} 0V${h}`, stroke: ink, "stroke-width": 0.03 });
    for (let r = 1; r < h; r++) element(svg, "path", { d: `M0 ${r}H${w}`, stroke: ink, "stroke-width": 0.03 });
  }
  for (let i = 0; i < h * w; i++) {
    const [x, y] = at(i).map((v) => v + 0.5), what = cells[i];
    if (game.look === "discs") {
      const fill = what === "X" ? "var(--yellow)" : what === "O" ? "var(--red)" : "var(--paper)";
      element(svg, "circle", { cx: x, cy: y, r: 0.4, fill });
    } else if (game.look === "marks") {
      if (what === "X") element(svg, "path", { d: `M${x - 0.25} ${y - 0.25}l.5 .5m0 -.5l-.5 .5`, stroke: "var(--c0)", "stroke-width": 0.1, "stroke-linecap": "round" });
      if (what === "O") element(svg, "circle", { cx: x, cy: y, r: 0.27, fill: "none", stroke: "var(--c1)", "stroke-width": 0.1 });
    } else if (what !== ".") stone(svg, x, y, lines ? 0.46 : 0.42, what);
  }
  if (last >= 0) {
    const [x, y] = at(last).map((v) => v + 0.5);
    if (game.look === "discs") element(svg, "circle", { cx: x, cy: y, r: 0.14, fill: "#fff", stroke: "#333", "stroke-width": 0.04 });
    else mark(x, y, game.look === "marks" ? 0.46 : 0.2);
  }
}

function games() {
  const choice = document.getElementById("game");
  if (!choice) return;
  const slider = document.getElementById("ply"), list = document.getElementById("moves");
  let game, ply = 0, timer = 0;
  data.games.forEach((g, i) => {
    const run = data.runs.length > 1 ? `${data.runs[g.run].name}: ` : "";
    choice.appendChild(new Option(`${run}${g.title}: ${g.first} – ${g.second}, ${g.result}`, i));
  });
  function show(to) {
    ply = Math.max(0, Math.min(game.moves.length, to));
    slider.value = ply;
    drawBoard(game, ply);
    const who = ply === 0 ? "The beginning" : `Move ${ply} of ${game.moves.length}: ${game.moves[ply - 1]}`;
    const random = ply && ply <= game.random_moves ? ", drawn at random for variety" : "";
    const end = ply === game.moves.length ? `. ${game.result[0].toUpperCase()}${game.result.slice(1)}.` : "";
    document.getElementById("said").textContent = who + random + end;
    list.querySelectorAll("button").forEach((b, i) => { if (i + 1 === ply) b.setAttribute("aria-current", "step"); else b.removeAttribute("aria-current"); });
    const now = list.querySelector("[aria-current]");
    if (now) list.scrollTop = now.offsetTop - list.offsetTop - list.clientHeight / 2;
  }
  function stop() { clearInterval(timer); timer = 0; document.querySelector('[data-step="play"]').textContent = "▷"; }
  function choose() {
    stop();
    game = data.games[+choice.value];
    slider.max = game.moves.length;
    const random = game.random_moves ? ` The first ${game.random_moves} moves were drawn at random.` : "";
    document.getElementById("about").textContent = `First: ${game.first}. Second: ${game.second}. ${game.moves.length} moves.${random}`;
    list.replaceChildren(...game.moves.map((name, i) => {
      const item = document.createElement("li"), button = item.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = `${i + 1}. ${name}`;
      button.className = i < game.random_moves ? "random" : "";
      button.addEventListener("click", () => { stop(); show(i + 1); });
      return item;
    }));
    show(game.moves.length);
  }
  const steps = {
    first: () => show(0), back: () => show(ply - 1), on: () => show(ply + 1), last: () => show(game.moves.length),
    play: () => {
      if (timer) return stop();
      if (ply === game.moves.length) show(0);
      document.querySelector('[data-step="play"]').textContent = "❚❚";
      timer = setInterval(() => { show(ply + 1); if (ply === game.moves.length) stop(); }, 600);
    },
  };
  document.querySelectorAll("[data-step]").forEach((b) => b.addEventListener("click", () => { if (b.dataset.step !== "play") stop(); steps[b.dataset.step](); }));
  slider.addEventListener("input", () => { stop(); show(+slider.value); });
  choice.addEventListener("change", choose);
  document.querySelector(".player").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: "back", ArrowRight: "on", Home: "first", End: "last" }[event.key];
    if (!step || event.target.tagName === "SELECT" || event.target.tagName === "INPUT") return;
    event.preventDefault();
    stop();
    steps[step]();
  });
  choose();
}

// ---- the page

const dark = matchMedia("(prefers-color-scheme: dark)");
function theme(name) { root.dataset.theme = name; redraw(); }
document.getElementById("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
const axes = document.getElementById("axis");
data.axes.forEach((a) => { const option = new Option(a.label, a.name); option.title = a.meaning; axes.appendChild(option); });
axes.addEventListener("change", () => { axis = axes.value; redraw(); });
makeCharts();
games();
root.dataset.theme = dark.matches ? "dark" : "light";
redraw();
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; charts.forEach((c) => c.plot.setSize({ width: c.host.clientWidth, height: 230 })); } });
