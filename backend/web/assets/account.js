// Who is signed in, and the dialog for signing in and registering. The session itself is a cookie that
// scripts cannot read; only the name to show is remembered here.

import { call, Problem } from "./api.js";
import { announce, byId, setHidden, setText } from "./dom.js";
import { refusal } from "./words.js";

const storedName = "headgate.name";
const listeners = [];
let name = "";
let registering = false;
let resolveSignIn = null;

export const signedIn = () => name !== "";

/** Calls back on each sign-in and sign-out. */
export const onAccount = (listener) => listeners.push(listener);

function remember(newName) {
  name = newName;
  try {
    if (name) localStorage.setItem(storedName, name);
    else localStorage.removeItem(storedName);
  } catch {
    // Storage is off: the name lasts as long as the page.
  }
  setText(byId("account-name"), name);
  setHidden(byId("account-name"), !name);
  setHidden(byId("sign-out"), !name);
  setHidden(byId("sign-in"), Boolean(name));
  for (const listener of listeners) listener(name);
}

/** The server no longer knows the session. */
export function sessionEnded() {
  if (name) remember("");
}

export function startAccount() {
  let stored = "";
  try {
    stored = localStorage.getItem(storedName) || "";
  } catch {
    // Storage is off.
  }
  remember(stored);
  byId("sign-in").addEventListener("click", () => askSignIn());
  byId("sign-out").addEventListener("click", signOut);
  byId("account-form").addEventListener("submit", submit);
  byId("account-switch").addEventListener("click", () => show(!registering));
  byId("account-close").addEventListener("click", () => byId("account-dialog").close());
  byId("account-dialog").addEventListener("close", () => {
    byId("account-password").value = "";
    settle(signedIn());
  });
  addEventListener("storage", (event) => {
    if (event.key === storedName && (event.newValue || "") !== name) remember(event.newValue || "");
  });
}

function settle(done) {
  const resolve = resolveSignIn;
  resolveSignIn = null;
  resolve?.(done);
}

/** Opens the dialog; resolves to true once signed in, to false when the dialog was closed. */
export function askSignIn(lead = "") {
  show(false);
  setText(byId("account-lead"), lead);
  setHidden(byId("account-lead"), !lead);
  const dialog = byId("account-dialog");
  if (!dialog.open) dialog.showModal();
  byId("account-user").focus();
  settle(false);
  return new Promise((resolve) => { resolveSignIn = resolve; });
}

function show(register) {
  registering = register;
  setText(byId("account-title"), register ? "Make an account" : "Sign in");
  setText(byId("account-submit"), register ? "Make the account" : "Sign in");
  setText(byId("account-switch"), register ? "I have an account" : "New here? Make an account");
  setHidden(byId("account-user-hint"), !register);
  setHidden(byId("account-password-hint"), !register);
  byId("account-password").autocomplete = register ? "new-password" : "current-password";
  fail("");
}

function fail(sentence, field) {
  setText(byId("account-error"), sentence);
  for (const id of ["account-user", "account-password"]) {
    if (id === field) byId(id).setAttribute("aria-invalid", "true");
    else byId(id).removeAttribute("aria-invalid");
  }
  if (field) byId(field).focus();
}

async function submit(event) {
  event.preventDefault();
  const user = byId("account-user").value.trim();
  const password = byId("account-password").value;
  if (registering && !/^[A-Za-z0-9._-]{2,32}$/.test(user)) return fail("A name has 2 to 32 letters, digits, dots, hyphens or underscores.", "account-user");
  if (!user) return fail("Please give your name.", "account-user");
  if (!password) return fail("Please give your password.", "account-password");
  if (registering && password.length < 8) return fail("A password has at least 8 characters.", "account-password");
  const button = byId("account-submit");
  button.disabled = true;
  fail("");
  try {
    const { body } = await call("POST", registering ? "/api/register" : "/api/login", { body: { name: user, password } });
    remember(body.user?.name || user);
    announce(`Signed in as ${name}.`);
    byId("account-dialog").close();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.code === "unauthenticated") fail("Name or password is wrong.", "account-password");
    else if (problem.code === "conflict") fail(refusal(problem), "account-user");
    else fail(waitHint(problem));
  } finally {
    button.disabled = false;
  }
  return undefined;
}

function waitHint(problem) {
  const reason = refusal(problem);
  return problem.retryAfter ? `${reason} Try again in ${problem.retryAfter} s.` : reason;
}

async function signOut() {
  try {
    await call("POST", "/api/logout", { body: {} });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.code !== "unauthenticated") {
      announce("Signing out did not work. Please try again.");
      return;
    }
  }
  remember("");
  announce("Signed out.");
  byId("sign-in").focus();
}
