'use strict';
const facts = JSON.parse(document.getElementById('data').textContent);
const words = facts.words;
const at = id => document.getElementById(id);
const put = (id, text) => { const node = at(id); if (node.textContent !== text) node.textContent = text; };
// Messages are translated whole; {names} in them are filled in.
const t = (message, values) =>
  (words[message] || message).replace(/\{(\w+)\}/g, (all, name) => values && name in values ? values[name] : all);
const locale = (navigator.languages || []).find(tag => tag.toLowerCase().split('-')[0] === facts.language) || facts.language;
const whole = new Intl.NumberFormat(locale, {maximumFractionDigits: 0});
const short = new Intl.NumberFormat(locale, {maximumSignificantDigits: 4});
const percent = new Intl.NumberFormat(locale, {style: 'percent', maximumFractionDigits: 1});
const clock = new Intl.DateTimeFormat(locale, {hour: '2-digit', minute: '2-digit', second: '2-digit'});
const hour = new Intl.DateTimeFormat(locale, {hour: '2-digit', minute: '2-digit'});
const number = value => typeof value === 'number' && isFinite(value) ? short.format(value) : '–';
const moment = text => { const date = new Date(text); return isNaN(date) ? '' : clock.format(date); };
const make = (name, text, kind) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};

// ---- verdicts ----
const verdicts = {pass: t('PASS'), reject: t('REJECT'), fault: t('FAULT')};
const wide = /[\u2e80-\u9fff\uff00-\uffef]/;
const ems = text => [...text].reduce((sum, letter) => sum + (wide.test(letter) ? 1.04 : 0.8), 0);
const fault = part => part.verdict === 'fault' ? (facts.faults[part.code] || facts.faults[99]).map(text => words[text] || text) : ['', ''];
const picture = (part, kind) => '/picture/' + encodeURIComponent(part.part_id) + '?kind=' + kind;
const factsOf = part => [
  [t('Part'), part.external_id === null || part.external_id === undefined ? String(part.number) : part.external_id],
  [t('Time'), moment(part.time)],
  [t('Score'), number(part.score)],
  [t('Threshold'), number(part.threshold)],
  [t('Duration'), part.latency_ms === null ? '–' : t('{ms} ms', {ms: whole.format(part.latency_ms)})],
  [t('Recipe'), part.recipe],
];
const list = (id, pairs) => at(id).replaceChildren(...pairs.flatMap(pair => [make('dt', pair[0]), make('dd', pair[1])]));
const altered = (node, name, value) => { if (node.getAttribute(name) !== value) node.setAttribute(name, value); };
const kindOfPicture = () => at('heat').checked ? 'heat' : 'plain';
let shownPart = null;

const showPicture = (image, part, kind) => {
  image.hidden = !part.picture;
  if (!part.picture) { image.removeAttribute('src'); return; }
  altered(image, 'src', picture(part, kind));
  altered(image, 'alt', kind === 'plain' ? t('Picture of part {part}', {part: part.number})
    : t('Picture of part {part} with heat map', {part: part.number}));
};
const showPart = part => {
  shownPart = part;
  const box = at('now');
  const kind = part ? part.verdict : 'none';
  if (!box.classList.contains(kind)) box.className = 'verdict ' + kind;
  const word = part ? verdicts[kind] || kind : '';
  put('word', word);
  at('word').style.setProperty('--ems', Math.max(ems(word), 2));
  const [what, act] = part ? fault(part) : ['', ''];
  put('what', part && kind === 'reject' ? t('The model found something unusual.') : what);
  put('do', act);
  list('facts', part ? factsOf(part) : []);
  put('reason', part && kind !== 'pass' ? part.reason : '');
  at('no-picture').hidden = Boolean(part && part.picture);
  document.body.classList.toggle('blind', Boolean(part && !part.picture && part.verdict !== 'pass'));
  if (part) showPicture(at('picture'), part, kindOfPicture()); else at('picture').hidden = true;
};

