// Small line charts: curves over steps, with a line at the step that is looked at.

import { h, s } from "./dom.js";

const W = 1000, H = 300, PAD = 16;

/**
 * `curves`: [{points: [number | null, ...], className, area}]; a null is left out. `low`, `high`: the range drawn.
 * `now`: the index that a line marks. `choose(index)`: a click.
 */
export function chart(host, { curves, low, high, length, zero, now, choose, axis = [] }) {
  const x = (i) => (length > 1 ? PAD + ((W - 2 * PAD) * i) / (length - 1) : W / 2);
  const y = (v) => H - 12 - ((H - 24) * (Math.min(high, Math.max(low, v)) - low)) / (high - low || 1);
  const parts = [s("rect", { class: "frame", width: W, height: H, rx: 10 })];
  const dots = [];
  if (zero !== undefined && zero > low && zero < high) parts.push(s("path", { class: "zero", d: `M0 ${y(zero)}H${W}` }));
  for (const { points, className = "", area } of curves) {
    const known = points.map((v, i) => [i, v]).filter(([, v]) => v !== null && v !== undefined);
    if (!known.length) continue;
    const d = known.map(([i, v], k) => `${k ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("");
    if (area) parts.push(s("path", { class: "area", d: `${d}L${x(known.at(-1)[0]).toFixed(1)} ${y(zero ?? low)}L${x(known[0][0]).toFixed(1)} ${y(zero ?? low)}Z` }));
    parts.push(s("path", { class: `curve ${className}`, d }));
    const shown = now === undefined ? known.at(-1) : known.find(([i]) => i === now);
    if (shown && !className) {
      const dot = h("span", { class: "point" });
      dot.style.left = `${(100 * x(shown[0])) / W}%`;
      dot.style.top = `${(100 * y(shown[1])) / H}%`;
      dots.push(dot);
    }
  }
  if (now !== undefined && length > 1) parts.push(s("path", { class: "now", d: `M${x(now)} 0V${H}` }));
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", "aria-hidden": "true" }, parts);
  if (choose)
    svg.addEventListener("pointerdown", (event) => {
      const pick = ({ clientX }) => {
        const box = svg.getBoundingClientRect();
        const along = (((clientX - box.left) / box.width) * W - PAD) / (W - 2 * PAD);
        choose(Math.max(0, Math.min(length - 1, Math.round(along * (length - 1)))));
      };
      pick(event);
      const up = () => {
        window.removeEventListener("pointermove", pick);
        window.removeEventListener("pointerup", up);
      };
      window.addEventListener("pointermove", pick);
      window.addEventListener("pointerup", up);
    });
  else svg.style.cursor = "default";
  const labels = axis.map(({ text, at }) => {
    const label = h("span", { class: "axis" }, text);
    label.style.top = `calc(${(100 * y(at)) / H}% - ${at === high ? 0 : at === low ? 15 : 8}px)`;
    return label;
  });
  host.replaceChildren(svg, ...dots, ...labels);
}

/** Bars of values, the latest on the right; at most `most` of them. */
export function columns(host, values, most = 60) {
  const shown = values.slice(-most);
  const low = Math.min(0, ...shown), high = Math.max(0, ...shown) || 1;
  const width = W / Math.max(20, shown.length);
  const y = (v) => H - (H * (v - low)) / (high - low || 1);
  const rects = shown.map((v, i) => s("rect", { x: i * width + width * 0.12, y: Math.min(y(v), y(0)), width: width * 0.76, height: Math.max(2, Math.abs(y(v) - y(0))), rx: 3 }, s("title", null, String(v))));
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "frame", width: W, height: H, rx: 10 }), s("g", { class: "bars" }, rects));
  svg.style.cursor = "default";
  host.replaceChildren(svg);
}
