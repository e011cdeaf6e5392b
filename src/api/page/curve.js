// Temperatures over the last half hour, as curves.

import { s } from "./dom.js";
import { color, heaters } from "./words.js";
import * as api from "./api.js";

const SPAN = 30 * 60 * 1000;
const STEP = 2000;
/** What is shown at least, so that the first minutes are no dot at the edge. */
const SHORT = [5, 10, 20, 30];
/** A pause in the readings longer than this is a gap in the curve. */
const GAP = 20000;

/** The past of the printers on this page: by id, by heater, a list of `[time, actual, target]`. */
const past = new Map();

/** Fetches what the host remembers. */
export async function load(ids) {
  const said = await api.get("printers/GetTemperatures", { pid: ids.join(",") });
  for (const one of said.data) {
    const end = Date.now() - one.age_ms;
    const tracks = new Map();
    for (const [name, track] of Object.entries(one.heaters)) {
      const count = track.actual.length;
      const points = track.actual.map((actual, n) => [end - (count - 1 - n) * one.every_s * 1000, actual, track.target[n]]);
      tracks.set(name, points.filter((p) => p[1] !== null));
    }
    past.set(one.id, tracks);
  }
}

/** Adds what is known now, at most every few seconds. */
export function note(p, ageOf) {
  const tracks = past.get(p.id) || new Map();
  past.set(p.id, tracks);
  const now = Date.now();
  for (const [name, heat] of Object.entries(p.temps)) {
    const points = tracks.get(name) || [];
    tracks.set(name, points);
    const last = points[points.length - 1];
    if (ageOf(heat) > GAP || (last && now - last[0] < STEP - 200)) continue;
    points.push([now, heat.actual, heat.target]);
    while (points.length && points[0][0] < now - SPAN) points.shift();
  }
}

/** Draws the curves of a printer, `room` pixels wide. Small ones have no scale. */
export function draw(p, big, room) {
  const tracks = past.get(p.id) || new Map();
  const width = Math.max(240, Math.round(room) || 600);
  const height = big ? Math.round(Math.min(220, 110 + width / 6)) : 56;
  const [left, bottom, top] = big ? [36, 22, 8] : [0, 2, 4];
  const now = Date.now();
  const names = heaters(Object.fromEntries(tracks)).filter((n) => tracks.get(n).length);
  const all = names.flatMap((n) => tracks.get(n)).flatMap((pt) => [pt[1], pt[2] || 0]);
  const oldest = Math.min(now, ...names.map((n) => tracks.get(n)[0][0]));
  const minutes = SHORT.find((m) => oldest >= now - m * 60000) || 30;
  const span = minutes * 60000;
  const highest = Math.max(60, ...all) * 1.06;
  const step = highest > 160 ? 100 : highest > 80 ? 50 : 20;
  const x = (t) => left + ((t - (now - span)) / span) * (width - left);
  const y = (v) => height - bottom - (Math.max(0, v) / highest) * (height - bottom - top);
  const svg = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", preserveAspectRatio: big ? null : "none" });
  if (big) {
    for (let v = 0; v <= highest; v += step) {
      svg.append(s("line", { x1: left, x2: width, y1: y(v), y2: y(v) }));
      svg.append(s("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, v));
    }
    for (const part of [1, 0.5, 0]) {
      const label = part ? `−${minutes * part} min` : "now";
      svg.append(s("text", { x: x(now - part * span), y: height - 4, "text-anchor": part === 1 ? "start" : part ? "middle" : "end" }, label));
    }
  }
  if (!big) svg.append(s("line", { x1: 0, x2: width, y1: height - 1, y2: height - 1 }));
  for (const name of names) {
    const points = tracks.get(name).filter((pt) => pt[0] >= now - span);
    const stroke = { stroke: `var(${color(name)})` };
    const target = path(points.map((pt) => [pt[0], pt[2] || null]), x, y);
    if (target && big) svg.append(s("path", { class: "target", d: target, css: stroke }));
    const actual = path(points, x, y);
    if (actual) svg.append(s("path", { d: actual, css: stroke }));
  }
  return svg;
}

function path(points, x, y) {
  let out = "", last = null;
  for (const [t, v] of points) {
    if (v === null || v === undefined) { last = null; continue; }
    out += `${last !== null && t - last < GAP ? "L" : "M"}${x(t).toFixed(1)} ${y(v).toFixed(1)}`;
    last = t;
  }
  return out;
}
