import { isSecretName, MASK, scrub } from '../../../core/redact.ts';

/** What is to be masked, wherever a server repeats it. Tokens come while the client works: `add` them. */
export interface Cleaner {
  /** Headers that somebody declared: under an unusual name any of them may be a key. Those that never are stay readable. */
  addHeaders(headers: Readonly<Record<string, string>>): void;
  add(...secrets: readonly string[]): void;
  /** The text with every secret, in each form it may have on its way, masked; and scrubbed of what looks like one. */
  clean(text: string): string;
  /** A URL as an error may show it: credentials and long values masked or cut. */
  showUrl(url: URL): string;
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
    clean(text) {
      let clean = text;
      for (const form of forms) clean = clean.replaceAll(form, MASK);
      return scrub(clean);
    },
    showUrl(url) {
      const shown = new URL(url);
      shown.username = '';
      shown.password = '';
      shown.hash = '';
      for (const name of new Set(shown.searchParams.keys()))
        if (isSecretName(name)) shown.searchParams.set(name, '…');
      const text = cleaner.clean(shown.href);
      return text.length > URL_CHARACTERS_MAX ? `${text.slice(0, URL_CHARACTERS_MAX)}…` : text;
    },
  };
  cleaner.add(...secrets);
  return cleaner;
}

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
