// Episodes of a Gymnasium environment: the picture, and numbers beside it.

import { $, h, percent, short } from "./dom.js";
import { chart, columns } from "./graph.js";
import { ask } from "./api.js";

const SMALL = 200; // pictures with fewer points a side are enlarged without smoothing

export class Episodes {
  /** What happens to an answer of the server, and to an error. */
  constructor(take, report) {
    this.take = take;
    this.report = report;
    this.returns = [0];
    this.values = [null];
    this.bound = false;
  }

  open(state) {
    this.state = state;
    $("screen-empty").hidden = false;
    if (this.bound) return;
    this.bound = true;
    const send = (change) => ask("POST", `/api/rooms/${this.state.id}/control`, change).then(this.take).catch(this.report);
    $("show-pause").onclick = () => send({ paused: !this.state.paused });
    $("show-step").onclick = () => send({ paused: true, step: true });
    $("show-restart").onclick = () => send({ restart: true });
    $("show-speed").onchange = (event) => send({ speed: Number(event.target.value) });
    $("show-sampled").onchange = (event) => send({ sampled: event.target.checked });
  }

  draw(state) {
    const before = this.state;
    this.state = state;
    $("show-pause").textContent = state.paused ? "Play" : "Pause";
    $("show-step").disabled = !state.paused;
    $("show-sampled").checked = state.sampled;
    $("show-speed").value = String(state.speed);
    $("screen").setAttribute("aria-label", `${state.env}, as ${short(state.agent)} acts in it`);
    const status = state.failure ? `The environment has failed: ${state.failure}` : `${short(state.agent)} acts in ${state.env}`;
    if ($("show-status").textContent !== status) $("show-status").replaceChildren(status);
    const returns = state.episodes.map((episode) => episode.return);
    const mean = returns.length ? returns.reduce((a, b) => a + b, 0) / returns.length : null;
    $("show-mean").textContent = mean === null ? "" : `mean ${number(mean)}`;
    if (!before || before.count !== state.count || !$("show-returns").children.length) {
      columns($("show-returns"), returns);
      const rows = state.episodes.slice(-50).reverse().map((e) => h("li", null, h("span", null, `#${e.number}`), h("span", null, number(e.return)), h("span", null, `${e.length} steps`)));
      $("show-list").replaceChildren(...(rows.length ? rows : [h("li", { class: "muted" }, "None has ended yet.")]));
      if (before && state.count > before.count) $("announce").textContent = `Episode ${state.count} has ended with return ${number(returns.at(-1))}.`;
    }
  }

  async picture(told, blob) {
    if (told.step === 0) {
      this.returns = [0];
      this.values = [null];
    }
    // Steps that were not drawn leave no point.
    this.returns[told.step] = told.return;
    if (told.value !== undefined) this.values[told.step] = told.value;
    $("screen-empty").hidden = true;
    $("screen").hidden = blob === null;
    $("screen-text").hidden = told.text === undefined;
    if (told.text !== undefined) $("screen-text").textContent = told.text.replace(/\u001b\[[0-9;]*m/g, "");
    if (blob) {
      const image = await createImageBitmap(blob);
      const canvas = $("screen");
      if (canvas.width !== image.width || canvas.height !== image.height) {
        canvas.width = image.width;
        canvas.height = image.height;
        canvas.style.aspectRatio = `${image.width} / ${image.height}`;
        canvas.classList.toggle("pixels", Math.max(image.width, image.height) <= SMALL + 60);
      }
      canvas.getContext("2d").drawImage(image, 0, 0);
      image.close();
    }
    $("show-episode").textContent = `#${told.episode}`;
    $("show-return").textContent = number(told.return);
    $("show-steps").textContent = String(told.step);
    if (told.value !== undefined) $("show-value").textContent = number(told.value);
    const known = (list) => list.filter((v) => v !== null && v !== undefined);
    const low = Math.min(0, ...known(this.returns)), high = Math.max(1, ...known(this.returns));
    // Training may have scaled rewards, and the critic discounts them: its curve is stretched to the same height.
    const least = Math.min(0, ...known(this.values)), most = Math.max(0.001, ...known(this.values));
    const values = this.values.map((v) => (v === null || v === undefined ? v : low + ((v - least) / (most - least)) * (high - low)));
    chart($("show-graph"), {
      curves: [{ points: thinned(values), className: "second" }, { points: thinned(this.returns) }],
      low, high, zero: 0, length: Math.max(2, thinned(this.returns).length),
      axis: [{ text: number(high), at: high }],
    });
    this.policy(told);
  }

  policy(told) {
    const host = $("show-policy");
    $("show-policy-card").hidden = told.policy === undefined && told.controls === undefined && !host.children.length;
    if (told.policy) {
      host.replaceChildren(...told.policy.flatMap((p, i) => [
        h("span", { class: i === told.action ? "chosen" : "" }, `action ${i}`), h("i", { "--share": p }), h("span", null, percent(p)),
      ]));
    } else if (told.controls) {
      host.replaceChildren(...told.controls.flatMap((a, i) => {
        const x = Math.max(-1, Math.min(1, a));
        return [h("span", null, `control ${i + 1}`), h("i", { "--from": Math.min(0.5, (x + 1) / 2), "--share": Math.abs(x) / 2 }), h("span", null, a.toFixed(2))];
      }));
    }
  }
}

const number = (x) => (Number.isInteger(x) ? String(x) : Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(2));

/** At most 500 of the points. */
function thinned(points) {
  const step = Math.ceil(points.length / 500);
  const filled = [...points];
  return step === 1 ? filled : filled.filter((_, i) => i % step === 0 || i === filled.length - 1);
}
