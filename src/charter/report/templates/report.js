(function () {
  "use strict";
  var list = document.getElementById("samples");
  if (list) {
    var suite = document.getElementById("filter-suite");
    var change = document.getElementById("filter-change");
    var count = document.getElementById("filter-count");
    var filter = function () {
      var shown = 0;
      list.querySelectorAll("article").forEach(function (item) {
        var fits = (!suite.value || item.dataset.suite === suite.value) &&
          (!change.value || item.dataset.change === change.value);
        item.hidden = !fits;
        shown += fits ? 1 : 0;
      });
      count.textContent = shown + " of " + list.querySelectorAll("article").length + " shown";
    };
    suite.addEventListener("change", filter);
    change.addEventListener("change", filter);
    document.getElementById("filters").hidden = false;
    filter();
  }
  document.querySelectorAll("button[data-copy]").forEach(function (button) {
    button.hidden = false;
    button.addEventListener("click", function () {
      var range = document.createRange();
      range.selectNodeContents(document.getElementById(button.dataset.copy));
      var selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      var copied = false;
      try { copied = document.execCommand("copy"); } catch (error) { copied = false; }
      button.textContent = copied ? "Copied" : "Selected: press Ctrl-C";
    });
  });
})();
