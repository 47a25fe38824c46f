import { isSecretName } from '../../../core/redact.ts';
import type { Credentials } from '../auth/authenticator.ts';
import type { Cleaner } from './clean.ts';

/**
 * The address without the parameters that hold a credential, and otherwise to the letter: a server that makes the next
 * address of the request's own writes the key into it, and an address is stored, and sent on to other hosts.
 */
export function withoutParams(url: URL, isCredential: (name: string, value: string) => boolean): URL {
  const parts = url.search.slice(1).split('&');
  const kept = parts.filter((part) => ![...new URLSearchParams(part)].some((pair) => isCredential(...pair)));
  const bare = new URL(url);
  if (kept.length < parts.length) bare.search = kept.join('&');
  return bare;
}

/** Under a name of its own: `access_token` in the addresses of an API that takes the token in a header. */
export function isEchoed(cleaner: Cleaner, name: string, value: string): boolean {
  return isSecretName(name) && cleaner.knows(value);
}

/** Shorter keys are usual words and numbers, or part of any value. */
const KEY_CHARACTERS_MIN = 8;

/** Whether a parameter is the one that the key goes in: at home it is set anew, and all others are the API's own. */
export function isKeyParam({ query }: Credentials, name: string): boolean {
  return Object.hasOwn(query, name);
}

/**
 * Whether a parameter of another host is the key that goes into the query, or holds it, as the way back in the address of a
 * sign-in page does. By value: one of the key's name is that host's own, where it holds something else.
 */
export function holdsKey({ query }: Credentials, name: string, value: string): boolean {
  return Object.entries(query).some(
    ([own, key]) =>
      (name === own && value === key) ||
      (key.length >= KEY_CHARACTERS_MIN &&
        [key, encodeURIComponent(key), new URLSearchParams([['', key]]).toString().slice(1)].some((form) =>
          value.includes(form),
        )),
  );
}
