// Speaks to the API with the key of this tab. Every refusal is thrown as a Refusal, with the problem's code and detail.

const STORED = "safelight.key";

/** Why the API said no; `status` 0 means that nobody answered. */
export class Refusal extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }

  /** From an answer's body, which is RFC 9457 JSON unless something in between has answered instead of us. */
  static from(status, text) {
    try {
      const { code, detail } = JSON.parse(text);
      return new Refusal(status, code ?? "unknown", detail ?? `The server answered ${status}.`);
    } catch {
      return new Refusal(status, "unknown", `The server answered ${status}.`);
    }
  }

  static silence() {
    return new Refusal(0, "unreachable", "Safelight does not answer.");
  }

  /** Whether the same request may go well in a moment. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** The key of this tab. A key in the address (`#key=…`) is taken over and removed from the bar and the history entry at once. */
export const key = {
  get: () => sessionStorage.getItem(STORED) ?? "",
  set: (value) => sessionStorage.setItem(STORED, value.trim()),
  drop: () => sessionStorage.removeItem(STORED),
  takeFromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)).get("key");
    if (given === null) return false;
    history.replaceState(history.state, "", location.pathname + location.search);
    if (given.trim()) key.set(given);
    return Boolean(given.trim());
  },
};

const authorization = () => ({ authorization: `Bearer ${key.get()}` });

async function fetched(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: authorization() });
  } catch (error) {
    throw error.name === "AbortError" ? error : Refusal.silence();
  }
  if (!response.ok) throw Refusal.from(response.status, await response.text());
  return response;
}

/** The JSON of an answer, or null where there is none. */
export async function ask(path, options) {
  const response = await fetched(path, options);
  return response.status === 204 ? null : response.json();
}

/** The bytes of an original, which only the API gives out, never delivery. */
export async function original(id) {
  return (await fetched(`/images/${id}/original`)).blob();
}

/**
 * Send one file; its image record. `progress` is called with 0 to 1 while the bytes go up.
 * XMLHttpRequest, since fetch tells nobody how far an upload is.
 */
export function upload(file, progress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("file", file);
    const request = new XMLHttpRequest();
    request.open("POST", "/images");
    request.setRequestHeader("authorization", authorization().authorization);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.upload.onload = () => progress(1);
    request.onerror = () => reject(Refusal.silence());
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(Refusal.from(request.status, request.responseText));
    };
    request.send(form);
  });
}

/** Path and query of a delivery URL: this page loads pictures from its own host, whatever public address they are given out under. */
export const here = (url) => url.match(/\/i\/[^/]+\/[^/]+$/)?.[0] ?? url;
