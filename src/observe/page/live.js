// Asks for the page again and takes over what has changed. Without it the page is made anew by the browser.
(() => {
  const live = document.getElementById("live");
  const said = document.getElementById("said");
  const icon = () => document.querySelector("link[rel=icon]");
  let seen = Date.now();
  const heading = () => document.querySelector("#verdict h1").textContent;
  const take = (part) => {
    const old = document.getElementById(part.id);
    if (!old || old.outerHTML === part.outerHTML) return;
    const focused = document.activeElement && document.activeElement.id;
    for (const box of old.querySelectorAll("details[open]")) {
      const same = box.id && part.querySelector("#" + box.id);
      if (same) same.open = true;
    }
    const moved = [...old.querySelectorAll(".scroll")].map((box) => [box.id, box.scrollLeft]);
    old.replaceWith(part);
    for (const [id, left] of moved) {
      const box = document.getElementById(id);
      if (box) box.scrollLeft = left;
    }
    if (focused && document.activeElement === document.body) {
      const again = document.getElementById(focused);
      if (again) again.focus({ preventScroll: true });
    }
  };
  const look = async () => {
    // Nobody looks, or somebody copies.
    if (document.hidden || !getSelection().isCollapsed) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(4000) });
      if (!answer.ok) throw new Error(answer.status);
      // Its style is the same, and its nonce is not ours.
      const text = (await answer.text()).replace(/<style.*?<\/style>/s, "");
      const page = new DOMParser().parseFromString(text, "text/html");
      const before = heading();
      page.querySelectorAll("[data-part]").forEach(take);
      document.title = page.title;
      const next = page.querySelector("link[rel=icon]");
      if (next.href !== icon().href) icon().replaceWith(next);
      if (heading() !== before) said.textContent = "The state is now " + heading();
      seen = Date.now();
      document.body.classList.remove("stale");
      live.textContent = "live";
    } catch {
      document.body.classList.add("stale");
      const minutes = Math.floor((Date.now() - seen) / 60000);
      live.textContent = "NO ANSWER for " + (minutes ? minutes + " min" : "some seconds") + ": what is shown is old";
    }
  };
  live.textContent = "live";
  setInterval(look, 5000);
  document.addEventListener("visibilitychange", look);
})();