// ---- the strip ----
const openPart = part => {
  const title = t('Part {part}: {verdict}', {part: part.number, verdict: verdicts[part.verdict]});
  put('part-title', title);
  showPicture(at('part-picture'), part, kindOfPicture());
  const [what, act] = fault(part);
  put('part-what', what);
  put('part-do', act);
  list('part-facts', factsOf(part));
  put('part-reason', part.reason);
  at('part').showModal();
};
const marks = {reject: '\u2715', fault: '!'};
const tile = part => {
  const item = make('li');
  item.dataset.part = part.part_id + part.picture;
  const button = make('button', undefined, part.verdict);
  button.type = 'button';
  if (part.picture) {
    const image = make('img');
    image.alt = '';
    image.src = picture(part, 'small');
    button.append(image);
  } else button.append(make('span', t('No picture'), 'empty'));
  button.append(make('b', marks[part.verdict] + ' ' + verdicts[part.verdict]));
  button.append(make('small', t('Part {part}, {time}', {part: part.number, time: moment(part.time)})));
  button.addEventListener('click', () => openPart(part));
  item.append(button);
  return item;
};
const showBad = parts => {
  at('no-bad').hidden = parts.length > 0;
  const known = new Map([...at('bad').children].map(item => [item.dataset.part, item]));
  const wanted = parts.map(part => known.get(part.part_id + part.picture) || tile(part));
  const present = [...at('bad').children];
  if (wanted.length === present.length && wanted.every((item, place) => item === present[place])) return;
  const focused = document.activeElement;
  at('bad').replaceChildren(...wanted);
  if (wanted.some(item => item.contains(focused))) focused.focus();
};

// ---- charts ----
const svg = (name, attributes, text) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  return node;
};
const fitted = id => {  // the drawing has as many units as the screen has pixels, so that text keeps its shape
  const box = at(id).getBoundingClientRect();
  const width = Math.max(box.width, 200), height = Math.max(box.height, 120);
  altered(at(id), 'viewBox', '0 0 ' + width + ' ' + height);
  return {width, height, left: 8, right: width - 8, top: 16, bottom: height - 22};
};
const path = points => points.map((point, place) => (place ? 'L' : 'M') + point[0].toFixed(1) + ' ' + point[1].toFixed(1)).join('');
const dot = (x, y, verdict) => {  // shapes as well as colours
  if (verdict === 'pass') return svg('circle', {cx: x, cy: y, r: 3, class: 'dot-pass'});
  if (verdict === 'reject') return svg('rect', {x: x - 4, y: y - 4, width: 8, height: 8, class: 'dot-reject'});
  return svg('path', {d: 'M' + x + ' ' + (y - 6) + 'L' + (x + 6) + ' ' + (y + 5) + 'L' + (x - 6) + ' ' + (y + 5) + 'Z', class: 'dot-fault'});
};
const showScores = (scores, threshold, calibration) => {
  const area = fitted('scores');
  const known = scores.filter(score => typeof score[1] === 'number');
  const edges = calibration ? calibration.edges : [];
  const values = [...known.map(score => score[1]), ...edges, threshold].filter(value => typeof value === 'number');
  const low = Math.min(...values), high = Math.max(...values);
  const span = high - low || 1;
  const y = value => area.bottom - (value - low) / span * (area.bottom - area.top);
  const plot = calibration ? area.right - Math.max(60, area.width * .18) : area.right;
  const x = place => area.left + (place + .5) / 200 * (plot - area.left - 8);
  const nodes = [svg('path', {d: path([[area.left, area.bottom], [area.right, area.bottom]]), class: 'axis'})];
  if (calibration) {
    const most = Math.max(...calibration.counts, 1);
    calibration.counts.forEach((count, place) => {
      const top = y(edges[place + 1]), bottom = y(edges[place]);
      nodes.push(svg('rect', {x: plot, y: top, width: (area.right - plot) * count / most, height: Math.max(bottom - top, 1), class: 'bar'}));
    });
    nodes.push(svg('text', {x: area.right, y: area.height - 6, 'text-anchor': 'end'}, t('calibration')));
  }
  if (typeof threshold === 'number') {
    nodes.push(svg('path', {d: path([[area.left, y(threshold)], [area.right, y(threshold)]]), class: 'threshold'}));
    nodes.push(svg('text', {x: area.left, y: Math.max(y(threshold) - 5, 11)}, t('threshold {value}', {value: number(threshold)})));
  }
  scores.forEach((score, place) => {
    if (typeof score[1] === 'number') nodes.push(dot(x(place), y(score[1]), score[2]));
    else nodes.push(dot(x(place), area.bottom - 6, score[2]));
  });
  nodes.push(svg('text', {x: area.left, y: area.height - 6}, t('older parts left, newest right')));
  at('scores').replaceChildren(...nodes);
  const above = known.filter(score => score[1] > threshold).length;
  put('scores-text', scores.length === 0 ? t('No part yet')
    : t('{count} parts, {above} above the threshold of {value}. Circle: passed, square: rejected, triangle: fault.',
      {count: whole.format(scores.length), above: whole.format(above), value: number(threshold)}));
};
const showRates = rates => {
  const area = fitted('rates');
  const hours = rates.hours;
  const rate = (item, name) => item.parts ? item[name] / item.parts : 0;
  const tops = hours.flatMap((item, place) => [rate(item, 'rejects'), rate(item, 'faults'),
    hours.length > 1 ? Math.min(rates.rejects.limits[place][1], 1) : 0, hours.length > 1 ? Math.min(rates.faults.limits[place][1], 1) : 0]);
  const high = Math.max(...tops, .01);
  const left = area.left + 44;
  const y = value => area.bottom - value / high * (area.bottom - area.top);
  const x = place => hours.length > 1 ? left + 8 + place / (hours.length - 1) * (area.right - left - 24) : (left + area.right) / 2;
  const nodes = [svg('path', {d: path([[left, area.top], [left, area.bottom], [area.right, area.bottom]]), class: 'axis'}),
    svg('text', {x: area.left, y: area.top + 5}, percent.format(high)), svg('text', {x: area.left, y: area.bottom}, percent.format(0))];
  const out = [];
  for (const [name, kind] of [['rejects', 'reject'], ['faults', 'fault']]) {
    const points = hours.map((item, place) => [x(place), y(rate(item, name))]);
    if (points.length > 1) {
      for (const side of [0, 1]) {
        const limit = hours.map((item, place) => [x(place), y(rates[name].limits[place][side])]);
        nodes.push(svg('path', {d: path(limit), class: 'limit of-' + kind}));
      }
      nodes.push(svg('path', {d: path(points), class: 'curve of-' + kind}));
      hours.forEach((item, place) => { if (rate(item, name) > rates[name].limits[place][1]) out.push(hour.format(item.start_s * 1000)); });
    }
    points.forEach(point => nodes.push(dot(point[0], point[1], kind)));
  }
  const step = Math.ceil(hours.length / Math.max(Math.floor(area.width / 80), 1));
  hours.forEach((item, place) => {
    if (place % step === 0) nodes.push(svg('text', {x: x(place), y: area.height - 6, 'text-anchor': 'middle'}, hour.format(item.start_s * 1000)));
  });
  at('rates').replaceChildren(...nodes);
  const now = hours[hours.length - 1];
  const legend = now ? t('This hour: {rejects} rejected, {faults} faults of {parts} parts. Square: rejects, triangle: faults, dotted: limits of what is usual.',
    {rejects: percent.format(rate(now, 'rejects')), faults: percent.format(rate(now, 'faults')), parts: whole.format(now.parts)}) : t('No part yet');
  put('rates-text', out.length ? legend + ' ' + t('More than usual at {hours}.', {hours: [...new Set(out)].join(', ')}) : legend);
};

