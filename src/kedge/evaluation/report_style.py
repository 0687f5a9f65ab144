"""The style sheet of a report: one column, system fonts, light and dark, and fit to be printed."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --card: #ffffff; --ink: #1d1e22; --faint: #6b6e78; --line: #e4e4e8;
  --accent: #2f6f9f; --good: #2e7d4f; --bad: #b3412f; --warn: #8a5f09;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #141518; --card: #1b1d21; --ink: #e8e8ec; --faint: #9599a5; --line: #2d3037;
    --accent: #74b2de; --good: #6cc08d; --bad: #e58673; --warn: #dcb053;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .7rem; letter-spacing: -.005em; }
h3 { font-size: .92rem; margin: 1rem 0 .3rem; font-weight: 600; }
p { margin: .5rem 0; }
.lead, .note, figcaption, footer { color: var(--faint); }
.note, figcaption, footer { font-size: .87rem; }
code, pre { font: .86em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .9rem 1.4rem; margin: 1.4rem 0 0;
}
.facts div { min-width: 0; overflow-wrap: anywhere; }
.facts dt { color: var(--faint); font-size: .8rem; }
.facts dd { margin: 0; font-weight: 500; }
.verdict {
  margin: 1.8rem 0 0; padding: 1rem 1.2rem; background: var(--card); border: 1px solid var(--line);
  border-left: 4px solid var(--tone); border-radius: 6px;
}
.verdict strong { font-size: 1.05rem; }
.verdict ul { margin: .5rem 0 0; padding-left: 1.1rem; color: var(--faint); font-size: .9rem; }
.good { --tone: var(--good); } .bad { --tone: var(--bad); }
.warn { --tone: var(--warn); } .calm { --tone: var(--faint); }
.scroll {  /* what goes on beyond an edge casts a shadow there */
  --shade: color-mix(in srgb, var(--ink) 28%, transparent);
  overflow-x: auto;
  background:
    linear-gradient(to right, var(--paper) 40%, transparent) local 0 0 / 2.5rem 100% no-repeat,
    linear-gradient(to left, var(--paper) 40%, transparent) local 100% 0 / 2.5rem 100% no-repeat,
    linear-gradient(to right, var(--shade), transparent) 0 0 / .8rem 100% no-repeat,
    linear-gradient(to left, var(--shade), transparent) 100% 0 / .8rem 100% no-repeat;
}
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .42rem .8rem .42rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--faint); font-weight: 500; font-size: .85rem; }
th:first-child, td:first-child { text-align: left; }
@media (max-width: 40rem) {  /* rows keep their names while they scroll */
  th:first-child, td:first-child {
    position: sticky; left: 0; background: var(--paper); min-width: 6.5rem; max-width: 45vw; white-space: normal;
  }
}
td .pm { color: var(--faint); font-size: .88em; }
td b { font-weight: 650; }
tr.trained td:first-child::after {
  content: "trained on"; margin-left: .6em; padding: .05em .5em; border: 1px solid var(--line); border-radius: 99px;
  color: var(--faint); font-size: .74rem;
}
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1.4rem 1.6rem; }
.charts > div, figure { min-width: 0; margin: 0; }
.charts h3 { margin: 0 0 .2rem; }
.chart { width: 100%; height: auto; display: block; font-family: inherit; }
.wide { max-width: 46rem; }
.wide .chart { min-width: 33rem; }
.pictures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--pair)), 1fr)); gap: 1.3rem 1.4rem;
}
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; margin: 0; break-inside: avoid; }
.pair img { width: 100%; height: auto; display: block; border-radius: 3px; }
.pair.crisp img, img.crisp { image-rendering: pixelated; }
.pair figcaption { grid-column: 1 / -1; line-height: 1.35; overflow-wrap: anywhere; }
.pair .row { display: flex; gap: .3rem; }
.pair .row img { flex: 1 1 0; min-width: 0; }
.pair.stacked { grid-template-columns: 1fr; }
.pair span { display: block; font-size: .76rem; color: var(--faint); }
img.samples { max-width: 100%; border-radius: 4px; }
details { border-top: 1px solid var(--line); padding: .7rem 0; }
details:last-of-type { border-bottom: 1px solid var(--line); }
summary { cursor: pointer; font-weight: 500; }
pre {
  margin: .7rem 0 0; padding: .9rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  overflow-x: auto;
}
footer { margin-top: 2.5rem; }
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --faint: #555; --line: #ccc;
    --accent: #2f6f9f; --good: #2e7d4f; --bad: #b3412f; --warn: #a8740c; }
  body { font-size: 11px; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  .scroll { background: none; }
  figure, .verdict, table, .charts > div { break-inside: avoid; }
  pre { white-space: pre-wrap; }
}
"""
