"use strict";
// Draws the charts of a report with uPlot, keeps them and the timeline on one time axis, and shows
// where the evidence of a finding lies. All text is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const aligned = document.getElementById("aligned");
  const whole = document.getElementById("whole");
  const plots = [];
  let range = [0, data.end];
  let printing = false;
  let zooming = false;
  let colours = {};

  // -- texts ---------------------------------------------------------------------------------------
  const number = (v) => {
    if (v === null || v === undefined) return "--";
    const size = Math.abs(v);
    if (size >= 1000 || Number.isInteger(v)) return Math.round(v).toLocaleString("en-US");
    if (size >= 100) return v.toFixed(0);
    if (size >= 10) return v.toFixed(1);
    return size >= 1 ? v.toFixed(2) : String(Number(v.toPrecision(3)));
  };
  const mib = (v) => {
    if (v === null || v === undefined) return "--";
    for (const [unit, factor] of [["TiB", 1048576], ["GiB", 1024], ["MiB", 1]]) {
      if (v >= factor) return `${number(v / factor)} ${unit}`;
    }
    return v === 0 ? "0" : `${number(v * 1024)} KiB`;
  };
  const duration = (s) => {
    if (s === null || s === undefined) return "--";
    if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
    if (s < 59.95) return `${s.toFixed(1)} s`;
    const t = Math.round(s);
    const two = (n) => String(n).padStart(2, "0");
    if (t < 3600) return `${Math.floor(t / 60)}m ${two(t % 60)}s`;
    if (t < 86400) return `${Math.floor(t / 3600)}h ${two(Math.floor((t % 3600) / 60))}m`;
    return `${Math.floor(t / 86400)}d ${two(Math.floor((t % 86400) / 3600))}h`;
  };
  const KINDS = { percent: (v) => (v === null || v === undefined ? "--" : `${number(v)} %`), mib, number, seconds: duration };
  const tick = (s) => (s === 0 ? "0" : duration(s).replace("m 00s", "m").replace("h 00m", "h").replace(".0 s", " s"));
  // What fits beside an axis: the first digits are those that count.
  const brief = (v) => {
    const size = Math.abs(v);
    if (size < 1e5) return number(v);
    if (size >= 1e15) return Number(v.toPrecision(4)).toExponential();
    const [letter, factor] = [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]].find(([, least]) => size >= least);
    return `${Number((v / factor).toPrecision(6))}${letter}`;
  };
  const clock = (at) => {
    if (!data.sessions.length) return "";
    let session = data.sessions[0];
    for (const one of data.sessions) if (one[1] <= at) session = one;
    const moment = new Date((session[0] + at - session[1]) * 1000);
    return `${moment.toISOString().slice(11, 19)} UTC`;
  };

  // -- the time axis ---------------------------------------------------------------------------------
  const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
    3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000, 1728000, 3456000];
  const ticks = () => {
    const most = aligned.clientWidth < 700 ? 4 : 8;
    const step = STEPS.find((s) => (range[1] - range[0]) / s <= most) || STEPS[STEPS.length - 1];
    const found = [];
    for (let i = Math.ceil(range[0] / step - 1e-6); i * step <= range[1]; i++) found.push(i * step);
    return found;
  };
  const share = (at) => ((at - range[0]) / (range[1] - range[0])) * 100;
  const POWERS = Array.from({ length: 40 }, (_, i) => 2 ** (i - 12));
  const powersOfTen = (u, axis, low, high) => {
    const found = [];
    for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power++) found.push(10 ** power);
    return found.length > 5 ? found.filter((_, i) => i % Math.ceil(found.length / 4) === 0) : found;
  };
  const SVG = "http://www.w3.org/2000/svg";
  const PAPER = 600; // width of a chart with its axis when printing, as report.css has it
  const axisWidth = () => Math.round(parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--axis")) || 62);

  function placeTimeline() {
    for (const ruler of aligned.querySelectorAll("svg.time")) ruler.replaceChildren(...ticks().filter((at) => share(at) < 97).map((at) => {
      const text = document.createElementNS(SVG, "text");
      text.setAttribute("x", `${share(at)}%`);
      text.setAttribute("y", "14");
      text.setAttribute("class", share(at) < 2 ? "tick first" : "tick");
      text.textContent = tick(Number(at.toFixed(6)));
      return text;
    }));
    for (const bar of aligned.querySelectorAll("rect.bar")) {
      const a = Math.max(share(Number(bar.dataset.a)), -1);
      const b = Math.min(share(Number(bar.dataset.b)), 101);
      bar.setAttribute("x", `${a}%`);
      bar.setAttribute("width", `${Math.max(0.02, b - a)}%`);
      bar.setAttribute("visibility", b < 0 || a > 100 ? "hidden" : "visible");
    }
    for (const line of aligned.querySelectorAll("line.pause")) {
      for (const end of ["x1", "x2"]) line.setAttribute(end, `${share(Number(line.dataset.a))}%`);
    }
    for (const text of aligned.querySelectorAll("text.beside")) {
      const room = printing ? PAPER - axisWidth() : text.ownerSVGElement.clientWidth;
      const width = (text.getComputedTextLength() / room) * 100 + 2;
      const a = Math.max(0, share(Number(text.dataset.a)));
      const b = Math.min(100, share(Number(text.dataset.b)));
      const [where, x, dx] = b + width <= 100 ? ["", Math.max(0, b), 6]
        : a - width >= 0 ? [" end", Math.min(100, a), -6] : [" inside", a, 8];
      text.setAttribute("class", `beside${where}`);
      text.setAttribute("x", `${x}%`);
      text.setAttribute("dx", dx);
    }
  }

  function zoom(low, high) {
    const least = Math.min(data.end, Math.max(data.end / 5000, 0.01));
    low = Math.max(0, low);
    high = Math.min(data.end, high);
    if (high - low < least) {
      const middle = (low + high) / 2;
      low = Math.max(0, middle - least / 2);
      high = low + least;
    }
    range = [low, high];
    zooming = true;
    for (const plot of plots) plot.setScale("x", { min: low, max: high });
    zooming = false;
    placeTimeline();
    if (whole) whole.hidden = low <= 0 && high >= data.end;
  }

  // -- drawing -----------------------------------------------------------------------------------------
  function readColours() {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(`--${name}`).trim();
    colours = { lines: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => get(`c${i}`)) };
    for (const name of ["ink", "soft", "grid", "line", "panel", "failed", "warning", "critical", "info", "link"]) colours[name] = get(name);
    if (printing) { // a page is white, whatever the screen is
      colours.lines = ["#0072b2", "#c25400", "#00805f", "#a8458a", "#6b5b00", "#3d6db5", "#8b3a1d", "#555d66"];
      Object.assign(colours, { ink: "#1b1f24", soft: "#57606a", grid: "#e7eaee", line: "#d5dae0", panel: "#f6f7f9", failed: "#c0202b", warning: "#8a5a00", critical: "#c0202b", info: "#0a66c2" });
    }
  }

  function behind(u, chart) {
    const ctx = u.ctx;
    const { left, top, width, height } = u.bbox;
    const x = (at) => u.valToPos(at, "x", true);
    const clip = (a, b) => [Math.max(left, x(a)), Math.min(left + width, x(b))];
    ctx.save();
    data.steps.forEach(([a, b, , status], index) => {
      const [from, to] = clip(a, b);
      if (to <= from) return;
      const bad = status === "failed" || status === "cancelled";
      if (!bad && index % 2) return;
      ctx.globalAlpha = bad ? 0.1 : 1;
      ctx.fillStyle = bad ? colours.failed : colours.panel;
      ctx.fillRect(from, top, to - from, height);
    });
    for (const [a, b, severity] of chart.marks || []) {
      const [from, to] = clip(a, b);
      if (to < from) continue;
      ctx.globalAlpha = 0.22;
      ctx.fillStyle = colours[severity] || colours.info;
      ctx.fillRect(from, top, Math.max(2, to - from), height);
    }
    ctx.globalAlpha = 1;
    ctx.strokeStyle = colours.grid;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const at of ticks()) {
      ctx.moveTo(Math.round(x(at)) + 0.5, top);
      ctx.lineTo(Math.round(x(at)) + 0.5, top + height);
    }
    ctx.stroke();
    for (const [, before] of data.sessions.slice(1)) {
      ctx.setLineDash([4, 4]);
      ctx.strokeStyle = colours.warning;
      ctx.beginPath();
      ctx.moveTo(x(before), top);
      ctx.lineTo(x(before), top + height);
      ctx.stroke();
    }
    ctx.restore();
  }

  function above(u, chart) {
    const ctx = u.ctx;
    const { left, top, width, height } = u.bbox;
    const ratio = window.devicePixelRatio || 1;
    const across = (value, colour, label, from = left, to = left + width) => {
      const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
      if (!(y >= top && y <= top + height) || to <= from) return;
      ctx.strokeStyle = colour;
      ctx.setLineDash([6 * ratio, 4 * ratio]);
      ctx.lineWidth = 1.5 * ratio;
      ctx.beginPath();
      ctx.moveTo(from, y);
      ctx.lineTo(to, y);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.fillStyle = colour;
      ctx.textAlign = "left";
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      const room = ctx.measureText(label).width + 6 * ratio;
      const start = Math.max(left, Math.min(from, left + width - room));
      ctx.fillText(label, start + 4 * ratio, y + (y - top < 16 * ratio ? 12 : -4) * ratio);
    };
    const x = (at) => Math.max(left, Math.min(left + width, u.valToPos(at, "x", true)));
    ctx.save();
    for (const [label, value] of chart.limits || []) across(value, colours.soft, label);
    for (const [a, b, severity, threshold] of chart.marks || []) {
      if (threshold === null) continue;
      const label = `threshold ${KINDS[chart.kind](threshold)}${chart.unit}`;
      across(threshold, colours[severity] || colours.info, label, x(a), x(b));
    }
    if (chart.actual !== null && chart.actual !== undefined) across(chart.actual, colours.ink, `it took ${duration(chart.actual)}`);
    ctx.restore();
  }

  function bounds(chart) {
    return (u, low, high) => {
      const marks = (chart.marks || []).map((mark) => mark[3]).filter((v) => v !== null);
      const more = [...marks, ...(chart.limits || []).map((limit) => limit[1])];
      if (chart.actual) more.push(chart.actual);
      low = Math.min(low ?? 0, ...more);
      high = Math.max(high ?? 1, ...more);
      if (chart.log) return [Math.max(low, high / 1e6), high * 1.3];
      if (chart.kind === "percent" && high <= 100) return [0, high > 40 ? 101 : high * 1.15 || 1];
      if (low >= 0 && low < high * 0.6) low = 0;
      const room = (high - low || Math.abs(high) || 1) * 0.08;
      return [low === 0 ? 0 : low - room, high + room];
    };
  }

  function draw(chart, xs) {
    const figure = document.getElementById(chart.id);
    const place = figure.querySelector(".plot");
    const text = (v) => KINDS[chart.kind](v) + (v === null || v === undefined ? "" : chart.unit);
    const onAxis = chart.kind === "number" ? (v) => brief(v) + chart.unit : text;
    const valueAt = (i, idx) => {
      const value = text(chart.lines[i][idx]);
      if (!edges[i] || edges[i][0][idx] === edges[i][1][idx]) return value;
      return `${value} (${text(edges[i][0][idx])} to ${text(edges[i][1][idx])})`;
    };
    const shade = (i) => colours.lines[(chart.colours ? chart.colours[i] : i) % 8];
    const outputs = [...figure.querySelectorAll("output")];
    const positive = (ys) => (chart.log ? ys.map((v) => (v > 0 ? v : null)) : ys);
    const count = chart.lines.length;
    // uPlot draws in this order: the extremes as bands first, the lines above them.
    const edges = chart.edges && chart.edges.length ? chart.edges : [];
    const lines = [...chart.lines, ...edges.flatMap(([low, high]) => [high, low])].map(positive);
    const options = {
      width: place.clientWidth || 600,
      height: place.clientHeight || 96,
      padding: [6, 0, 6, 0],
      legend: { show: false },
      cursor: {
        y: false,
        points: { size: 6 },
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => { zoom(0, data.end); return null; } },
        sync: { key: "report", scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
      },
      scales: {
        x: { time: false, range: () => range },
        y: { range: bounds(chart), distr: chart.log ? 3 : 1 },
      },
      axes: [
        { show: false },
        {
          size: axisWidth,
          gap: 4,
          font: "11px system-ui, sans-serif",
          stroke: () => colours.soft,
          grid: { stroke: () => colours.grid, width: 1 },
          ticks: { show: false },
          space: 26,
          ...(chart.kind === "mib" ? { incrs: POWERS } : {}),
          ...(chart.log ? { splits: powersOfTen } : {}),
          values: (u, splits) => splits.map((v) => (v === null ? "" : onAxis(v).replace(" %", "%").replace(".0 s", " s"))),
        },
      ],
      series: [{}, ...lines.map((ys, i) => ({
        stroke: () => shade(i),
        width: 1.25,
        spanGaps: Boolean(data.joined), // samples of several runs are taken at different moments
        points: { show: (u) => (xs.length < 80 ? true : undefined), size: 4 },
        ...(i >= count ? { stroke: () => `${shade(Math.floor((i - count) / 2))}90`, width: 0.75, points: { show: false } } : {}),
        ...(chart.series ? chart.series(i) : {}),
      }))],
      bands: chart.bands || edges.map((_, i) => ({
        series: [1 + count + 2 * i, 2 + count + 2 * i],
        fill: () => `${shade(i)}48`,
      })),
      hooks: {
        drawAxes: [(u) => behind(u, chart)],
        draw: [(u) => above(u, chart)],
        setSelect: [(u) => {
          if (zooming || u.select.width < 3) return;
          const low = u.posToVal(u.select.left, "x");
          const high = u.posToVal(u.select.left + u.select.width, "x");
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          zoom(low, high);
        }],
        setCursor: [(u) => {
          const { idx, left } = u.cursor;
          const inside = idx !== null && idx !== undefined && left >= 0;
          outputs.forEach((output, i) => {
            output.textContent = inside ? valueAt(i, idx) : output.dataset.summary;
          });
          if (u === plots[0]) readOut(inside ? u.posToVal(left, "x") : null);
        }],
      },
    };
    place.replaceChildren();
    plots.push(new uPlot(options, [xs, ...lines], place));
  }

  function readOut(at) {
    const place = aligned.querySelector(".readout");
    if (at === null) {
      place.textContent = "";
      return;
    }
    const names = data.steps.filter(([a, b]) => a <= at && at <= b).map((step) => step[2]);
    place.textContent = [tick(at), clock(at), names.join(", ")].filter(Boolean).join(" · ");
    place.title = place.textContent;
  }

  function eta() {
    const found = data.eta;
    const stepped = uPlot.paths.stepped({ align: 1 });
    const series = [
      {},
      { width: 0, stroke: "transparent", points: { show: false }, paths: stepped },
      { width: 0, stroke: "transparent", points: { show: false }, paths: stepped },
    ];
    const chart = {
      id: "chart-eta", kind: "seconds", unit: "", marks: [], limits: [], actual: found.actual,
      lines: [found.total, found.high, found.low],
      series: (i) => ({ paths: stepped, ...series[i], ...(i === 0 ? { width: 2 } : {}) }),
      bands: [{ series: [2, 3], fill: () => `${colours.lines[0]}38` }],
    };
    const xs = found.x.concat([data.end]);
    chart.lines = chart.lines.map((ys) => ys.concat([ys[ys.length - 1]]));
    draw(chart, xs);
  }

  function fit() {
    for (const plot of plots) {
      const place = plot.root.parentElement;
      plot.setSize({ width: printing ? PAPER : place.clientWidth, height: place.clientHeight });
    }
    placeTimeline();
  }

  function again() {
    readColours();
    for (const plot of plots) plot.redraw(false, true);
  }

  // -- what people do --------------------------------------------------------------------------------
  let at = null;
  function keys(event) {
    if (event.target !== aligned || event.ctrlKey || event.metaKey || event.altKey) return;
    const span = range[1] - range[0];
    const middle = at === null ? (range[0] + range[1]) / 2 : at;
    const acts = {
      ArrowLeft: () => { at = middle - span / 100; },
      ArrowRight: () => { at = middle + span / 100; },
      Home: () => { at = range[0]; },
      End: () => { at = range[1]; },
      "+": () => zoom(middle - span / 4, middle + span / 4),
      "-": () => zoom(middle - span, middle + span),
      "0": () => zoom(0, data.end),
      Escape: () => zoom(0, data.end),
    };
    acts["="] = acts["+"];
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
    if (at === null) return;
    at = Math.min(data.end, Math.max(0, at));
    if (at < range[0] || at > range[1]) zoom(at - span / 2, at + span / 2);
    const first = plots[0];
    if (first) first.setCursor({ left: first.valToPos(at, "x"), top: 0 }, true, true);
  }

  function show(button) {
    const [a, b] = [Number(button.dataset.a), Number(button.dataset.b)];
    const around = Math.max((b - a) * 0.75, data.end / 200);
    zoom(a - around, b + around);
    const figure = document.getElementById(button.dataset.chart);
    const target = figure.querySelector(".plot");
    for (const other of document.querySelectorAll("figure.flash")) other.classList.remove("flash");
    figure.classList.add("flash");
    target.scrollIntoView({ block: "center" });
    aligned.focus({ preventScroll: true });
  }

  readColours();
  if (aligned) {
    for (const chart of data.charts) draw(chart, data.x);
    if (data.eta) eta();
    placeTimeline();
    new ResizeObserver(() => { if (!printing) fit(); }).observe(document.body);
    aligned.addEventListener("keydown", keys);
    if (whole) whole.addEventListener("click", () => zoom(0, data.end));
    for (const button of document.querySelectorAll("button.show")) button.addEventListener("click", () => show(button));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    const unfolded = [];
    window.addEventListener("beforeprint", () => {
      printing = true;
      unfolded.push(...document.querySelectorAll("details:not(.data, [open])"));
      for (const folded of unfolded) folded.open = true;
      readColours();
      zoom(0, data.end);
      fit();
    });
    window.addEventListener("afterprint", () => {
      printing = false;
      for (const folded of unfolded.splice(0)) folded.open = false;
      readColours();
      fit();
      again();
    });
  }
  document.documentElement.dataset.drawn = String(plots.length);
})();
