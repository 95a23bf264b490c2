// What links in letters open. The token comes in the fragment, is taken out of the address bar at once, and is sent only when
// somebody presses the button: programs that look at links in mails use nothing up.

const [action, token] = location.hash.slice(1).split("=", 2);
history.replaceState(null, "", location.pathname);

const says = document.getElementById("says");
const title = document.getElementById("title");

function offer(id, heading, sentence, path, body, done) {
  const form = document.getElementById(id);
  title.textContent = heading;
  says.textContent = sentence;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const answer = await fetch(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body()),
      });
      if (answer.ok) {
        form.hidden = true;
        says.textContent = done;
        return;
      }
      says.textContent = (await answer.json()).detail;
    } catch {
      says.textContent = "The server does not answer. Try again in a moment.";
    }
    button.disabled = false;
  });
}

if (token && action === "verify") {
  offer("verify", "Confirm your address", "One press, and you can sign in.", "/auth/verify", () => ({ token }),
    "Your address is confirmed. You can sign in now.");
} else if (token && action === "password") {
  offer("password", "Choose a password", "At least eight characters that nobody guesses.", "/auth/password/reset",
    () => ({ token, password: document.getElementById("new").value }),
    "Your password is kept. You can sign in with it now.");
}
