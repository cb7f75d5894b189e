"use strict";
// Search, sorting and opening of cells. All text goes in as text, never as markup.

const data = JSON.parse(document.getElementById("records").textContent);
const search = document.getElementById("search");
const count = data.rows.length;

// -- search ------------------------------------------------------------------------------------------------------------

let texts; // one for each Record, made when first needed: a line for each field

function textOf(at) {
  const fields = ["row=" + data.rows[at]];
  for (const [name, values] of Object.entries(data.columns)) {
    if (values[at] !== null) fields.push(name + "=" + words(values[at]));
  }
  return ("\n" + fields.join("\n") + "\n").toLowerCase();
}

function words(value) {
  return Array.isArray(value) ? "[" + value.join(", ") + "]" : String(value);
}

// What must be found: fields between double quotes, whole, and words anywhere.
function wanted(query) {
  const found = [];
  for (const [, field, word] of query.toLowerCase().matchAll(/"([^"]*)"?|(\S+)/g)) {
    if (word) found.push(word);
    else if (field) found.push("\n" + field + "\n");
  }
  return found;
}

function filter() {
  const needles = wanted(search.value);
  texts ??= data.rows.map((_, at) => textOf(at));
  const matches = texts.map((text) => needles.every((needle) => text.includes(needle)));
  const parts = [...document.querySelectorAll(".part")];
  const shown = parts.filter((part) => filterPart(part, matches)).length;
  filterCells(matches);
  filterHoles(needles);
  const cells = matches.filter(Boolean).length;
  document.getElementById("found").textContent = needles.length
    ? `${cells.toLocaleString("en")} of ${count.toLocaleString("en")} cells, ${shown} of ${parts.length} tables`
    : "";
}

// A row stays while one of its Records is found, a section while one of its rows is.
function filterPart(part, matches) {
  const names = new Set();
  for (const row of part.querySelectorAll("tr[data-cells]")) {
    row.hidden = !row.dataset.cells.split(" ").some((at) => matches[at]);
    if (!row.hidden) names.add(row.dataset.name);
  }
  for (const drawn of part.querySelectorAll("svg [data-name]")) {
    drawn.classList.toggle("faint", !names.has(drawn.dataset.name));
  }
  part.hidden = names.size === 0;
  return !part.hidden;
}

function filterCells(matches) {
  for (const row of document.querySelectorAll("tr[data-at]")) {
    row.hidden = !matches[row.dataset.at];
    if (row.nextElementSibling?.classList.contains("detail")) {
      row.nextElementSibling.hidden = row.hidden || !isOpen(row);
    }
  }
}

function filterHoles(needles) {
  for (const line of document.querySelectorAll(".holes li")) {
    const text = line.textContent.toLowerCase();
    line.hidden = !needles.every((needle) => text.includes(needle.trim()));
  }
}

function look(query) {
  search.value = query;
  filter();
}

// -- sorting -------------------------------------------------------------------------------------------------------------

const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

// Rows go by the numbers of a column if it has any, else by its text; what has neither comes last. A third press restores the order.
function sort(head) {
  const table = head.closest("table");
  const order = NEXT[head.getAttribute("aria-sort")];
  for (const other of head.parentElement.children) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", order);
  const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("detail"));
  rows.forEach((row, at) => (row.dataset.order ??= at));
  const details = new Map(rows.map((row) => [row, detailOf(row)]));
  const values = new Map(rows.map((row) => [row, order === "none" ? Number(row.dataset.order) : valueOf(row.cells[head.cellIndex])]));
  rows.sort((one, other) => compare(values.get(one), values.get(other), order === "descending" ? -1 : 1));
  table.tBodies[0].append(...rows.flatMap((row) => (details.get(row) ? [row, details.get(row)] : [row])));
}

function valueOf(cell) {
  if (cell.classList.contains("nothing")) return null;
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
}

function compare(one, other, way) {
  if (one === null || other === null) return (one === null) - (other === null);
  return way * (typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true }));
}

// -- cells ---------------------------------------------------------------------------------------------------------------

function isOpen(row) {
  return row.querySelector(".open").getAttribute("aria-expanded") === "true";
}

function detailOf(row) {
  const next = row.nextElementSibling;
  return next?.classList.contains("detail") ? next : null;
}

function toggle(row) {
  const open = !isOpen(row);
  row.querySelector(".open").setAttribute("aria-expanded", String(open));
  const detail = detailOf(row) ?? (open ? row.parentElement.insertBefore(made(row), row.nextSibling) : null);
  if (detail) detail.hidden = !open;
}

// Everything that a Record holds, by section; a section without values is left out.
function made(row) {
  const detail = node("tr", "detail");
  const cell = detail.appendChild(node("td"));
  cell.colSpan = row.cells.length;
  const frame = cell.appendChild(node("div", "frame"));
  for (const { title, columns } of data.sections) {
    const known = columns.filter((name) => data.columns[name][row.dataset.at] !== null);
    if (!known.length) continue;
    const section = frame.appendChild(node("section"));
    section.append(node("h3", "", title));
    const list = section.appendChild(node("dl"));
    for (const name of known) list.append(node("dt", "", name), node("dd", "", words(data.columns[name][row.dataset.at])));
  }
  return detail;
}

function node(name, classes = "", text = "") {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.textContent = text;
  return made;
}

// -- events --------------------------------------------------------------------------------------------------------------

search.addEventListener("input", filter);
search.form.addEventListener("submit", (event) => event.preventDefault());

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.parentElement.matches("thead th")) sort(button.parentElement);
  else if (button.classList.contains("open")) toggle(button.closest("tr"));
  else if (button.classList.contains("find")) {
    look(button.dataset.query);
    document.getElementById("cells").scrollIntoView();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== search && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key === "Escape" && search.value) look("");
});
