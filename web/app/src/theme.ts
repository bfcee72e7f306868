// Sets the theme before the page is drawn, so that nothing flashes. It is a script of its own because the page allows none inline.
try {
  const theme = localStorage.getItem("aim:theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset["theme"] = theme;
} catch {
  // storage is refused: the theme is the system's
}
export {};