// ---- the line ----
const cameraWords = {
  live: t('The camera works.'),
  connecting: t('The camera is being connected.'),
  stalled: t('The camera sends no new pictures. Check its power and its cable.'),
  lost: t('The camera cannot be reached. Check its power and its cable.'),
  closed: t('The camera is switched off.'),
};
const stateOf = row => {
  if (row.kind === 'camera') return cameraWords[row.state] || row.state;
  if (row.kind === 'trigger') return row.connected ? t('The trigger works.') : t('The trigger cannot be reached: parts are not seen. Check the PLC or sensor and its cable.');
  return row.connected ? t('Output {name} works.', {name: row.label}) : t('Output {name} cannot be reached: verdicts wait or are lost. Check the receiver and its cable.', {name: row.label});
};
const showLine = rows => at('line').replaceChildren(...rows.map(row => {
  const item = make('li', undefined, row.connected ? 'works' : 'away');
  const label = row.name.slice(row.name.indexOf(' ') + 1);
  item.append(make('b', (row.connected ? '\u2713 ' : '\u2715 ') + stateOf({...row, label})));
  const detail = make('span', label + ': ' + row.detail, 'detail');
  detail.lang = 'en';
  item.append(detail);
  return item;
}));

const noticeWords = {
  hung: t('The inspection hangs. Call maintenance.'),
  ledger: t('The counts of parts do not add up. Call maintenance.'),
  faults: t('Many of the last parts were faults. See which, and what to do about them.'),
  rejects: t('Many of the last parts were rejected. Check the machine.'),
  stuck: t('No part was rejected for a long time. Send a part through that is known to be bad.'),
};

