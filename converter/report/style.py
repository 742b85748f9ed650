"""The style sheet of the page: light and dark, wide and narrow, screen and paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #faf9f6; --card: #ffffff; --ink: #20242b; --quiet: #596170; --line: #e2dfd7;
  --link: #2b5c8c; --mark: #3d6f9e; --alarm: #8f2d24; --alarm-paper: #fbeeea;
  --numbers: #d5d8de; --table: #bcd5ec; --norm: #93a9c4; --attention: #b5dccf;
  --feed: #d4e7bb; --even: #f3dfb1; --odd: #ead09a; --unread: #e8c4bd;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1b1f25; --ink: #e7e9ec; --quiet: #a4adba; --line: #313740;
    --link: #8fbfe9; --mark: #7fb2de; --alarm: #f0a79d; --alarm-paper: #33201e;
    --numbers: #414852; --table: #274b6e; --norm: #5b7391; --attention: #1f594c;
    --feed: #40591f; --even: #594516; --odd: #6d561f; --unread: #6e342c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
.page { max-width: 72rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: .25rem 0 .75rem; overflow-wrap: anywhere;
  letter-spacing: -.015em; font-weight: 650; }
h2 { font-size: 1.2rem; margin: 3rem 0 .5rem; font-weight: 650; letter-spacing: -.005em; }
h3 { font-size: .95rem; margin: 0 0 .4rem; font-weight: 650; }
p { margin: 0 0 .75rem; max-width: 46rem; }
a { color: var(--link); }
.kind { color: var(--quiet); font-size: .95rem; margin: 0; }
.lede { font-size: 1.15rem; }
.quiet { color: var(--quiet); font-size: .9rem; }
code, .path, .command { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas,
  "DejaVu Sans Mono", monospace; font-size: .86em; }
.error { background: var(--alarm-paper); border-left: 4px solid var(--alarm); padding: 1rem 1.25rem;
  border-radius: 4px; margin: 1.25rem 0; overflow-wrap: anywhere; }
.error strong { color: var(--alarm); }
.error p:last-child { margin: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 1px;
  margin: 1.75rem 0 0; padding: 0; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; overflow: hidden; }
.figures div { box-shadow: 1px 1px 0 var(--line); padding: .8rem 1rem; }
.figures dt { color: var(--quiet); font-size: .82rem; }
.figures dd { margin: 0; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums;
  letter-spacing: -.01em; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 1rem 1.25rem; }
figure { margin: .75rem 0 0; }
svg { display: block; }
.map text { font-size: 12.5px; fill: var(--ink); }
.map rect { stroke: var(--card); stroke-width: 1; }
.funnel { fill: var(--line); opacity: .55; }
.numbers { fill: var(--numbers); } .table { fill: var(--table); } .norm { fill: var(--norm); }
.attention { fill: var(--attention); }
.layer { fill: color-mix(in srgb, var(--attention), var(--feed)); } .feed { fill: var(--feed); }
.even { fill: var(--even); } .odd { fill: var(--odd); } .unread { fill: var(--unread); }
.legend { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr));
  gap: .3rem 2rem; list-style: none; margin: 1rem 0 0; padding: 0; font-size: .9rem; }
.legend li { display: flex; gap: .6rem; align-items: baseline; }
.legend svg { flex: none; width: .8rem; height: .8rem; align-self: flex-start; margin-top: .36rem; }
.legend span { flex: 1; }
.legend small { color: var(--quiet); font-size: 1em; font-variant-numeric: tabular-nums; }
.steps { margin: .75rem 0 0; padding: 0; list-style: none; display: grid; gap: .9rem; }
.steps p { margin: 0 0 .25rem; }
.command { display: block; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere;
  user-select: all; -webkit-user-select: all; }
.command span { white-space: nowrap; }
.notes { margin: .5rem 0 0; padding-left: 1.2rem; max-width: 46rem; }
.notes li { margin-bottom: .4rem; }
.cards { columns: 22rem 2; column-gap: 1.25rem; margin-top: .75rem; }
.cards .card { break-inside: avoid; margin-bottom: 1.25rem; }
table { border-collapse: collapse; width: 100%; }
.facts th { text-align: left; font-weight: 400; padding: .38rem 1rem .38rem 0;
  vertical-align: top; }
.facts td { text-align: right; padding: .38rem 0; vertical-align: top; font-weight: 550;
  font-variant-numeric: tabular-nums; }
.facts:not(.long) td:not(.list) { white-space: nowrap; }
.facts tr + tr { border-top: 1px solid var(--line); }
.facts small { display: block; color: var(--quiet); font-size: .8rem; line-height: 1.35; }
.facts.long td { text-align: left; font-weight: 400; width: 75%; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.tensors { font-size: .83rem; font-variant-numeric: tabular-nums; }
.tensors th { color: var(--quiet); font-weight: 500; text-align: right; padding: .3rem .6rem;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
.tensors td { text-align: right; padding: .3rem .6rem; white-space: nowrap; }
.tensors tr + tr td { border-top: 1px solid var(--line); }
.tensors th:first-child, .tensors td:first-child { text-align: left; padding-left: 0; }
.tensors th:last-child, .tensors td:last-child { padding-right: 0; }
.tensors th.left { text-align: left; }
.tensors .path { font-size: .95em; }
.alarm { color: var(--alarm); font-weight: 600; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  margin-top: .6rem; }
summary { cursor: pointer; padding: .6rem 1.25rem; font-weight: 550; }
summary small { color: var(--quiet); font-weight: 400; font-size: .87rem; margin-left: .5rem; }
details > :not(summary) { margin: 0 1.25rem 1rem; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 4px; }
.histogram { width: 110px; height: 26px; }
.bars { fill: var(--mark); }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr));
  gap: 1.25rem 1.75rem; margin-top: .75rem; }
.panels .path { margin: 0; font-size: .85rem; }
.panels svg { width: 100%; height: 56px; border-bottom: 1px solid var(--line); }
.panels .quiet { margin: .2rem 0 0; font-size: .8rem; font-variant-numeric: tabular-nums; }
.plot { display: grid; grid-template-columns: auto 1fr; gap: 0 .75rem; }
.plot svg { width: 100%; height: 180px; border: solid var(--line); border-width: 0 0 1px 1px;
  overflow: visible; }
.plot .line { fill: none; stroke: var(--mark); stroke-width: 2; stroke-linejoin: round; }
.plot .dots { fill: none; stroke: var(--mark); stroke-width: 7; stroke-linecap: round; }
.axis { display: flex; justify-content: space-between; color: var(--quiet); font-size: .8rem;
  font-variant-numeric: tabular-nums; }
.axis.y { flex-direction: column; text-align: right; }
.axis.x { grid-column: 2; padding-top: .3rem; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media (max-width: 40rem) {
  .page { padding: 1.75rem 1rem 3rem; }
  h1 { font-size: 1.5rem; }
  .lede { font-size: 1.05rem; }
  .figures { grid-template-columns: 1fr 1fr; }
  .figures dd { font-size: 1.1rem; }
  .map .wide { display: none; }
  .card { padding: .85rem 1rem; }
  summary { padding: .6rem 1rem; }
  details > :not(summary) { margin: 0 1rem 1rem; }
  .panels { grid-template-columns: 1fr 1fr; }
}
@media print {
  :root {
    --paper: #fff; --card: #fff; --ink: #111; --quiet: #4b5260; --line: #cfccc4;
    --link: #111; --mark: #3d6f9e; --alarm: #8f2d24; --alarm-paper: #fff;
    --numbers: #d5d8de; --table: #bcd5ec; --norm: #93a9c4; --attention: #b5dccf;
    --feed: #d4e7bb; --even: #f3dfb1; --odd: #ead09a; --unread: #e8c4bd;
  }
  html { font-size: 12px; }
  body { font-size: 9.5pt; }
  .page { padding: 0 1px; max-width: none; }
  .cards { columns: 2 auto; }
  .cards .card { break-inside: auto; padding: .8rem 1rem; }
  .facts small { font-size: 7pt; }
  details { border: 0; }
  summary { padding-left: 0; }
  details > :not(summary) { margin: 0; }
  h2, h2 + p { break-after: avoid; }
  h2 { margin-top: 1.6rem; }
  .figures dd { font-size: 1.1rem; }
  svg, .figures, .card { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .steps li, .figures, figure, tr, .panels > div { break-inside: avoid; }
  details::details-content { content-visibility: visible; display: block; }
  .scroll { overflow: visible; }
  .tensors { font-size: 6.8pt; }
  .tensors th, .tensors td { padding: .15rem .3rem; }
  .histogram { width: 70px; height: 16px; }
}
"""
