"use strict";
// The program browser: filters, pages, one program at a time with its verdict and the critic's token values.
// Programs are hostile text: everything goes onto the page through textContent, nothing through innerHTML.
(() => {
  const { problems, programs } = JSON.parse(document.getElementById("program-data").textContent);
  const byId = (id) => document.getElementById(id);
  const words = (outcome) => outcome.replaceAll("_", " ");
  const PAGE = 25;
  let found = programs, page = 0, current = null, shade = "values", scale = "own";

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  const outcomeLabel = (outcome) => make("span", { class: `outcome ${outcome.replaceAll(" ", "_")}` }, words(outcome));

  // --- filters ---
  function count(key) {
    const counts = new Map();
    for (const program of programs) counts.set(key(program), (counts.get(key(program)) ?? 0) + 1);
    return counts;
  }
  function fill(id, counts, order) {
    const known = (value) => (order.includes(value) ? order.indexOf(value) : order.length);
    const values = [...counts.keys()].sort((a, b) => known(a) - known(b) || a.localeCompare(b));
    for (const value of values) byId(id).append(make("option", { value }, `${words(value)} (${counts.get(value)})`));
  }
  function haystack(program) {
    program.text ??= [program.code, program.error, program.message, program.harness, problems[program.problem].statement].join("\n").toLowerCase();
    return program.text;
  }
  function filter() {
    const problem = byId("filter-problem").value.trim().toLowerCase(), text = byId("filter-text").value.toLowerCase();
    const outcome = byId("filter-outcome").value, difficulty = byId("filter-difficulty").value, origin = byId("filter-origin").value;
    const scored = byId("filter-scored").checked;
    const exact = problems.some((p) => p.id.toLowerCase() === problem);
    const named = (id) => (exact ? id === problem : id.includes(problem));
    found = programs.filter((p) =>
      (!outcome || p.outcome === outcome) && (!difficulty || problems[p.problem].difficulty === difficulty) && (!origin || p.origin === origin) &&
      (!scored || p.tokens) && (!problem || named(problems[p.problem].id.toLowerCase())) && (!text || haystack(p).includes(text)));
    page = 0;
    showPage();
    show(found[0] ?? null);
  }

  // --- the list ---
  function showPage() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const first = page * PAGE, rows = found.slice(first, first + PAGE);
    byId("page-state").textContent = found.length ? `${first + 1} to ${first + rows.length} of ${found.length}` : "no program fits";
    byId("page-before").disabled = page === 0;
    byId("page-after").disabled = page >= pages - 1;
    byId("program-list").replaceChildren(...rows.map((program) => {
      const button = make("button", { type: "button" },
        make("span", { class: "name" }, `${problems[program.problem].id} #${program.index}`), outcomeLabel(program.outcome),
        make("span", { class: "faint" }, `  ${problems[program.problem].difficulty}${program.origin === "sample" ? "" : `, ${program.origin}`}`));
      button.addEventListener("click", () => { show(program); reveal(); });
      button.program = program;
      return make("li", {}, button);
    }));
    markCurrent();
  }
  function markCurrent() {
    for (const button of byId("program-list").querySelectorAll("button")) button.setAttribute("aria-current", String(button.program === current));
  }
  function turn(step) {
    page += step;
    byId("program-list").scrollTop = 0;
    showPage();
  }
  function reveal() { // on a phone the program is below the list
    if (byId("program").getBoundingClientRect().top > innerHeight * 0.8) byId("program").scrollIntoView({ block: "start" });
  }
  function step(by) {
    const place = found.indexOf(current) + by;
    if (place < 0 || place >= found.length) return;
    page = Math.floor(place / PAGE);
    show(found[place]);
    showPage();
  }

  // --- one program ---
  function show(program) {
    current = program;
    markCurrent();
    const article = byId("program");
    if (!program) return article.replaceChildren();
    const problem = problems[program.problem];
    article.replaceChildren(heading(program, problem), facts(program), ...trouble(program),
      make("details", { open: "" }, make("summary", {}, "statement"), make("div", { class: "statement" }, problem.statement)),
      make("h4", {}, "program"), code(program), ...(program.tokens ? critic(program) : []));
  }
  function heading(program, problem) {
    const before = make("button", { type: "button", "aria-label": "previous program" }, "‹");
    const after = make("button", { type: "button", "aria-label": "next program" }, "›");
    before.addEventListener("click", () => step(-1));
    after.addEventListener("click", () => step(1));
    before.disabled = program === found[0];
    after.disabled = program === found[found.length - 1];
    return make("h3", {}, before, " ", after, ` ${problem.id} #${program.index}`);
  }
  function facts(program) {
    const parts = [problems[program.problem].difficulty, program.origin];
    if (program.total) parts.push(`${program.passed} of ${program.total} tests passed`);
    if (program.seconds !== undefined) parts.push(`${program.seconds} CPU seconds`);
    if (program.trust && program.trust !== "parent") parts.push(`decided by: ${program.trust}`);
    if (program.model) parts.push(program.model);
    return make("p", { class: "facts" }, outcomeLabel(program.outcome), ` · ${parts.join(" · ")}`);
  }
  function trouble(program) {
    if (program.harness) return [make("p", { class: "error" }, `no verdict: ${program.harness}`)];
    if (!program.error && !program.message) return [];
    const where = program.line ? ` (line ${program.line})` : "";
    return [make("p", { class: "error" }, `${program.error ?? "error"}${where}${program.message ? `: ${program.message}` : ""}`)];
  }
  function code(program) {
    const lines = program.code.replace(/\n$/, "").split("\n");
    return make("ol", { class: "code", tabindex: "0" }, ...lines.map((line, i) => make("li", i + 1 === program.line ? { class: "wrong" } : {}, line)));
  }

  // --- the critic; its values come in per mille ---
  const number = (value) => (value === null || value === undefined ? "none" : (value / 1000).toFixed(3));
  const explained = {
    values: "token value: the critic's probability, after reading the token, of the outcome that the tests gave",
    chances: "the critic's probability, after reading the token, that the program passes",
  };
  function critic(program) {
    const right = program.predicted === program.outcome;
    const said = make("p", { class: "facts" }, "critic: ", outcomeLabel(program.predicted), " · tests: ", outcomeLabel(program.outcome),
      right ? " · the critic is right" : " · the critic is wrong");
    const status = make("p", { class: "facts", "aria-live": "polite" }, "Point at a token, or tap it, to see its value.");
    const heat = make("div", { class: "heat", tabindex: "0", role: "group", "aria-label": "program coloured by token value; arrow keys move" });
    const legend = make("p", { class: "note" });
    const paint = () => { heat.replaceChildren(...tokens(program, status)); legend.replaceChildren(...describe(program)); };
    const options = (name, value, choices, act) => {
      const select = make("select", { "aria-label": name }, ...choices.map(([key, label]) => make("option", { value: key }, label)));
      select.value = value;
      select.addEventListener("change", () => { act(select.value); paint(); });
      return select;
    };
    const chooser = make("p", { class: "facts" }, "colour by ",
      options("colour by", shade, [["values", "token value"], ["chances", "chance to pass"]], (v) => { shade = v; }), " on the scale ",
      options("scale", scale, [["own", "of this program"], ["unit", "0 to 1"]], (v) => { scale = v; }));
    heat.addEventListener("keydown", (event) => walk(event, heat));
    paint();
    return [make("h4", {}, "what the critic says"), said, chooser, heat, status, legend];
  }
  function range(program) {
    const known = program[shade].filter((value) => value !== null);
    return scale === "unit" || !known.length ? [0, 1000] : [Math.min(...known), Math.max(...known)];
  }
  function describe(program) {
    const [low, high] = range(program);
    return [`${number(low)} `, make("span", { class: "legend" }), ` ${number(high)}   ${explained[shade]}`];
  }
  function tokens(program, status) {
    const [low, high] = range(program);
    const places = program.tokens.map((token, i) => {
      const value = program[shade][i];
      const say = `token ${i + 1} ${JSON.stringify(token)}: value ${number(program.values[i])}, chance to pass ${number(program.chances[i])}`;
      const span = make("span", { title: say }, ...visible(token));
      const share = value === null ? 0 : (value - low) / (high - low || 1);
      span.style.backgroundColor = `rgba(var(--heat), ${(0.65 * share).toFixed(3)})`;
      span.select = () => {
        span.parentNode.querySelector(".chosen")?.classList.remove("chosen");
        span.classList.add("chosen");
        status.textContent = say;
      };
      span.addEventListener("mouseenter", span.select);
      span.addEventListener("click", span.select);
      return span;
    });
    return places;
  }
  function visible(token) { // a line end has a value too, so it needs a place to show its colour
    if (!token) return [make("span", { class: "end" }, "∅")];
    return token.split("\n").flatMap((part, i) => (i ? [make("span", { class: "end" }, "↵"), `\n${part}`] : [part]));
  }
  function walk(event, heat) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const all = [...heat.children], place = all.findIndex((span) => span.classList.contains("chosen"));
    all[Math.min(all.length - 1, Math.max(0, place + by))]?.select();
  }

  // --- start ---
  fill("filter-outcome", count((p) => p.outcome), ["passed_test", "failed_test", "runtime_error", "compile_error", "harness error", "not graded"]);
  fill("filter-difficulty", count((p) => problems[p.problem].difficulty), ["introductory", "interview", "competition"]);
  fill("filter-origin", count((p) => p.origin), ["sample", "greedy", "reference", "refine", "repair"]);
  byId("problem-names").append(...problems.map((p) => make("option", { value: p.id })));
  let waiting = 0;
  byId("filters").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("page-before").addEventListener("click", () => turn(-1));
  byId("page-after").addEventListener("click", () => turn(1));
  filter();
})();
