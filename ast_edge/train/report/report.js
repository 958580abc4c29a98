"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = id => document.getElementById(id);

// The same rounding as in the report's tables, in whole numbers: the half goes up.
function share(count, total) {
  if (!total) return "no such parts";
  const tenths = Math.floor((2000 * count + total) / (2 * total));
  return `${count} of ${total} (${Math.floor(tenths / 10)}.${tenths % 10} %)`;
}

// Another threshold.
const [low, high, logarithmic] = data.axis;
const place = score => logarithmic ? Math.log(score / low) / Math.log(high / low) : (score - low) / (high - low);
const at = x => logarithmic ? low * Math.pow(high / low, x) : low + x * (high - low);
const kinds = [...new Set(data.parts.map(part => part[0]).concat(data.faults))].sort();
const isGood = kind => kind === data.good, isBad = kind => kind !== data.good;

function counted(chosen, threshold) {
  const scores = data.parts.filter(part => chosen(part[0])).map(part => part[1]);
  const passed = scores.filter(score => score <= threshold).length;
  return [passed, scores.length + data.faults.filter(chosen).length];
}

function show(threshold) {
  const x = 100 * place(threshold), shipped = threshold === data.threshold;
  for (const end of ["x1", "x2"]) element("line").setAttribute(end, x);
  const text = shipped ? threshold.toPrecision(6) : String(threshold);
  element("threshold").textContent = text;
  element("slider").value = Math.round(10 * x);
  element("slider").setAttribute("aria-valuetext", text);
  const [escapes, bad] = counted(isBad, threshold), [passed, good] = counted(isGood, threshold);
  element("escapes").textContent = share(escapes, bad);
  element("false-rejects").textContent = share(good - passed, good);
  element("kinds").replaceChildren(...kinds.filter(isBad).map(kind => {
    const row = document.createElement("tr"), name = document.createElement("td"), value = document.createElement("td");
    name.textContent = `Escapes, ${kind}`;
    value.textContent = share(...counted(other => other === kind, threshold));
    value.className = "number";
    row.append(name, value);
    return row;
  }));
  const dot = element("roc-dot");
  if (dot && good && bad) { dot.setAttribute("cx", 100 * (good - passed) / good); dot.setAttribute("cy", 100 * escapes / bad); }
  element("apply").textContent = shipped ? "" : `${data.apply} ${text}`;
  element("applying").hidden = shipped;
  element("copied").textContent = "";
}

// What is applied is what is shown: six digits.
const rounded = threshold => Number(threshold.toPrecision(6));
element("slider").addEventListener("input", event => show(rounded(at(event.target.value / 1000))));
element("reset").addEventListener("click", () => show(data.threshold));
element("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(element("apply").textContent);
    element("copied").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(element("apply"));
    element("copied").textContent = "Selected: copy it with Ctrl-C.";
  }
});
const asked = Number(new URLSearchParams(location.hash.slice(1)).get("threshold"));
show(location.hash && Number.isFinite(asked) && (asked > 0 || !logarithmic) ? asked : data.threshold);

// The list of parts.
const body = document.querySelector("#parts tbody"), rows = [...body.rows];

function filter() {
  const verdict = element("verdict").value, kind = element("kind").value, name = element("name").value.toLowerCase();
  const wrong = element("wrong").checked, differs = element("differs")?.checked;
  for (const row of rows) {
    const part = row.dataset;
    row.hidden = Boolean(
      (verdict && part.verdict !== verdict) || (kind && part.kind !== kind) || !part.name.toLowerCase().includes(name)
      || (wrong && !("wrong" in part)) || (differs && !("differs" in part)));
  }
  element("shown").textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} parts are shown.`;
}

function compare(key, one, other) {
  if (!key.startsWith("score") && key !== "times") return one.localeCompare(other, "en", {numeric: true});
  return (one === "" ? Infinity : Number(one)) - (other === "" ? Infinity : Number(other)) || 0;
}

function sort(button) {
  const head = button.closest("th"), key = button.dataset.key;
  const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of document.querySelectorAll("#parts th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  body.append(...rows.sort((one, other) => sign * compare(key, one.dataset[key], other.dataset[key])));
}

for (const id of ["verdict", "kind", "wrong", "differs"]) element(id)?.addEventListener("change", filter);
element("name").addEventListener("input", filter);
for (const button of document.querySelectorAll("#parts th button")) button.addEventListener("click", () => sort(button));
element("all").addEventListener("click", () => {
  for (const id of ["verdict", "kind", "name"]) element(id).value = "";
  for (const id of ["wrong", "differs"]) if (element(id)) element(id).checked = false;
  filter();
});
filter();  // a browser keeps what was chosen when a page is loaded again

// Maps on and off, in the list and in the large picture.
function setMap(which) {
  document.body.dataset.map = which;
  element("maps").value = which;
  for (const choice of document.querySelectorAll("input[name=map]")) choice.checked = choice.value === which;
}
element("maps").addEventListener("change", event => setMap(event.target.value));
for (const choice of document.querySelectorAll("input[name=map]")) choice.addEventListener("change", () => setMap(choice.value));
let last = "0";  // the map that M brings back

// The large picture.
const dialog = element("large");
let current = rows[0];

function enlarge(row) {
  current = row;
  const stack = row.querySelector(".stack");
  const large = element("stack");
  large.replaceChildren();
  if (stack) {
    large.append(...stack.cloneNode(true).children);
    large.style.aspectRatio = stack.style.aspectRatio;
    large.style.setProperty("--shape", stack.dataset.shape);
    large.firstElementChild.alt = row.dataset.name;
  }
  element("part").textContent = row.dataset.name;
  element("what").textContent = row.dataset.said;
  if (!dialog.open) dialog.showModal();
}

function move(step) {
  const visible = [...body.rows].filter(row => !row.hidden || row === current);
  const next = visible[visible.indexOf(current) + step];
  if (next) enlarge(next);
}

for (const button of document.querySelectorAll("button.open")) {
  const row = rows.find(other => other.dataset.number === button.dataset.number);
  button.addEventListener("click", () => enlarge(row));
}
element("previous").addEventListener("click", () => move(-1));
element("next").addEventListener("click", () => move(1));
element("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("keydown", event => {
  if (event.key.toLowerCase() === "m") {
    const now = document.body.dataset.map;
    if (now) last = now;
    setMap(now ? "" : last);
  } else if (event.target.type !== "radio" && event.key === "ArrowLeft") move(-1);
  else if (event.target.type !== "radio" && event.key === "ArrowRight") move(1);
});
