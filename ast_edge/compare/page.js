const element = id => document.getElementById(id);
const models = ["old", "new"];

function made(parent, name, text, attributes) {
  const one = document.createElement(name);
  if (text !== undefined) one.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) one.setAttribute(key, value);
  parent.append(one);
  return one;
}

// Figures.
element("which").textContent = `Old: ${data.files[0]}. New: ${data.files[1]}. ${data.made}`;
element("headline").textContent = data.headline[0].toUpperCase() + data.headline.slice(1);
for (const text of data.about) made(element("about"), "p", text);
for (const text of data.decisions) made(element("decisions"), "p", text);
for (const text of data.notes) made(element("notes"), "p", text, {class: "soft"});

for (const table of data.tables) {
  const parent = element("tables");
  made(parent, "h2", table.title);
  if (table.rows.length) {
    const scroll = made(parent, "div", undefined, {class: "scroll", role: "region", "aria-label": table.title, tabindex: 0});
    const grid = made(scroll, "table"), head = made(made(grid, "thead"), "tr"), body = made(grid, "tbody");
    table.head.forEach((text, column) => made(head, "th", text, {scope: "col", class: column ? "number" : ""}));
    for (const cells of table.rows) {
      const row = made(body, "tr");
      cells.forEach((text, column) => column ? made(row, "td", text, {class: "number"}) : made(row, "th", text, {scope: "row"}));
    }
  }
  for (const text of table.about) made(parent, "p", text, {class: "soft"});
}

// Changed verdicts.
function stack(parent, pictures, which) {
  const one = made(parent, "span", undefined, {class: "stack"});
  one.style.aspectRatio = `${pictures.width} / ${pictures.height}`;
  one.style.setProperty("--shape", pictures.width / pictures.height);
  made(one, "img", undefined, {src: pictures.photo, alt: ""});
  if (pictures.maps[which]) made(one, "img", undefined, {src: pictures.maps[which], alt: "", class: "map"});
  return one;
}

function verdict(parent, entry, which) {
  const caption = made(parent, "figcaption");
  made(caption, "span", undefined, {class: `swatch ${entry.verdicts[which]}`});
  caption.append(`${models[which]}: ${entry.said[which]}`);
}

const items = data.changed.map((entry, number) => {
  const item = made(element("changed"), "li", undefined, {class: "card"});
  made(item, "h3", entry.name);
  made(item, "p", [entry.change, entry.kind, entry.line].filter(Boolean).join("; "));
  const pair = made(item, "div", undefined, {class: "pair"});
  for (const which of [0, 1]) {
    const figure = made(pair, "figure");
    if (entry.pictures) {
      const button = made(figure, "button", undefined, {type: "button", class: "open", "aria-label": `Enlarge ${entry.name}, ${models[which]} model`});
      stack(button, entry.pictures, which);
      button.addEventListener("click", () => enlarge(number));
    }
    verdict(figure, entry, which);
  }
  if (entry.reason) made(item, "p", entry.reason, {class: "soft"});
  return item;
});

for (const [id, key] of [["change", "change"], ["kind", "kind"]]) {
  for (const value of [...new Set(data.changed.map(entry => entry[key]))].filter(Boolean).sort()) made(element(id), "option", value);
}
element("filters").hidden = element("order").hidden = !items.length;
element("kinds").hidden = !data.changed.some(entry => entry.kind);
element("without").textContent = data.without ? `${data.without} of ${items.length} are listed without pictures, which are kept for those whose score moved furthest.` : "";

function filter() {
  const change = element("change").value, kind = element("kind").value, name = element("name").value.toLowerCase();
  items.forEach((item, number) => {
    const entry = data.changed[number];
    item.hidden = Boolean((change && entry.change !== change) || (kind && entry.kind !== kind) || !entry.name.toLowerCase().includes(name));
  });
  element("shown").textContent = items.length ? `${items.filter(item => !item.hidden).length} of ${items.length} changed verdicts are shown.` : "No verdict changes.";
}
for (const id of ["change", "kind"]) element(id).addEventListener("change", filter);
element("name").addEventListener("input", filter);
filter();  // a browser keeps what was chosen when a page is loaded again

function toggleMaps() {
  const on = document.body.dataset.map !== "on";
  document.body.dataset.map = on ? "on" : "off";
  element("maps").setAttribute("aria-pressed", on);
}
element("maps").addEventListener("click", toggleMaps);

// The large pictures.
const dialog = element("large");
let current = 0;

function enlarge(number) {
  current = number;
  const entry = data.changed[number];
  element("part").textContent = entry.name;
  element("pair").replaceChildren();
  for (const which of [0, 1]) {
    const figure = made(element("pair"), "figure");
    if (entry.pictures) stack(figure, entry.pictures, which);
    verdict(figure, entry, which);
  }
  if (!dialog.open) dialog.showModal();
}

function move(step) {
  let number = current + step;
  while (items[number] && items[number].hidden) number += step;
  if (items[number]) enlarge(number);
}
element("previous").addEventListener("click", () => move(-1));
element("next").addEventListener("click", () => move(1));
element("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("keydown", event => {
  if (event.key.toLowerCase() === "m") toggleMaps();
  else if (event.key === "ArrowLeft") move(-1);
  else if (event.key === "ArrowRight") move(1);
});

// Faults and origin.
if (!data.faults.length) made(element("faults"), "p", "None: both models judged every part.");
else {
  const list = made(element("faults"), "ul");
  for (const [name, why] of data.faults) made(list, "li", `${name}: ${why}`, {class: "file"});
}
if (data.more_faults) made(element("faults"), "p", `And ${data.more_faults} more: --json lists them all.`);
for (const [name, text] of data.origin) {
  const row = made(element("origin"), "tr");
  made(row, "th", name, {scope: "row"});
  made(made(row, "td"), name === "Repeat" ? "code" : "span", text);
}
