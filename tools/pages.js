// The search: every word must occur in a section, as the beginning of one of its words. The index is a script of its own, loaded when the
// search is first used: pages opened as files may not fetch.
const query = document.getElementById("query"), results = document.getElementById("results");
let loading;

function load() {
  loading ??= new Promise((done, failed) => {
    const script = Object.assign(document.createElement("script"), {src: "search.js", onload: done, onerror: failed});
    document.head.append(script);
  });
  return loading;
}

function find(text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}_+]+/gu) ?? [];
  const patterns = words.map((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word.replaceAll("+", "\\+")}`, "giu"));
  const found = [];
  for (const [file, name, heading, body] of INDEX) {
    const inHeading = patterns.map((p) => (heading.match(p) ?? []).length), inBody = patterns.map((p) => (body.match(p) ?? []).length);
    if (patterns.length && patterns.every((_, i) => inHeading[i] + inBody[i])) {
      const score = patterns.reduce((sum, _, i) => sum + 8 * inHeading[i] + Math.log2(1 + inBody[i]), name ? 0 : 2);
      found.push({file, name, heading, body, score, at: Math.max(0, body.search(patterns[0]))});
    }
  }
  return {patterns, found: found.sort((a, b) => b.score - a.score)};
}

function marked(text, patterns) {
  const span = document.createElement("span"), all = new RegExp(patterns.map((p) => p.source).join("|"), "giu");
  let end = 0;
  for (const match of text.matchAll(all)) {
    span.append(text.slice(end, match.index), Object.assign(document.createElement("mark"), {textContent: match[0]}));
    end = match.index + match[0].length;
  }
  span.append(text.slice(end));
  return span;
}

async function show() {
  await load();
  const {patterns, found} = find(query.value), pages = Object.fromEntries(INDEX.filter((e) => !e[1]).map((e) => [e[0], e[2]]));
  results.hidden = !query.value.trim();
  results.replaceChildren(...found.slice(0, 20).map((e) => {
    const link = Object.assign(document.createElement("a"), {href: e.file + (e.name && "#" + e.name)});
    const title = document.createElement("strong"), where = document.createElement("small"), from = Math.max(0, e.at - 60);
    title.append(marked(e.heading, patterns));
    where.textContent = e.name ? pages[e.file] : "";
    link.append(title, where, marked((from ? "… " : "") + e.body.slice(from, e.at + 140), patterns));
    link.onclick = () => { results.hidden = true; };
    return link;
  }));
  if (!found.length) results.textContent = "Nothing found.";
}

query.addEventListener("focus", load);
query.addEventListener("input", show);
document.addEventListener("keydown", (event) => {
  const links = [...results.querySelectorAll("a")], at = links.indexOf(document.activeElement);
  if (event.key === "/" && document.activeElement !== query) query.focus();
  else if (event.key === "Escape" && !results.hidden) results.hidden = true;
  else if (event.key === "Enter" && document.activeElement === query) links[0]?.click();
  else if (event.key === "ArrowDown" && !results.hidden && links.length) links[Math.min(at + 1, links.length - 1)].focus();
  else if (event.key === "ArrowUp" && at >= 0) (links[at - 1] ?? query).focus();
  else return;
  event.preventDefault();
});
document.addEventListener("click", (event) => { if (!event.target.closest("search")) results.hidden = true; });

// The sidebar opens at the current page; of the contents, the section one reads is marked; a chosen section closes the list that covers it.
const course = document.getElementById("course"), contents = document.getElementById("contents");
const current = course.querySelector("[aria-current]");
const centre = () => { course.scrollTop = current.offsetTop - course.clientHeight / 2; };
centre();
course.addEventListener("toggle", centre);
contents.addEventListener("click", (event) => { if (event.target.closest("a") && contents.matches(":popover-open")) contents.hidePopover(); });
const headings = [...contents.querySelectorAll("a")].map((link) => [link, document.getElementById(decodeURIComponent(link.hash.slice(1)))]);
function mark() {
  const now = headings.findLast(([, heading]) => heading.getBoundingClientRect().top < 140)?.[0];
  for (const [link] of headings) link.toggleAttribute("data-now", link === now);
}
document.addEventListener("scroll", mark, {passive: true});
mark();

// A formula in the text that is wider than the text gets a line of its own, which scrolls; a table scrolls as a whole.
function widen() {
  const inline = [...document.querySelectorAll(".formula.inline")];
  for (const formula of inline) formula.classList.remove("wide");
  const wide = inline.filter((formula) => formula.getBoundingClientRect().width > formula.closest("p, li, blockquote, h2, h3")?.clientWidth);
  for (const formula of wide) formula.classList.add("wide");
}
addEventListener("resize", widen);
document.addEventListener("toggle", widen, true);  // what was folded had no width
widen();

// A link to a place inside a fold opens the fold.
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let fold = target?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
}
addEventListener("hashchange", unfold);
unfold();