// ---- the whole ----
const states = {
  starting: t('Starting'), running: t('Ready'), paused: t('Paused: no part is judged'), stopping: t('Stopping'), stopped: t('Stopped'),
};
const setState = (kind, text) => {
  if (at('state').className !== 'state ' + kind) at('state').className = 'state ' + kind;
  put('state-word', text);
};
const showRecipes = board => {
  const names = board.recipes || [];
  const select = at('recipe');
  if ([...select.options].map(option => option.value).join('\n') !== names.join('\n')) {
    select.replaceChildren(...names.map(name => { const option = make('option', name); option.value = name; return option; }));
    select.value = board.recipe;
  }
};
const shown = board => {
  put('name', board.station);
  put('recipe-now', t('Recipe {name}, threshold {value}', {name: board.recipe, value: number(board.threshold)}));
  if (board.state === 'paused') setState('paused', states.paused);
  else if (board.ready && board.alarm_kinds.length) setState('alarm', t('Ready, with an alarm'));
  else if (board.ready) setState('good', states.running);
  else setState('bad', board.state === 'running' ? t('Not ready') : states[board.state] || board.state);
  put('pass', whole.format(board.passed));
  put('reject', whole.format(board.rejected));
  put('fault', whole.format(board.faults));
  put('triggers', whole.format(board.triggers));
  showPart(board.shown);
  showBad(board.bad);
  at('new-bad').hidden = !board.unacknowledged || !board.can_change;
  put('new-bad-text', t('{count} not yet acknowledged', {count: whole.format(board.unacknowledged)}));
  showLine(board.counterparts);
  const notices = [...board.obstacles, ...board.alarm_kinds].filter(kind => kind in noticeWords);
  at('notices').replaceChildren(...notices.map(kind => make('li', '! ' + noticeWords[kind])));
  const warnings = [...(board.ready ? [] : board.not_ready), ...board.warnings];
  at('warnings').replaceChildren(...warnings.map(text => make('li', text)));
  showScores(board.scores, board.threshold, board.calibration);
  showRates(board.rates);
  at('control').hidden = !board.can_change;
  at('no-token').hidden = board.can_change;
  showRecipes(board);
  if (recipeError !== null && board.recipe_error && board.recipe_error !== recipeError) say(t('Refused: {why}', {why: board.recipe_error}));
  recipeError = board.recipe_error || '';
  at('pause').hidden = board.state === 'paused';
  at('resume').hidden = board.state !== 'paused';
};
const dressed = () => {
  const wanted = at('theme').value;
  const now = new Date().getHours();
  const night = now >= 20 || now < 6 || matchMedia('(prefers-color-scheme: dark)').matches;
  altered(document.documentElement, 'data-theme', wanted === 'auto' ? (night ? 'dark' : 'light') : wanted);
};
const remember = (name, value) => { try { localStorage.setItem(name, value); } catch (problem) { /* private window */ } };
const remembered = name => { try { return localStorage.getItem(name); } catch (problem) { return null; } };

let last = null, recipeError = null;
const look = async () => {
  try {
    const answer = await fetch('/board', {cache: 'no-store', signal: AbortSignal.timeout(5000)});
    if (!answer.ok) throw new Error(String(answer.status));
    const text = await answer.text();
    if (text !== last) { shown(JSON.parse(text)); last = text; }
  } catch (problem) {
    last = null;
    setState('bad', t('The station does not answer'));
  }
  dressed();
  setTimeout(look, document.hidden ? 5000 : 700);
};

// ---- what can be changed ----
const say = text => put('said', text);
const act = async (where, body) => {
  const operator = at('operator').value.trim(), token = at('token').value.trim();
  if (!operator || !token) { say(t('Enter your name and the token first.')); at(operator ? 'token' : 'operator').focus(); return; }
  remember('ast-edge-operator', operator);
  try {
    const answer = await fetch(where, {
      method: 'POST', headers: {'Content-Type': 'application/json', Authorization: 'Bearer ' + token},
      body: JSON.stringify({...body, operator}), signal: AbortSignal.timeout(8000),
    });
    const found = await answer.json();
    if (answer.ok) say(t('Done.'));
    else if (answer.status === 401 || answer.status === 429) say(t('The token is wrong.'));
    else say(t('Refused: {why}', {why: found.error}));
  } catch (problem) {
    say(t('The station does not answer'));
  }
};
at('change').addEventListener('click', () => act('/recipe', {name: at('recipe').value}));
at('rollback').addEventListener('click', () => act('/rollback', {}));
at('pause').addEventListener('click', () => act('/pause', {}));
at('resume').addEventListener('click', () => act('/resume', {}));
at('acknowledge').addEventListener('click', () => act('/acknowledge', {}));
at('control').addEventListener('submit', event => event.preventDefault());
at('heat').addEventListener('change', () => { if (shownPart) showPart(shownPart); });
at('theme').addEventListener('change', () => { remember('ast-edge-theme', at('theme').value); dressed(); });
addEventListener('resize', () => { last = null; });
at('operator').value = remembered('ast-edge-operator') || '';
at('theme').value = remembered('ast-edge-theme') || 'auto';
if (!at('theme').value) at('theme').value = 'auto';
dressed();
look();
