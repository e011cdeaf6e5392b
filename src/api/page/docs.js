// The routes of this host, read from its own OpenAPI document.

import { h, text } from "./dom.js";

const main = document.getElementById("main");

/** A schema in a few words. */
function words(schema) {
  if (!schema || !Object.keys(schema).length) return "anything";
  if (schema.oneOf) return schema.oneOf.map(words).join(" or ");
  if (schema.enum) return schema.enum.map((w) => JSON.stringify(w)).join(", ");
  if (schema.type === "array") return `list of ${words(schema.items)}${limits(schema.minItems, schema.maxItems, "entries")}`;
  if (schema.format === "binary") return "file";
  if (schema.type === "integer") return `number${limits(schema.minimum, schema.maximum, "")}`;
  if (schema.type === "string") return `text${limits(schema.minLength, schema.maxLength, "characters")}${schema.pattern ? ` like ${schema.pattern}` : ""}`;
  return schema.type || "anything";
}

function limits(least, most, of) {
  const known = [least, most].filter((n) => n !== undefined && Math.abs(n) < 2 ** 53);
  if (!known.length) return "";
  const span = known.length === 2 ? `${least} to ${most}` : least !== undefined ? `from ${least}` : `at most ${most}`;
  return ` (${span}${of ? ` ${of}` : ""})`;
}

/** Something that fits, for the example. */
function sample(name, schema) {
  if (name === "pid") return 1;
  if (schema.enum) return schema.enum[0];
  if (schema.oneOf) return sample(name, schema.oneOf[0]);
  if (schema.type === "array") return [sample("", schema.items || {})];
  if (schema.type === "integer") return schema.minimum || 0;
  if (schema.type === "boolean") return true;
  if (schema.type === "object") return {};
  return "…";
}

function curl(method, path, operation, parameters, body) {
  const query = parameters.filter((p) => p.in === "query" && p.required).map((p) => `${p.name}=${sample(p.name, p.schema)}`);
  const parts = ["curl"];
  if (operation.security.length) parts.push("-H 'X-API-KEY: KEY'");
  if (body && body.kind === "application/json") {
    const members = Object.entries(body.schema.properties).filter(([n]) => body.required.includes(n));
    const json = Object.fromEntries(members.map(([n, s]) => [n, sample(n, s)]));
    parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(json)}'`);
  } else if (body) {
    parts.push("-F file=@part.gcode");
  } else if (method === "post") {
    parts.push("-X POST");
  }
  parts.push(`'${location.origin}${path}${query.length ? `?${query.join("&")}` : ""}'`);
  return parts.join(" ");
}

function carried(operation) {
  if (!operation.requestBody) return null;
  const [kind, content] = Object.entries(operation.requestBody.content)[0];
  // Where it may be several things, the first of them is shown.
  const schema = content.schema.oneOf?.[0] || content.schema;
  return { kind, schema, required: schema.required || [] };
}

function table(caption, rows) {
  if (!rows.length) return null;
  const row = ([name, schema, needed]) => h("tr", {},
    h("td", {}, h("code", {}, name)), h("td", {}, words(schema)), h("td", { class: "quiet" }, needed ? "required" : ""));
  return h("table", { class: "routes-table" }, h("caption", {}, caption), h("tbody", {}, rows.map(row)));
}

function route(method, path, operation) {
  const body = carried(operation);
  const parameters = operation.parameters || [];
  const inBody = body ? Object.entries(body.schema.properties).map(([n, s]) => [n, s, body.required.includes(n)]) : [];
  const answers = Object.entries(operation.responses).filter(([status]) => status !== "default");
  const kinds = answers.map(([status, a]) => `${status}: ${Object.keys(a.content || {}).join(", ") || "no content"}`);
  return h("details", { class: "card route", "data-find": `${method} ${path} ${operation.summary}`.toLowerCase() },
    h("summary", {}, h("code", {}, h("b", {}, method.toUpperCase()), ` ${path}`), h("span", {}, operation.summary),
      h("span", { class: "quiet small" }, operation["x-scope"] ? `scope ${operation["x-scope"]}` : "no key needed")),
    table("In the address", parameters.map((p) => [p.name, p.schema, p.required])),
    table(body && body.kind === "application/json" ? "In the body (JSON)" : "In the form", inBody),
    h("p", { class: "small quiet" }, `Answers ${kinds.join("; ")}`),
    h("pre", { class: "example", tabindex: 0, "aria-label": "Example" }, curl(method, path, operation, parameters, body)));
}

async function begin() {
  const answer = await fetch("/openapi.json", { cache: "no-store" });
  const document_ = await answer.json();
  const routes = Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => route(method, path, operation)));
  const count = h("p", { class: "small quiet", role: "status" });
  const find = h("input", { type: "search", id: "find", autocomplete: "off", placeholder: "pause, files, webhooks …", oninput: () => filter() });
  function filter() {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let seen = 0;
    for (const node of routes) {
      node.hidden = !wanted.every((w) => node.dataset.find.includes(w));
      if (!node.hidden) seen++;
    }
    text(count, `${seen} of ${routes.length} routes`);
  }
  filter();
  main.replaceChildren(h("h1", {}, "The API of this host"), h("p", { class: "quiet" }, document_.info.description),
    h("label", { class: "field" }, "Find a route", find), count, h("div", { class: "routes" }, routes));
}

begin().catch(() => main.replaceChildren(h("p", { class: "empty" }, "The document cannot be read: the host cannot be reached.")));
