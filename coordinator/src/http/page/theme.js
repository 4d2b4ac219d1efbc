// Runs before the rest of the page: applies the theme that was chosen in this browser, so that a page in the dark theme
// does not appear in the light one first, and says so if the rest cannot be loaded.
'use strict';

(() => {
  let theme = null;
  try {
    theme = localStorage.getItem('pvf-theme');
  } catch {
    // Storage is switched off: the theme of the system applies.
  }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;

  // The error of a file does not bubble, so it is caught on its way down.
  window.addEventListener('error', (event) => {
    if (!(event.target instanceof HTMLScriptElement)) return;
    document.getElementById('banner').textContent = 'The page could not be loaded completely. Load it again.';
    document.getElementById('link-text').textContent = 'Not loaded';
  }, true);
})();
