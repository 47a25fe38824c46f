/**
 * A run's id: `r`, nine characters of time and six of chance, 16 in all, because it is written into every landed row.
 * Text order is time order: a page of the newest runs is the end of an index, and `since` is a range of ids.
 * Crockford's alphabet without i, l, o, u: nothing to misread when a person types one.
 */
export function runId(at: Date, random: (bytes: number) => Uint8Array): string {
  const chance = [...random(RANDOM_CHARACTERS)].map((byte) => ALPHABET[byte % 32]).join('');
  return `${runIdFloor(at)}${chance}`;
}

/** What every id of a run queued at or after `at` is not less than. */
export function runIdFloor(at: Date): string {
  let rest = Math.max(0, at.getTime());
  let text = '';
  for (let character = 0; character < TIME_CHARACTERS; character += 1) {
    text = `${ALPHABET[rest % 32]}${text}`;
    rest = Math.floor(rest / 32);
  }
  return `r${text}`;
}

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const TIME_CHARACTERS = 9; // 45 bits of milliseconds: to the year 3084
const RANDOM_CHARACTERS = 6; // 30 bits: a billion within one millisecond
