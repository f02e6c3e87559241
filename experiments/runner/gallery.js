"use strict";

function sortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  for (const heading of headings) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
  }
  const key = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text === "" ? null : cell.dataset.value === undefined ? text : Number(text);
  };
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
      // Rows without a value stay last in both directions.
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
      });
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}

function filterable(table) {
  const words = document.getElementById("ledger-words");
  const verdict = document.getElementById("ledger-verdict");
  const count = document.getElementById("ledger-count");
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      const fits = wanted.every((word) => text.includes(word));
      row.hidden = !fits || (verdict.value !== "" && row.dataset.verdict !== verdict.value);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
  };
  words.addEventListener("input", filter);
  verdict.addEventListener("change", filter);
  words.form.hidden = false;
  words.form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

function enlargeable() {
  const dialog = document.getElementById("enlarged");
  const image = new Image();
  dialog.querySelector("div").append(image);
  for (const link of document.querySelectorAll(".enlarge")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const small = link.querySelector("img");
      image.src = small.src;
      image.alt = small.alt;
      dialog.showModal();
    });
  }
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

function explorer(data) {
  const labels = data.labels;
  const arrays = {};
  for (const [name, { dims, base64 }] of Object.entries(data.arrays)) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const values = Float64Array.from({ length: bytes.length / 8 }, (_, k) => view.getFloat64(8 * k, true));
    arrays[name] = { dims, values };
  }
  // The saved number at these places, one index a dimension.
  const at = (name, places) => {
    const { dims, values } = arrays[name];
    return values[dims.reduce((flat, dim) => flat * labels[dim].length + places[dim], 0)];
  };
  const keys = ["source", "loss_name", "log2_size", "block_length", "rate"];
  document.getElementById("explorer-live").innerHTML = `<form class="choices">
    <label>source <select id="choose-source"></select></label>
    <label>loss <select id="choose-loss_name"></select></label>
    <label>items M <select id="choose-log2_size"></select></label>
    <label>letters n <select id="choose-block_length"></select></label>
    <label>rate R <input type="range" id="choose-rate" min="0" max="${labels.rate.length - 1}" step="1">
    <output id="chosen-rate"></output></label></form>
    <p id="explorer-answer" aria-live="polite"></p><div id="explorer-curve"></div>
    <p class="legend"><span class="least">chosen n</span> <span class="other">other n</span>
    <span class="code">random codes, where they were computed</span></p>
    <details><summary>The curve as a table</summary><div class="scroll" id="explorer-table"></div></details>`;
  const controls = Object.fromEntries(keys.map((k) => [k, document.getElementById(`choose-${k}`)]));
  const raised = (n) => String(n).replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
  const shown = { source: String, loss_name: (name) => name.replaceAll("_", " "),
    log2_size: (k) => `2${raised(k)}`, block_length: String };
  for (const [key, text] of Object.entries(shown)) {
    controls[key].append(...labels[key].map((label, k) => new Option(text(label), k)));
  }
  const answer = document.getElementById("explorer-answer");
  const curve = document.getElementById("explorer-curve");
  const table = document.getElementById("explorer-table");
  const names = { error: "probability that the target is not first", reciprocal_rank: "1 − MRR",
    miss_10: "probability that the target is not among ten", dcg: "1 − DCG" };
  const bounds = { C4: "the rank-distortion function (C4)", C26: "the converse for one letter (C26)", C27: "half-spaces (C27)" };

  const fragment = new URLSearchParams(location.hash.slice(1));
  const first = { source: 1, loss_name: labels.loss_name.indexOf(data.drawn_loss), block_length: 2,
    log2_size: labels.log2_size.indexOf(data.drawn_log2_size), rate: labels.rate.length >> 1 };
  for (const key of keys) {
    const asked = labels[key].map(String).indexOf(fragment.get(key));
    controls[key].value = Math.min(asked >= 0 ? asked : first[key], labels[key].length - 1);
    controls[key].addEventListener("input", () => draw(true));
  }
  controls.source.form.addEventListener("submit", (event) => event.preventDefault());

  function codeAt(places, k) {
    const chosen = {
      code_loss_name: labels.code_loss_name.indexOf(labels.loss_name[places.loss_name]),
      code_source: labels.code_source.indexOf(labels.source[places.source]),
      log2_size: places.log2_size,
      code_rate: labels.code_rate.indexOf(labels.rate[k]),
    };
    const there = labels.block_length[places.block_length] === data.code_length
      && Object.values(chosen).every((place) => place >= 0);
    return there ? at("code_loss", chosen) : null;
  }

  // The largest of the converses that were computed at these places, and its claim; where one says nothing it is not a number.
  function tightest(places) {
    const found = { loss: at("best_loss", places), claim: "C4" };
    if (labels.loss_name[places.loss_name] === data.drawn_loss && labels.log2_size[places.log2_size] === data.drawn_log2_size) {
      labels.converse.forEach((claim, converse) => {
        const loss = at("converse_loss", { ...places, converse });
        if (loss > found.loss) Object.assign(found, { loss, claim });
      });
    }
    return found;
  }

  function draw(remember) {
    const places = Object.fromEntries(keys.map((key) => [key, Number(controls[key].value)]));
    const chosen = Object.fromEntries(keys.map((key) => [key, labels[key][places[key]]]));
    const n = chosen.block_length;
    const loss = names[chosen.loss_name] ?? chosen.loss_name;
    const { loss: value, claim } = tightest(places);
    const [lower, upper] = ["best_loss_lower", "best_loss_upper"].map((name) => at(name, places));
    const kept = at("information", places);
    const code = codeAt(places, places.rate);
    document.getElementById("chosen-rate").textContent = `${chosen.rate} bits a letter`;
    answer.replaceChildren();
    const strong = document.createElement("strong");
    strong.id = "explorer-value";
    strong.dataset.value = value;
    strong.textContent = `D* = ${value.toPrecision(9)}`;
    answer.append(strong, ` (${loss}) at R = ${chosen.rate} bits a letter, by ${bounds[claim]}. `
      + `${claim === "C4" ? "Certificate" : "C4 alone"}: lower ${lower}, upper ${upper}. `
      + `${n * chosen.rate} bits an item keep at most n IB(R) = ${(n * kept).toPrecision(6)} `
      + `of the ${chosen.log2_size} bits that name one item.`);
    if (code !== null) answer.append(` Random codes reach ${code.toPrecision(6)}.`);

    const [width, height, left, bottom, top, right] = [680, 360, 58, 46, 14, 130];
    const most = labels.rate[labels.rate.length - 1];
    const x = (rate) => left + (rate / most) * (width - left - right);
    const y = (d) => height - bottom - d * (height - bottom - top);
    const points = (read) => labels.rate
      .map((rate, k) => [rate, read(k)])
      .filter(([, d]) => d !== null)
      .map(([rate, d]) => `${x(rate).toFixed(2)},${y(d).toFixed(2)}`)
      .join(" ");
    const parts = [];
    for (const d of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${y(d)}" y2="${y(d)}"/>`,
        `<text x="${left - 8}" y="${y(d) + 4}" text-anchor="end">${d}</text>`);
    }
    for (let rate = 0; rate <= most + 1e-9; rate += most > 2 ? 0.5 : 0.25) {
      parts.push(`<line class="grid" x1="${x(rate)}" x2="${x(rate)}" y1="${y(0)}" y2="${y(1)}"/>`,
        `<text x="${x(rate)}" y="${height - bottom + 18}" text-anchor="middle">${rate}</text>`);
    }
    parts.push(`<text x="${x(most / 2)}" y="${height - 6}" text-anchor="middle">R [bits per letter]</text>`,
      `<text transform="translate(14 ${y(0.5)}) rotate(-90)" text-anchor="middle">least loss D*</text>`);
    const ends = [];
    labels.block_length.forEach((length, k) => {
      const here = k === places.block_length;
      const read = (rate) => tightest({ ...places, block_length: k, rate }).loss;
      parts.push(`<polyline class="${here ? "least" : "other"}" points="${points(read)}"/>`);
      ends.push([y(read(labels.rate.length - 1)), length, here]);
    });
    // Curves that end at one height share one name.
    ends.sort((a, b) => a[0] - b[0]);
    const groups = [];
    for (const [place, length, here] of ends) {
      const group = groups[groups.length - 1];
      if (group && place - group.place < 15) {
        group.lengths.push(length);
        group.here ||= here;
      } else groups.push({ place, lengths: [length], here });
    }
    for (const { place, lengths, here } of groups) {
      const name = `n = ${lengths.sort((a, b) => a - b).join(", ")}`;
      parts.push(`<text x="${width - right + 8}" y="${place + 4}"${here ? ' font-weight="bold"' : ""}>${name}</text>`);
    }
    const codes = points((k) => codeAt(places, k));
    for (const point of codes.split(" ").filter(Boolean)) {
      const [px, py] = point.split(",");
      parts.push(`<circle class="code" cx="${px}" cy="${py}" r="3.5"/>`);
    }
    parts.push(`<circle class="chosen" cx="${x(chosen.rate)}" cy="${y(value)}" r="6"/>`);
    curve.innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="least loss against rate">${parts.join("")}</svg>`;

    const cells = labels.rate.map((rate, k) => {
      const here = { ...places, rate: k };
      const reached = codeAt(places, k);
      const best = tightest(here);
      return [rate, at("information", here), n * at("information", here), best.loss, best.claim,
        at("best_loss_lower", here), at("best_loss_upper", here), reached ?? ""];
    });
    const heads = ["R", "IB(R)", "n IB(R)", "D*", "by", "lower, C4", "upper, C4", "random codes"];
    table.innerHTML = `<table class="curve"><thead><tr>${heads.map((h) => `<th scope="col">${h}</th>`).join("")}</tr></thead><tbody>${
      cells.map((row) => `<tr>${row.map((cell) => `<td class="number">${cell}</td>`).join("")}</tr>`).join("")}</tbody></table>`;
    if (remember) history.replaceState(null, "", `#${new URLSearchParams(Object.entries(chosen))}`);
  }
  draw(false);
}

// The documentation loads this file with every page; one of them shows the gallery.
const ledger = document.getElementById("ledger-table");
if (ledger) {
  sortable(ledger);
  filterable(ledger);
  enlargeable();
  const saved = document.getElementById("explorer-data");
  if (saved) explorer(JSON.parse(saved.textContent));
}
