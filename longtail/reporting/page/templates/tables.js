"use strict";
// Sorting and filtering of the result tables. Rows and cells carry what decides: data-group and data-row, and
// in the headings data-imbalance, data-network, data-split and data-kind.

function setUpTable(section) {
  const table = section.querySelector("table.results");
  const form = section.querySelector("form");
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const paperOrder = [...body.rows];
  const groups = paperOrder.filter((row) => row.className === "group");
  const rows = paperOrder.filter((row) => row.className !== "group");
  let sorted = { column: -1, direction: 0 };

  function cellValue(row, column) {
    if (column === 0) return row.dataset.row.toLowerCase();
    const value = row.cells[column].dataset.value;
    return value === undefined ? null : Number(value);
  }

  // numbers start with the largest, names with the first; a third click restores the paper's order
  function nextDirection(column) {
    const first = column === 0 ? 1 : -1;
    return sorted.column !== column ? first : sorted.direction === first ? -first : 0;
  }

  function sortBy(column, direction = nextDirection(column)) {
    sorted = { column: direction ? column : -1, direction };
    let order = paperOrder;
    if (direction) {
      const sortedRows = [...rows].sort((a, b) => {
        const [x, y] = [cellValue(a, column), cellValue(b, column)];
        if (x === null || y === null) return (x === null) - (y === null);
        return (x < y ? -1 : x > y ? 1 : 0) * direction;
      });
      order = [...groups, ...sortedRows]; // the headings of groups are hidden while sorted
    }
    body.append(...order);
    table.classList.toggle("sorted", direction !== 0);
    headings.forEach((heading, index) => {
      if (index === sorted.column) heading.ariaSort = direction > 0 ? "ascending" : "descending";
      else heading.removeAttribute("aria-sort");
    });
  }

  function isShown(heading, wanted) {
    const { imbalance, network, split, kind } = heading.dataset;
    if (kind === undefined) return true;
    if (wanted.imbalance && imbalance !== wanted.imbalance) return false;
    if (wanted.network && network !== wanted.network) return false;
    if (wanted.split) return split === wanted.split;
    return kind !== "difference" || split === "all";
  }

  function filter() {
    const wanted = Object.fromEntries(new FormData(form));
    const shown = headings.map((heading) => isShown(heading, wanted));
    if (sorted.direction && !shown[sorted.column]) sortBy(sorted.column, 0); // by a column that nobody sees
    headings.forEach((heading, index) => { heading.hidden = !shown[index]; });
    const text = wanted.text.trim().toLowerCase();
    let count = 0;
    const filled = new Set();
    for (const row of rows) {
      [...row.cells].forEach((cell, index) => { cell.hidden = !shown[index]; });
      row.hidden = Boolean(wanted.group && row.dataset.group !== wanted.group)
        || !row.cells[0].textContent.toLowerCase().includes(text);
      if (!row.hidden) { count += 1; filled.add(row.dataset.group); }
    }
    for (const row of groups) {
      row.hidden = !filled.has(row.dataset.group);
      row.cells[0].colSpan = shown.filter(Boolean).length;
    }
    form.querySelector("output").textContent = count < rows.length ? `${count} of ${rows.length} rows` : "";
  }

  headings.forEach((heading, index) => {
    const button = heading.querySelector("button");
    if (button) button.addEventListener("click", () => sortBy(index));
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

document.querySelectorAll("section.table").forEach(setUpTable);

const written = document.getElementById("written");
written.textContent = `This file was written on ${new Date(document.lastModified).toLocaleString()}.`;

const opened = []; // details that only the printer needs open
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) { details.open = true; opened.push(details); }
});
window.addEventListener("afterprint", () => { for (const details of opened.splice(0)) details.open = false; });
