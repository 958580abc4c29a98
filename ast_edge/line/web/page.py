"""The operator's page: one file, no resources from anywhere, every text set as text."""

from __future__ import annotations

import base64
import hashlib

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.3rem; margin: 0 0 .5rem; }
#state { padding: .4rem .8rem; border-radius: .4rem; font-weight: 600; }
.good { background: #2ea054; color: #fff; }
.bad { background: #de2c3e; color: #fff; }
.alarm { background: #a35f00; color: #fff; }
.counts { display: flex; gap: 1rem; margin: 1rem 0; flex-wrap: wrap; }
.counts div { flex: 1; min-width: 7rem; border: 1px solid #8886; border-radius: .4rem; padding: .6rem; }
.counts b { display: block; font-size: 2rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
td, th { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
.pass { color: #2ea054; } .reject { color: #de2c3e; } .fault { color: #c07800; }
"""

_SCRIPT = """
const put = (id, text) => { document.getElementById(id).textContent = text; };
const rows = (id, list, cells) => {
  const body = document.getElementById(id);
  body.replaceChildren(...list.map(item => {
    const row = document.createElement('tr');
    for (const [text, kind] of cells(item)) {
      const cell = document.createElement('td');
      cell.textContent = text;
      if (kind) cell.className = kind;
      row.append(cell);
    }
    return row;
  }));
};
const shown = s => {
  put('name', s.station + ', run ' + s.run);
  const good = s.ready;
  const state = document.getElementById('state');
  const ready = s.alarms.length ? 'ready, but ' + s.alarms.join('; ') : 'ready';
  state.textContent = good ? ready : 'not ready: ' + s.not_ready.join('; ');
  state.className = !good ? 'bad' : s.alarms.length ? 'alarm' : 'good';
  for (const v of ['pass', 'reject', 'fault']) put(v, s.verdicts[v] || 0);
  put('triggers', s.triggers);
  put('recipe', s.recipe + ', threshold ' + s.threshold);
  rows('warnings', s.warnings, w => [[w]]);
  rows('parts', s.last_parts, p => [[p.part_id], [p.verdict, p.verdict],
    [p.score === null ? '' : p.score.toPrecision(6)], [p.latency_ms + ' ms'], [p.reason]]);
  rows('counterparts', s.counterparts, c => [[c.name],
    [c.connected ? 'connected' : 'away', c.connected ? 'pass' : 'reject'], [c.detail]]);
};
const look = async () => {
  try {
    const answer = await fetch('/status', {cache: 'no-store'});
    shown(await answer.json());
  } catch (problem) {
    const state = document.getElementById('state');
    state.textContent = 'the station does not answer';
    state.className = 'bad';
  }
  setTimeout(look, 1000);
};
look();
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>ast-edge</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<h1 id="name">ast-edge</h1>
<p><span id="state">asking the station</span></p>
<div class="counts">
<div class="pass"><b id="pass">-</b>passed</div>
<div class="reject"><b id="reject">-</b>rejected</div>
<div class="fault"><b id="fault">-</b>faults</div>
<div><b id="triggers">-</b>parts</div>
</div>
<p>Recipe: <span id="recipe">-</span></p>
<table><tbody id="warnings"></tbody></table>
<table><thead><tr><th>camera, trigger, outputs</th><th></th><th></th></tr></thead>
<tbody id="counterparts"></tbody></table>
<table><thead><tr><th>part</th><th>verdict</th><th>score</th><th>time</th><th>reason</th></tr></thead>
<tbody id="parts"></tbody></table>
<script>{_SCRIPT}</script>
</body>
</html>
"""
