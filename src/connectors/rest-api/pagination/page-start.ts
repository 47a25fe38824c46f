import type { PaginationConfig } from '../../../core/rest.ts';

/** What asking for the second page in this way brings; `refused` when the API does not take it. */
export type Probe = (config: PaginationConfig) => Promise<'other' | 'same' | 'empty' | 'refused'>;

export type PageNumbers = Extract<PaginationConfig, { readonly type: 'page' }>;

/**
 * The number of the page that came without one: begun at 1, a list that is counted from 0 would lose its first page. Page 2
 * cannot tell, for it is another one in both. Null: neither 0 nor 1 is that page.
 */
export async function startOf(probe: Probe, pagination: PageNumbers): Promise<0 | 1 | null> {
  // What is asked for is the page behind `start`.
  const one = await probe({ ...pagination, start: 0 });
  if (one === 'same') return 1;
  if (one !== 'other') return null;
  const zero = await probe({ ...pagination, start: -1 });
  if (zero === 'same') return 0;
  // With nothing in front of it, page 1 is the first one, and rows have moved since.
  return zero === 'other' ? null : 1;
}
