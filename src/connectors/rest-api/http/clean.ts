import { isSecretName, MASK, scrub } from '../../../core/redact.ts';

/** Method and URL as they may stand in an error: made when one is made, for cleaning costs more than a request. */
export interface Place {
  toString(): string;
}

/** What is to be masked, wherever a server repeats it. Tokens come while the client works: `add` them. */
export interface Cleaner {
  /** Headers that somebody declared: under an unusual name any of them may be a key. Those that never are stay readable. */
  addHeaders(headers: Readonly<Record<string, string>>): void;
  add(...secrets: readonly string[]): void;
  /** Whether the text is a secret, in one of those forms. */
  knows(text: string): boolean;
  /** The text with every secret, in each form it may have on its way, masked; and scrubbed of what looks like one. */
  clean(text: string): string;
  /** A URL as an error may show it: credentials and long values masked or cut. */
  showUrl(url: URL): string;
  place(method: string, url: URL): Place;
}

/** Shorter ones would mask half of every text, and protect little. */
const SECRET_CHARACTERS_MIN = 4;
const URL_CHARACTERS_MAX = 300;
const PLAIN = /^(accept|accept-[a-z]+|content-type|user-agent|prefer|x-[a-z-]*version)$/i;

/** A cleaner that knows these secrets. */
export function createCleaner(secrets: readonly string[]): Cleaner {
  const known = new Set<string>();
  let forms: readonly string[] = [];

  const cleaner: Cleaner = {
    addHeaders(headers) {
      for (const [name, value] of Object.entries(headers)) if (!PLAIN.test(name)) cleaner.add(value);
    },
    add(...more) {
      if (more.every((secret) => known.has(secret))) return;
      for (const secret of more) {
        if (secret.length < SECRET_CHARACTERS_MIN) continue;
        for (const form of formsOf(secret)) known.add(form);
      }
      // The longest first: a secret may hold another one.
      forms = [...known].sort((one, other) => other.length - one.length);
    },
    knows: (text) => known.has(text),
    clean(text) {
      let clean = text;
      for (const form of forms) clean = maskRuns(clean, form);
      return scrub(clean);
    },
    place: (method, url) => ({ toString: () => `${method} ${cleaner.showUrl(url)}` }),
    showUrl(url) {
      const shown = new URL(url);
      shown.username = '';
      shown.password = '';
      shown.hash = '';
      for (const name of new Set(shown.searchParams.keys()))
        if (isSecretName(name)) shown.searchParams.set(name, 'hidden');
      const text = cleaner.clean(shown.href);
      return text.length > URL_CHARACTERS_MAX ? `${text.slice(0, URL_CHARACTERS_MAX)}…` : text;
    },
  };
  cleaner.add(...secrets);
  return cleaner;
}

/**
 * Masks a secret, and what is left of one where somebody has cut the text: a run that begins as it does, or ends so, and
 * is a third of it or more.
 */
function maskRuns(text: string, form: string): string {
  const least = Math.min(form.length, Math.max(RUN_CHARACTERS_MIN, Math.ceil(form.length / 3)));
  const [head, tail] = [form.slice(0, least), form.slice(-least)];
  let clean = text.replaceAll(form, MASK);
  for (let at = clean.indexOf(head); at >= 0; at = clean.indexOf(head, at + MASK.length)) {
    let length = least;
    while (length < form.length && clean[at + length] === form[length]) length += 1;
    clean = clean.slice(0, at) + MASK + clean.slice(at + length);
  }
  for (let at = clean.indexOf(tail); at >= 0; at = clean.indexOf(tail, at + MASK.length)) {
    let length = least;
    while (
      length < form.length &&
      at + least - length > 0 &&
      clean[at + least - length - 1] === form.at(-length - 1)
    )
      length += 1;
    const from = at + least - length;
    clean = clean.slice(0, from) + MASK + clean.slice(at + least);
    at = from;
  }
  return clean;
}

/** Shorter ones mean nothing: half of all tokens begin with the same few characters. */
const RUN_CHARACTERS_MIN = 6;

function formsOf(secret: string): readonly string[] {
  return [
    secret,
    encodeURIComponent(secret),
    new URLSearchParams([['', secret]]).toString().slice(1),
    JSON.stringify(secret).slice(1, -1),
    Buffer.from(secret).toString('base64'),
    Buffer.from(secret).toString('base64url'),
  ];
}
