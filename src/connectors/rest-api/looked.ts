/** The first page as a look took it, for the reading that would ask for the very same. */

import { holdBytesUsual, type OpenPage } from './exchange.ts';
import type { HttpRequest } from './http/client.ts';

export interface LookedPage {
  /** The page, once, when this request would ask for it again; else null. */
  take(request: HttpRequest): OpenPage | null;
}

/** A reading follows its look at once. Where it does not, the address of the next page may have expired by then. */
const keepMs = 30_000;

/**
 * Keeps a page that is here as a whole, is no larger than one that waits for its turn in a reading, and was answered with
 * records. Its moment goes with it: the mark stays behind the answer, not behind the reading of it.
 */
export function keepLooked(request: HttpRequest, page: OpenPage, bytes: Buffer): LookedPage | null {
  const { content } = page;
  if (content === null || !page.complete || bytes.length > holdBytesUsual) return null;
  const until = performance.now() + keepMs;
  let kept: OpenPage | null = {
    ...page,
    content: { ...content, body: once(bytes) },
    close: () => undefined,
  };
  return {
    take(wanted) {
      const page = performance.now() < until && asksTheSame(request, wanted) ? kept : null;
      kept = null;
      return page;
    },
  };
}

/** Bytes as a body. */
export async function* once(bytes: Buffer): AsyncGenerator<Buffer, void, void> {
  yield bytes;
}

/** Headers are the stream's in both; only `accept` narrows to the format once that is known, and this page has it. */
export function asksTheSame(one: HttpRequest, other: HttpRequest): boolean {
  return one.method === other.method && one.url.href === other.url.href && one.body === other.body;
}
