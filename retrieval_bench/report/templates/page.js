
"use strict";
(() => {
  const make = (tag, properties = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...inside);
    return element;
  };
  const cell = (row, column) => row.cells[column];
  const value = (row, column) => {
    const at = cell(row, column);
    if (!at) return null;
    const given = at.dataset.value;
    const text = at.textContent.trim();
    if (given === undefined) return text === "–" ? null : text;
    return given === "" ? null : Number(given);
  };
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true }));

  // The lines of a table and the points of the figures of the same run, by their common key.
  const places = new Map();
  const alike = (element) => {
    const run = element.closest("section.run, nav");
    return places.get(`${run ? run.id : ""} ${element.dataset.point}`) || [];
  };
  for (const element of document.querySelectorAll("[data-point]")) {
    const run = element.closest("section.run, nav");
    const key = `${run ? run.id : ""} ${element.dataset.point}`;
    if (!places.has(key)) places.set(key, []);
    places.get(key).push(element);
  }
  const light = (element, on) => alike(element).forEach((other) => other.classList.toggle("lit", on));

  const sortable = (table) => {
    const body = table.tBodies[0];
    const first = [...body.rows];
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    const sort = (head) => {
      const before = head.getAttribute("aria-sort");
      const column = heads.indexOf(head);
      const rows = first.filter((row) => !row.classList.contains("family"));
      // Numbers begin with the largest, words with the first; a third click gives the order of the page back.
      const numbers = rows.some((row) => typeof value(row, column) === "number");
      const [one, two] = numbers ? ["descending", "ascending"] : ["ascending", "descending"];
      const now = before === one ? two : before === two ? null : one;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      table.classList.toggle("sorted", now !== null);
      if (now === null) { body.append(...first); return; }
      head.setAttribute("aria-sort", now);
      const sign = now === "ascending" ? 1 : -1;
      rows.sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (x === null || y === null) return (x === null) - (y === null); // blanks stand last
        return sign * order(x, y);
      });
      body.append(...rows);
    };
    for (const head of heads) {
      head.classList.add("sorts");
      head.tabIndex = 0;
      head.addEventListener("click", () => sort(head));
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(head); }
      });
    }
  };

  const siftable = (table) => {
    const rows = [...table.tBodies[0].rows];
    const points = rows.filter((row) => !row.classList.contains("family"));
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    let family = "";
    const texts = new Map();
    for (const row of rows) {
      if (row.classList.contains("family")) family = row.textContent.trim();
      else texts.set(row, [family, ...[...row.cells].map((one) => one.textContent)].join(" ").toLowerCase());
    }
    const words = make("input", { type: "search", placeholder: "filter: words that a line must hold" });
    words.setAttribute("aria-label", "filter lines");
    const choices = heads.flatMap((head, column) => {
      if (head.dataset.choose === undefined) return [];
      const name = head.textContent.trim();
      const found = [...new Set(points.map((row) => cell(row, column).textContent.trim()))].sort(order);
      if (found.length < 2) return [];
      const select = make("select", {}, make("option", { value: "", textContent: `every ${name}` }),
        ...found.map((text) => make("option", { value: text, textContent: text })));
      select.setAttribute("aria-label", name);
      return [{ column, select }];
    });
    const count = make("output");
    // A number is meant whole: 64 is not part of 0.644.
    const holds = (text, word) => (/^\d/.test(word) ? text.split(/\s+/).includes(word) : text.includes(word));
    const sift = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      for (const row of points) {
        const kept = wanted.every((word) => holds(texts.get(row), word))
          && choices.every(({ column, select }) => !select.value || cell(row, column).textContent.trim() === select.value);
        row.hidden = !kept;
        left += kept;
        if (row.dataset.point) {
          for (const other of alike(row)) if (other.classList.contains("tip")) other.classList.toggle("dim", !kept);
        }
      }
      let open = null;
      let filled = false;
      for (const row of [...rows, null]) { // a family without lines goes, too
        if (row === null || row.classList.contains("family")) {
          if (open) open.hidden = !filled;
          [open, filled] = [row, false];
        } else if (!row.hidden) filled = true;
      }
      const all = left === points.length;
      table.classList.toggle("sifted", !all);
      count.textContent = all ? `${left} lines` : `${left} of ${points.length} lines`;
    };
    words.addEventListener("input", sift);
    choices.forEach(({ select }) => select.addEventListener("change", sift));
    table.parentElement.before(make("div", { className: "tools" }, words, ...choices.map(({ select }) => select), count));
    sift();
  };

  for (const table of document.querySelectorAll("table[data-tools]")) {
    sortable(table);
    siftable(table);
    table.addEventListener("pointerover", (event) => {
      const row = event.target.closest("tr[data-point]");
      if (row) light(row, true);
    });
    table.addEventListener("pointerout", (event) => {
      const row = event.target.closest("tr[data-point]");
      if (row) light(row, false);
    });
  }

  const box = make("div", { id: "told", hidden: true });
  document.body.append(box);
  let shown = null;
  const hide = () => {
    if (shown) light(shown, false);
    shown = null;
    box.hidden = true;
  };
  const show = (tip, event) => {
    if (shown !== tip) {
      hide();
      shown = tip;
      box.textContent = tip.dataset.told;
      light(tip, true);
      box.hidden = false;
    }
    const [wide, tall] = [box.offsetWidth, box.offsetHeight];
    box.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - wide - 8))}px`;
    box.style.top = `${event.clientY + 16 + tall > innerHeight ? event.clientY - tall - 12 : event.clientY + 16}px`;
  };
  for (const drawing of document.querySelectorAll("figure svg")) {
    const tips = [...drawing.querySelectorAll(".tip")];
    if (!tips.length) continue;
    const marks = tips.map((tip) => {
      const title = tip.querySelector("title");
      tip.dataset.told = title.textContent;
      tip.setAttribute("role", "img");
      tip.setAttribute("aria-label", title.textContent);
      title.remove(); // the browser would show it a second time
      const mark = tip.querySelector("use");
      return mark && { tip, x: Number(mark.getAttribute("x")), y: Number(mark.getAttribute("y")) };
    }).filter(Boolean);
    const near = (event) => {
      const matrix = drawing.getScreenCTM();
      let best = null;
      let least = 14; // pixels
      for (const mark of marks) {
        const away = Math.hypot(matrix.a * mark.x + matrix.e - event.clientX, matrix.d * mark.y + matrix.f - event.clientY);
        if (away < least && !mark.tip.classList.contains("dim")) [best, least] = [mark.tip, away];
      }
      if (best) show(best, event); else hide();
    };
    drawing.addEventListener("pointermove", near);
    drawing.addEventListener("pointerdown", near);
    drawing.addEventListener("pointerleave", hide);
  }
})();
