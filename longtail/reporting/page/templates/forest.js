// The forest plot: each row's difference to the reference of its table, with its interval.

const DATA = JSON.parse(document.getElementById("data").textContent);

function symbols(text) {
  return text.replace("(dagger)", "†").replace("(asterisk)", "*").replace("lambda=", "λ = ");
}

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

function fillSelect(select, texts) {
  const kept = select.selectedIndex;
  select.replaceChildren(...texts.map((text, index) => element("option", { value: index, textContent: text })));
  select.selectedIndex = kept >= 0 && kept < texts.length ? kept : 0;
}

// Round numbers between two ends, about `wanted` of them.
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) {
    found.push(Number((index * step).toPrecision(12)));
  }
  return found;
}

// The ends of an interval of a difference of percentages, which cannot lie beyond 100.
function within(mean, half) {
  return [Math.max(mean - (half ?? 0), -100), Math.min(mean + (half ?? 0), 100)];
}

function setUpForest(section) {
  const form = section.querySelector("form");
  const list = section.querySelector(".forest");

  function draw() {
    const table = DATA.forests[form.table.value];
    const column = form.column.value;
    const split = form.split.value;
    const rows = table.rows.filter((row) => row.columns[column][split]);
    if (form.sorted.checked) {
      rows.sort((a, b) => b.columns[column][split][0] - a.columns[column][split][0]);
    }
    const ends = rows.flatMap((row) => {
      const [mean, half] = row.columns[column][split];
      return within(mean, half);
    });
    const low = Math.min(-1, ...ends);
    const high = Math.max(1, ...ends);
    const percent = (value) => `${(100 * (value - low)) / (high - low)}%`;
    const placed = (name, className, value) => {
      const made = element(name, { className });
      made.style.left = percent(value);
      return made;
    };
    const lines = rows.map((row) => {
      const [mean, half, word, text] = row.columns[column][split];
      const bar = element("span", { className: `bar ${word}` }, placed("i", "zero", 0));
      bar.ariaHidden = "true";
      if (half !== null) {
        const [from, to] = within(mean, half);
        const range = placed("i", "range", from);
        range.style.width = `${(100 * (to - from)) / (high - low)}%`;
        bar.append(range);
      }
      bar.append(placed("i", "point", mean));
      const label = element("span", { textContent: symbols(row.label), title: row.group });
      const line = element("div", {}, label, bar, element("span", { className: `text ${word}`, textContent: text }));
      line.setAttribute("role", "listitem");
      return line;
    });
    const axis = element("span", { className: "bar" }, placed("i", "zero", 0));
    for (const value of ticks(low, high, 5)) {
      const tick = placed("span", "", value);
      tick.textContent = value > 0 ? `+${value}` : value;
      axis.append(tick);
    }
    const foot = element("div", {}, element("span"), axis, element("span"));
    foot.ariaHidden = "true";
    list.replaceChildren(...lines, ...(lines.length ? [foot] : []));
    section.querySelector(".about").textContent = lines.length
      ? `Accuracy minus that of ${symbols(table.reference)}, in percentage points, paired by seed, with 95% intervals. `
        + "▲ better, ▼ worse after Holm's correction over the rows; no mark: undecided."
      : "No differences here: the reference is not run, or nothing else is.";
  }

  function choose() {
    fillSelect(form.column, DATA.forests[form.table.value].columns);
    draw();
  }

  fillSelect(form.table, DATA.forests.map((table) => `${table.number}. ${symbols(table.title)}`));
  form.table.addEventListener("input", choose);
  form.addEventListener("input", draw);
  choose();
}

setUpForest(document.getElementById("differences"));
