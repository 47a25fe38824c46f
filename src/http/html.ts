import { createHash } from 'node:crypto';
import type { Answer } from './reply.ts';

/** A page without scripts. Title and body are markup: what comes from elsewhere has to be `escaped`. */
export interface Page {
  readonly title: string;
  readonly style: string;
  readonly body: string;
  /** Whether its forms may be sent, and only to where it came from. */
  readonly hasForm?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The page as an answer that a browser lets do nothing but what it says: no script, no frame, its own style only. */
export function htmlPage(
  status: number,
  { title, style, body, hasForm = false, headers = {} }: Page,
): Answer {
  const styleHash = createHash('sha256').update(style).digest('base64');
  const formAction = hasForm ? "'self'" : "'none'";
  return {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': `default-src 'none'; style-src 'sha256-${styleHash}'; frame-ancestors 'none'; base-uri 'none'; form-action ${formAction}`,
      ...headers,
    },
    body: `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title><style>${style}</style></head><body>\n${body}\n</body></html>\n`,
  };
}

/** Names, messages and reasons come from elsewhere: text, never markup. */
export function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);
}
