// The line charts: accuracy of each class against its training images, and training curves.

const SVG = element("p", { innerHTML: "<svg></svg>" }).firstChild.namespaceURI;
const [WIDE, NARROW, HEIGHT] = [960, 420, 380];

function shape(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// A map from numbers to pixels, with its ticks; logarithmic where asked.
function scale(values, from, to, wanted, logarithmic) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) [low, high] = logarithmic ? [low / 2, high * 2] : [low - 1, high + 1];
  const kind = logarithmic ? Math.log : (value) => value;
  const at = (value) => from + ((kind(value) - kind(low)) / (kind(high) - kind(low))) * (to - from);
  if (!logarithmic) return { at, ticks: ticks(low, high, wanted) };
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    found.push(...[1, 2, 5].map((factor) => factor * power).filter((value) => value >= low && value <= high));
  }
  return { at, ticks: found.filter((_, index) => found.length <= wanted * 2 || index % 3 === 0) };
}

// `lines`: {name, colour, dash, points: [[x, y, text]], seeds: a list of such points for each seed}; y null leaves
// a gap. `tell` gets the text pointed at.
function drawLines(place, lines, options, tell) {
  const width = place.clientWidth < 600 ? NARROW : WIDE;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${HEIGHT}` });
  const points = lines.flatMap((line) => [line.points, ...line.seeds].flat().filter(([, y]) => y !== null));
  if (!points.length) {
    svg.append(shape("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, options.nothing));
    place.replaceChildren(svg);
    return;
  }
  const x = scale(points.map(([value]) => value), 60, width - 15, width / 120, options.logarithmic);
  const y = scale([...points.map(([, value]) => value), ...options.yEnds], HEIGHT - 55, 12, 5, false);
  for (const value of y.ticks) {
    svg.append(shape("line", { class: "grid", x1: 60, x2: width - 15, y1: y.at(value), y2: y.at(value) }));
    svg.append(shape("text", { x: 52, y: y.at(value) + 4, "text-anchor": "end" }, value));
  }
  for (const value of x.ticks) {
    svg.append(shape("line", { class: "grid", x1: x.at(value), x2: x.at(value), y1: 12, y2: HEIGHT - 55 }));
    svg.append(shape("text", { x: x.at(value), y: HEIGHT - 36, "text-anchor": "middle" }, value));
  }
  svg.append(shape("text", { x: (width + 45) / 2, y: HEIGHT - 10, "text-anchor": "middle" }, options.xLabel));
  svg.append(shape("text", { transform: `translate(14 ${(HEIGHT - 43) / 2}) rotate(-90)`, "text-anchor": "middle" }, options.yLabel));
  const drawPath = (found, attributes) => {
    let d = "";
    let open = false;
    for (const [across, up] of found) {
      if (up !== null) d += `${open ? "L" : "M"}${x.at(across).toFixed(1)} ${y.at(up).toFixed(1)}`;
      open = up !== null;
    }
    svg.append(shape("path", { d, fill: "none", ...attributes }));
  };
  const drawPoints = (found, attributes) => {
    for (const [across, up, text] of found) {
      if (up === null) continue;
      const point = shape("circle", { cx: x.at(across), cy: y.at(up), ...attributes });
      point.append(shape("title", {}, text));
      point.addEventListener("pointerenter", () => tell(text));
      svg.append(point);
    }
  };
  for (const { seeds, colour } of lines) {
    for (const seed of seeds) {
      if (options.seedsAs === "lines") drawPath(seed, { class: "seed", stroke: colour, "stroke-width": 1 });
      else drawPoints(seed, { class: "seed", r: options.radius / 2, fill: colour });
    }
  }
  for (const { points: found, colour, dash } of lines) {
    drawPath(found, { stroke: colour, "stroke-width": 2, "stroke-dasharray": dash });
    drawPoints(found, { r: options.radius, fill: colour });
  }
  place.replaceChildren(svg);
}

const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const style = (slot) => ({ colour: `var(--c${slot % 8})`, dash: DASHES[Math.floor(slot / 8) % 4] });

// `read(row, column, quantity)` gives the points of a row, `readSeeds` those of each seed or none, `options(quantity)`
// the axes.
function setUpLines(section, read, readSeeds, options, header) {
  const form = section.querySelector("form");
  const chosen = new Map(); // rows by their slots of colour
  const chooser = section.querySelector(".chooser");

  function toggle(row, wanted) {
    const slots = [...chosen.values()];
    if (wanted) chosen.set(row, [...Array(slots.length + 1).keys()].find((slot) => !slots.includes(slot)));
    else chosen.delete(row);
  }

  function draw() {
    const { column, quantity } = Object.fromEntries(new FormData(form));
    for (const label of chooser.querySelectorAll("label")) {
      label.hidden = !DATA.rows[label.dataset.row].columns[column];
    }
    const lines = [...chosen].filter(([row]) => row.columns[column]).map(([row, slot]) => ({
      ...style(slot), name: symbols(row.label), points: read(row, column, quantity), seeds: readSeeds(row, column, quantity),
    })).filter((line) => line.points.some(([, y]) => y !== null));
    const tell = (text) => { section.querySelector(".readout").textContent = text; };
    const axes = options(quantity);
    drawLines(section.querySelector(".chart"), lines, axes, tell);
    section.querySelector(".about").textContent = lines.length
      ? `Means over seeds${lines.some((line) => line.seeds.length) ? `; ${axes.seedsAs === "lines" ? "thin lines" : "small points"}: the seeds` : ""}.`
      : "";
    section.querySelector(".legend").replaceChildren(...lines.map((line) => {
      const swatch = shape("svg", { viewBox: "0 0 36 10", "aria-hidden": "true" });
      swatch.append(shape("line", { x1: 0, x2: 36, y1: 5, y2: 5, stroke: line.colour, "stroke-width": 3, "stroke-dasharray": line.dash }));
      return element("li", {}, swatch, line.name);
    }));
    writeNumbers(section.querySelector(".numbers"), header(column), lines);
  }

  DATA.rows.forEach((row, index) => {
    const box = element("input", { type: "checkbox", checked: DATA.first.includes(row.name) });
    if (box.checked) toggle(row, true);
    const label = element("label", {}, box, ` ${symbols(row.label)}`);
    label.dataset.row = index;
    box.addEventListener("input", () => { toggle(row, box.checked); draw(); });
    chooser.append(label);
  });
  fillSelect(form.column, DATA.columns);
  form.addEventListener("input", draw);
  draw();
  new ResizeObserver(draw).observe(section.querySelector(".chart"));
}

// A table of the lines: a row for each x, a column for each line.
function writeNumbers(table, names, lines) {
  const texts = new Map();
  lines.forEach((line, index) => {
    for (const [x, value, , key = x] of line.points) {
      if (!texts.has(key)) texts.set(key, lines.map(() => ""));
      texts.get(key)[index] = value ?? "";
    }
  });
  const cell = (name, text, scope) => element(name, { textContent: text, ...(scope ? { scope } : {}) });
  const head = element("tr", {}, ...[names, ...lines.map((line) => line.name)].map((text) => cell("th", text, "col")));
  const rows = [...texts].map(([key, values]) => element("tr", {}, cell("th", key, "row"), ...values.map((value) => cell("td", value))));
  table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

function classPoints(row, column, quantity) {
  const counts = DATA.counts[column];
  const order = [...counts.keys()].sort((a, b) => counts[b] - counts[a] || a - b);
  return order.map((label) => {
    const { accuracy, differences } = row.columns[column];
    const found = differences[label];
    const value = quantity === "accuracy" ? accuracy[label] : found && found[0];
    const where = `${DATA.classes[label]} (n = ${counts[label]})`;
    const word = quantity !== "accuracy" && found ? `${found[1] === null ? "" : ` ± ${found[1].toFixed(1)}`}, ${found[2]}` : "";
    const number = value === null || value === undefined ? null : value;
    return [counts[label], number, `${symbols(row.label)}, ${where}: ${number === null ? "–" : number.toFixed(1)}${word}`, where];
  });
}

// The classes of each seed; of differences, of each seed that the reference has, too.
function classSeeds(row, column, quantity) {
  const counts = DATA.counts[column];
  const of = row.columns[column];
  const reference = DATA.rows.find((one) => one.name === DATA.reference_name)?.columns[column];
  return of.accuracy_by_seed.flatMap((accuracy, index) => {
    const seed = of.seeds[index];
    const others = quantity === "accuracy" ? null : reference?.accuracy_by_seed[reference.seeds.indexOf(seed)];
    if (others === undefined || (others && row.name === DATA.reference_name)) return [];
    return [accuracy.map((value, label) => {
      const number = value === null || others?.[label] === null ? null : value - (others ? others[label] : 0);
      const text = `${symbols(row.label)}, seed ${seed}, ${DATA.classes[label]}: ${number === null ? "–" : number.toFixed(1)}`;
      return [counts[label], number, text];
    })];
  });
}

setUpLines(
  document.getElementById("classes"),
  classPoints,
  classSeeds,
  (quantity) => ({
    logarithmic: true, radius: 4, seedsAs: "points", yEnds: quantity === "accuracy" ? [0, 100] : [0],
    xLabel: "training images of the class", nothing: "no line to draw: choose a method",
    yLabel: quantity === "accuracy" ? "test accuracy (%)" : `accuracy − ${symbols(DATA.reference)}, points`,
  }),
  () => "class",
);

const factorOf = (quantity) => (quantity === "2" ? 100 : 1);
const CURVES = ["training loss", "entropy of the difficulties (nats)", "accuracy on the meta set (%)"];

setUpLines(
  document.getElementById("curves"),
  (row, column, quantity) => {
    const { iterations, curves } = row.columns[column];
    const factor = factorOf(quantity);
    return iterations.map((step, index) => {
      const value = curves[quantity][index];
      const number = value === null ? null : Number((value * factor).toPrecision(5));
      return [step, number, `${symbols(row.label)}, iteration ${step}: ${number}`];
    });
  },
  (row, column, quantity) => {
    const { iterations_by_seed: steps, curves_by_seed: curves } = row.columns[column];
    return curves.map((seed) => seed[quantity].map((value, index) => [steps[index], value === null ? null : value * factorOf(quantity)]));
  },
  (quantity) => ({
    logarithmic: false, radius: 2.5, seedsAs: "lines", yEnds: quantity === "2" ? [0, 100] : [], xLabel: "iterations",
    yLabel: CURVES[quantity], nothing: "the chosen methods have no such curve",
  }),
  () => "iteration",
);
