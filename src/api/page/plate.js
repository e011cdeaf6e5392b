// The plate from above: bed, objects, head. Y points up on a bed and down in a picture.

import { h, s } from "./dom.js";

/** A bed where none is configured: a usual size around the part. */
function guess(data) {
  const part = data.part || { min: [0, 0], max: [200, 200] };
  const [x0, y0, x1, y1] = [part.min[0], part.min[1], part.max[0], part.max[1]];
  if (x0 < -10 || y0 < -10) {
    const half = Math.ceil(Math.max(10, ...[x0, y0, x1, y1].map(Math.abs)) / 10) * 10;
    return { min: [-half, -half], max: [half, half], guessed: true };
  }
  const size = [180, 220, 256, 300, 350, 400, 500].find((n) => n >= Math.max(x1, y1)) || Math.max(x1, y1);
  return { min: [0, 0], max: [size, size], guessed: true };
}

/**
 * Draws. `out`: the ids that are left out; `tap(object)`: called for one that may still be; `lit`: id of the
 * one to show.
 */
export function draw(data, { out = new Set(), tap = null, position = null } = {}) {
  const bed = data.bed || guess(data);
  let [x0, y0, x1, y1] = [...bed.min, ...bed.max];
  if (data.part) {
    x0 = Math.min(x0, data.part.min[0]); y0 = Math.min(y0, data.part.min[1]);
    x1 = Math.max(x1, data.part.max[0]); y1 = Math.max(y1, data.part.max[1]);
  }
  const unit = Math.max(x1 - x0, y1 - y0) / 100;
  const edge = 2 * unit;
  const fx = (x) => +(x - x0 + edge).toFixed(2);
  const fy = (y) => +(y1 - y + edge).toFixed(2);
  const [width, height] = [x1 - x0 + 2 * edge, y1 - y0 + 2 * edge];
  const left = data.objects.filter((o) => !out.has(o.id)).length;
  const words = data.objects.length
    ? `The plate from above: ${data.objects.length} object${data.objects.length === 1 ? "" : "s"}, ${left} to be printed`
    : "The plate from above";
  const svg = s("svg", { class: "plate", viewBox: `0 0 ${width.toFixed(2)} ${height.toFixed(2)}`, role: "img", "aria-label": words });
  const [bx, by, bw, bh] = [fx(bed.min[0]), fy(bed.max[1]), bed.max[0] - bed.min[0], bed.max[1] - bed.min[1]];
  svg.append(bed.round
    ? s("ellipse", { class: "bed", cx: bx + bw / 2, cy: by + bh / 2, rx: bw / 2, ry: bh / 2, "stroke-width": 0.3 * unit, "stroke-dasharray": bed.guessed ? unit : null })
    : s("rect", { class: "bed", x: bx, y: by, width: bw, height: bh, rx: unit, "stroke-width": 0.3 * unit, "stroke-dasharray": bed.guessed ? unit : null }));
  if (!bed.round) grid(svg, bed, fx, fy, unit);
  const shapes = data.objects.filter((o) => o.polygon.length > 2 || o.bbox);
  if (!shapes.length && data.part) {
    const { min, max } = data.part;
    svg.append(s("rect", { class: "part", x: fx(min[0]), y: fy(max[1]), width: max[0] - min[0], height: max[1] - min[1], "stroke-width": 0.4 * unit }));
  }
  for (const o of shapes) svg.append(shape(o, out, tap, fx, fy, unit));
  if (position && position.x !== null && position.y !== null && position.age_ms < 30000) {
    const [px, py, r] = [fx(position.x), fy(position.y), 1.4 * unit];
    svg.append(s("path", { class: "head", "stroke-width": 0.5 * unit, d: `M${px - 2 * r} ${py}H${px + 2 * r}M${px} ${py - 2 * r}V${py + 2 * r}` }));
  }
  return svg;
}

function grid(svg, bed, fx, fy, unit) {
  const step = Math.max(bed.max[0] - bed.min[0], bed.max[1] - bed.min[1]) > 600 ? 50 : 10;
  for (const heavy of [false, true]) {
    let d = "";
    const lines = (low, high, line) => {
      for (let n = Math.ceil(low / step); n * step <= high; n++) if ((n % 5 === 0) === heavy) d += line(n * step);
    };
    lines(bed.min[0] + 0.1, bed.max[0] - 0.1, (x) => `M${fx(x)} ${fy(bed.min[1])}V${fy(bed.max[1])}`);
    lines(bed.min[1] + 0.1, bed.max[1] - 0.1, (y) => `M${fx(bed.min[0])} ${fy(y)}H${fx(bed.max[0])}`);
    svg.append(s("path", { class: heavy ? "grid heavy" : "grid", d, "stroke-width": 0.16 * unit }));
  }
}

function shape(o, out, tap, fx, fy, unit) {
  const gone = out.has(o.id);
  const box = o.bbox || bounds(o.polygon);
  const points = o.polygon.length > 2 ? o.polygon : [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]];
  const middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const size = Math.max(1.6 * unit, Math.min(4 * unit, (box[2] - box[0]) / 2, (box[3] - box[1]) / 1.5));
  const can = tap && !gone;
  const node = s("g", { class: gone ? "out" : can ? "can" : "", "data-id": o.id, onclick: can ? () => tap(o) : null },
    s("title", {}, o.name),
    s("polygon", { class: "object", points: points.map((p) => `${fx(p[0])},${fy(p[1])}`).join(" "), "stroke-width": 0.4 * unit }));
  if (gone) {
    const d = `M${fx(box[0])} ${fy(box[1])}L${fx(box[2])} ${fy(box[3])}M${fx(box[0])} ${fy(box[3])}L${fx(box[2])} ${fy(box[1])}`;
    node.append(s("path", { class: "cross", d, "stroke-width": 0.3 * unit }));
  }
  node.append(s("text", { x: fx(middle[0]), y: fy(middle[1]), "font-size": size.toFixed(2), "stroke-width": (size / 5).toFixed(2) }, number(o)));
  return node;
}

/** What stands on an object and in the list: people count from 1. */
const number = (o) => o.id + 1;

function bounds(polygon) {
  const xs = polygon.map((p) => p[0]), ys = polygon.map((p) => p[1]);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

/** The same as a list: for keyboards, screen readers, and objects too small to hit. */
export function list(objects, { out = new Set(), tap = null, word = "Leave out", gone = "left out", back = null, picture = () => null } = {}) {
  const lit = (o, on) => {
    const node = picture() && picture().querySelector(`[data-id="${o.id}"]`);
    if (node) node.classList.toggle("lit", on);
  };
  return h("ul", { class: "objects", "aria-label": "Objects on the plate" }, objects.map((o) => {
    const isOut = out.has(o.id);
    const name = h("span", { title: o.name }, `${number(o)} · ${o.name}`);
    const button = isOut
      ? back && h("button", { type: "button", class: "plain", "data-focus": `back${o.id}`, "aria-label": `Print ${o.name} after all`, onclick: () => back(o) }, "Print it")
      : tap && h("button", { type: "button", class: "plain", "data-focus": `out${o.id}`, "aria-label": `${word}: ${o.name}`, onclick: () => tap(o) }, word);
    return h("li", { class: isOut ? "out" : "", onmouseenter: () => lit(o, true), onmouseleave: () => lit(o, false), onfocusin: () => lit(o, true), onfocusout: () => lit(o, false) },
      name, button || (isOut ? h("em", {}, gone) : null));
  }));
}
