// Keeps an open page up to date by server-sent events. Every page reads the same without it.
(function () {
  "use strict";
  var stream = null, paused = false;

  function part() { return document.querySelector("[data-live]"); }

  function say(text, name) {
    var box = document.querySelector(".live");
    if (!box) return;
    box.hidden = false;
    box.setAttribute("data-state", name);
    box.querySelector("[data-live-state]").textContent = text;
    box.querySelector("[data-live-pause]").textContent = paused ? "Go on" : "Pause";
  }

  function close() {
    if (stream) stream.close();
    stream = null;
  }

  function open() {
    close();
    if (!part() || !window.EventSource) return;
    if (paused) { say("paused", "paused"); return; }
    var query = new URLSearchParams(location.search);
    query.set("page", part().getAttribute("data-live"));
    var own = stream = new EventSource("/live?" + query);
    say("connecting …", "waiting");
    own.onopen = function () { say("live", "live"); };
    own.onerror = function () {
      say("connection lost; connecting again …", "waiting");
      if (own.readyState === EventSource.CLOSED) setTimeout(function () { if (stream === own) open(); }, 3000);
    };
    own.addEventListener("part", function (e) {
      var to = part(); // the server has escaped it; what is in use by keyboard stays
      if (to && !to.contains(document.activeElement)) to.innerHTML = e.data;
    });
    own.addEventListener("rows", function (e) {
      var to = part();
      if (!to) return;
      to.insertAdjacentHTML("afterbegin", e.data);
      var none = document.querySelector("[data-none]");
      if (none) none.remove();
      while (to.rows.length > 500) to.deleteRow(-1);
    });
  }

  document.addEventListener("click", function (e) {
    if (!e.target.closest || !e.target.closest("[data-live-pause]")) return;
    paused = !paused;
    open();
  });
  document.addEventListener("htmx:afterSettle", open); // a part of the page was replaced, perhaps the live one
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
})();
