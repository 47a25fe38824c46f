/**
 * Control characters (tab and line ends aside; a carriage return alone overwrites its line), the marks that turn the
 * direction of text, and the invisible ones that hide text from a person while a model reads it (variation selectors
 * carry any bytes). Joiners stay, and the two selectors of emoji: several scripts need them.
 */
const HIDDEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]|\u00ad|\u034f|\u061c|[\u115f\u1160]|\u17b4|\u17b5|[\u180b-\u180f]|[\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164]|[\ufe00-\ufe0d]|[\ufeff\uffa0\ufff9-\ufffb]|[\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e00ff}]|[\u{e0100}-\u{e01ef}]/gu;

/** Text with such characters shown as escapes: `\u202e`, `\u{e0041}`. */
export function cleanText(text: string): string {
  return text.replace(HIDDEN, (found) => {
    const code = found.codePointAt(0) ?? 0;
    const hex = code.toString(16);
    return code > 0xffff ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}`;
  });
}

/**
 * A JSON value with every text in it clean, keys included: names, rows and messages come from sources, and what
 * a source says is data for the model, shown as what it is.
 */
export function clean(value: unknown): unknown {
  if (typeof value === 'string') return cleanText(value);
  if (Array.isArray(value)) return value.map(clean);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return Object.fromEntries(entries.map(([key, inner]) => [cleanText(key), clean(inner)]));
}
