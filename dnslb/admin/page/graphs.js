// Small drawings that are read at a glance: inline SVG, no foreign assets.

import { count, h, milliseconds, percent, s } from "/elements.js";

const CIRCLE = { cx: 8, cy: 8, r: 7 };
export const ICONS = {
  up: () => [s("circle", { ...CIRCLE, class: "full" }), s("path", { d: "M4.5 8.5l2.5 2.5 4.5-5.5", class: "cut" })],
  down: () => [s("path", { d: "M5 1h6l4 4v6l-4 4H5l-4-4V5z", class: "full" }), s("path", { d: "M5.5 5.5l5 5m0-5l-5 5", class: "cut" })],
  unprobed: () => [s("circle", { ...CIRCLE, r: 6, class: "line", "stroke-dasharray": "2.4 2.3" })],
  ready: () => [s("path", { d: "M3 8h9M8.5 4.5L12 8l-3.5 3.5", class: "line" })],
  drain: () => [s("path", { d: "M8 2v8M4.5 7L8 10.5 11.5 7M3 14h10", class: "line" })],
  maint: () => [s("path", { d: "M5.5 3v10M10.5 3v10", class: "line thick" })],
  warning: () => [s("path", { d: "M8 1l7.5 14H.5z", class: "full" }), s("path", { d: "M8 6v4.5M8 12v1.5", class: "cut" })],
};

export function icon(name) {
  return s("svg", { class: `icon ${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, ...ICONS[name]());
}

export function bar(kind, share) {
  const width = share === null ? 0 : Math.max(0, Math.min(100, share * 100));
  return s("svg", { class: `share ${kind}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "track", width: 100, height: 6 }),
    s("rect", { class: "part", width, height: 6 }));
}

/** One bar a probe, oldest first: from below by the time it took, from above when it failed. */
export function sparkline(probes, slowest) {
  const wide = 4, high = 28, number = probes.took.length;
  const marks = { passed: "", failed: "" };  // one path of each: an element a probe would take too long to draw
  probes.took.forEach((took, place) => {
    const passed = probes.passed[place];
    const tall = passed ? Math.max(2, (took / slowest) * high) : high * 0.6;
    const top = passed ? high - tall : 0;
    marks[passed ? "passed" : "failed"] += `M${place * wide} ${top.toFixed(1)}h${wide - 1}v${tall.toFixed(1)}h${1 - wide}z`;
  });
  const size = { viewBox: `0 0 ${Math.max(number, 15) * wide - 1} ${high}`, preserveAspectRatio: "none" };
  return s("svg", { class: "spark", role: "img", "aria-label": told(probes), ...size },
    ...Object.entries(marks).map(([kind, d]) => s("path", { class: kind, d })));
}

function told(probes) {
  const good = probes.took.filter((_, place) => probes.passed[place]);
  const failed = probes.took.length - good.length;
  const slowest = good.length > 0 ? `, slowest ${milliseconds(Math.max(...good))}` : "";
  return `the last ${count(probes.took.length, "probe")}: ${failed} failed${slowest}`;
}

// The last hour: the newest sample is at the right edge, whatever there was no sample of stays empty.

const WIDE = 360, TALL = 40;

/** A value in each sample as an area; pairs of `[value, samples]` are runs of them. */
export function stepGraph(kind, runs, most, label) {
  const number = runs.reduce((sum, [, times]) => sum + times, 0);
  const high = (value) => (TALL - 1 - (most > 0 ? Math.min(1, value / most) : 0) * (TALL - 3)).toFixed(1);
  let at = WIDE - number;
  const line = runs.map(([value, times], place) => {
    at += times;
    return `${place === 0 ? `M${at - times} ` : "V"}${high(value)}H${at}`;
  }).join("");
  const area = line && `${line}V${TALL}H${WIDE - number}z`;
  return s("svg", { class: `hour ${kind}`, viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    s("path", { class: "area", d: area }), s("path", { class: "edge", d: line }));
}

/** Whose answers they were, a column for each stretch, all columns equally high. */
export function ledGraph(led, most, label) {
  const paths = led.map(() => "");
  const stretches = Math.max(0, ...led.map(({ answers }) => answers.length));
  const wide = WIDE / most;
  for (let place = 0; place < stretches; place += 1) {
    // Addresses that came later have fewer.
    const answers = led.map((one) => one.answers[one.answers.length - stretches + place] ?? 0);
    const total = answers.reduce((sum, each) => sum + each, 0);
    let from = 0;
    answers.forEach((each, which) => {
      if (each === 0) return;
      const tall = (each / total) * TALL;
      paths[which] += `M${(WIDE - (stretches - place) * wide).toFixed(1)} ${from.toFixed(1)}h${(wide + 0.2).toFixed(1)}v${tall.toFixed(1)}h${(-wide - 0.2).toFixed(1)}z`;
      from += tall;
    });
  }
  return s("svg", { class: "hour led", viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    ...paths.map((d, which) => s("path", { class: `lead${which}`, d })));
}

/** The small square by which an address is found in the graph. */
export const swatch = (which) =>
  s("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, s("rect", { class: `lead${which}`, width: 10, height: 10 }));
